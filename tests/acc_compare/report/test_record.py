from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import pytest

from acc_compare.report.record import from_record, to_record
from dump.format.errors import ResultError


@pytest.mark.parametrize("name", ["gelu", "same", "nan", "seed", "optimizer"])
def test_a_finding_comes_back_from_json(build: Any, name: str) -> None:
    finding = getattr(build, name)()
    kept = json.loads(json.dumps(to_record(finding), allow_nan=False))
    assert from_record(kept) == (dataclasses.replace(finding, rows=()), ())


def test_parts_come_back_and_so_do_numbers_that_are_not_finite(build: Any) -> None:
    parts = tuple(dataclasses.replace(build.gelu(), step=step, rows=(), worst_excess=math.inf) for step in (0, 1))
    kept = json.loads(json.dumps(to_record(build.same(), parts), allow_nan=False))
    assert from_record(kept)[1] == parts


@pytest.mark.parametrize(
    "record",
    [
        None,
        [],
        {},
        {"finding": 3},
        {"finding": {}},
        {"finding": {"verdict": "maybe"}},
        {"finding": {"coverage": {"number": "x"}}},
    ],
)
def test_anything_else_is_refused(record: object) -> None:
    with pytest.raises(ResultError):
        from_record(record)


def test_a_finding_with_a_wrong_field_is_refused(build: Any) -> None:
    for name, value in (("verdict", "maybe"), ("suspects", [{"name": 1}]), ("summary", "words"), ("mode", "x")):
        record = to_record(build.gelu())
        record["finding"][name] = value  # type: ignore[index]
        with pytest.raises(ResultError):
            from_record(record)
