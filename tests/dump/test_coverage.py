"""What a recording missed, in one sentence and in the header."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from dump.config import DumpConfig
from dump.coverage import Coverage, sentence, why_nothing


def _audit(**unseen: int) -> dict[str, Any]:
    found = {f"aten::{name}": {"calls": n, "recorded_as": f"Aten.{name}", "line": None} for name, n in unseen.items()}
    counts = {"in_calls": 10, "in_modules": 0, "in_optimizers": 2, "by_autograd": 3, "unseen": sum(unseen.values())}
    return {"dispatched": counts, "unseen": found}


_ALL = "all 15 dispatched operators ran under a recorded call"
SENTENCES = [
    ([], ""),
    ([Coverage(3)], ""),
    (
        [Coverage(3, {"layout": 2}), Coverage(3, {"layout": 1})],
        "not recordable: layout 3",
    ),
    ([Coverage(3, failed={"ValueError: x": 1})], "failed: ValueError: x 1"),
    ([Coverage(3, overwritten=2)], "overwritten past the version counter: 2 values"),
    ([Coverage(3, overwritten=1)], "overwritten past the version counter: 1 value"),
    ([Coverage(3, repeated=1)], "not recorded at level L0: 1 further backward pass through the same graph"),
    ([Coverage(3, elsewhere=2)], "not recorded on other threads: 2 calls of modules"),
    ([Coverage(3, scripted_code={"scripted": {"f": 4}})], "not seen inside scripted: f 4"),
    (
        [Coverage(3, scripted_code={"scripted": {"f": 4}}, audit=_audit())],
        "all 15 dispatched operators ran under a recorded call",
    ),
    (
        [Coverage(3, scripted_code={"compiled": {"graphs": 2, "operators": 1400}})],
        "not seen inside compiled: 1,400 operators of 2 graphs",
    ),
    (
        [Coverage(3, audit=_audit(relu=2)), Coverage(3, audit=_audit(relu=1, mm=4))],
        "7 of 37 dispatched operators ran under no call, recorded by themselves: aten::mm 4, aten::relu 3",
    ),
    (
        [Coverage(1, left_out={"calls": "no such name"}), Coverage(1, left_out={"calls": "no such name"})],
        f"not recorded with torch {torch.__version__}: calls: no such name",
    ),
    (
        [Coverage(1, left_out=dict.fromkeys("abcdefg", "gone"))],
        f"not recorded with torch {torch.__version__}: a: gone; b: gone; c: gone; d: gone; e: gone; and 2 more",
    ),
    (
        [Coverage(1, dict.fromkeys("abcdefg", 1))],
        "not recordable: a 1, b 1, c 1, d 1, e 1, and 2 more kinds",
    ),
]


@pytest.mark.parametrize(("steps", "text"), SENTENCES)
def test_the_closing_sentence(steps: list[Coverage], text: str) -> None:
    assert sentence(steps) == text


@pytest.mark.parametrize(
    ("settings", "steps", "is_wanted_rank", "reason", "is_wanted"),
    [
        ({}, 0, False, "this rank", True),
        ({"dump_enable": False}, 3, True, "dump_enable", True),
        ({"step": frozenset({9})}, 4, True, "after 4 steps, before step 9", False),
        ({"step": frozenset({9})}, 1, True, "after 1 step, before step 9", False),
        ({"step": frozenset({9})}, 0, True, "after 0 steps, before step 9", False),
        ({"api_list": ("gelu",)}, 4, True, "'list' and 'scope'", False),
        ({"level": "L0"}, 4, True, "level L1", False),
        ({"step": frozenset({0})}, 0, True, "no operator", False),
    ],
)
def test_why_nothing_was_recorded(
    settings: dict[str, Any], steps: int, is_wanted_rank: bool, reason: str, is_wanted: bool
) -> None:
    nothing = why_nothing(DumpConfig(**settings), steps=steps, is_wanted_rank=is_wanted_rank)
    assert reason in nothing.reason
    assert nothing.is_wanted is is_wanted


def test_the_header_says_only_what_is_known() -> None:
    assert Coverage(2).header() == {"calls": 2, "not_recordable": {}, "failed": {}}
    header = Coverage(2, overwritten=1, scripted_code={"scripted": {"f": 1}}, audit=_audit(mm=1)).header()
    assert list(header) == ["calls", "not_recordable", "failed", "scripted", "dispatched", "unseen", "overwritten"]
    assert Coverage(2, left_out={"calls": "gone"}).header()["left_out"] == {"calls": "gone"}
