from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from acc_compare.judge.sensitivity import seen
from acc_compare.model import Sensitivity
from acc_compare.report.i18n import text


def routed(make: Any, *, gap: float, is_read: bool = True) -> Any:
    """A choice between values of which two are `gap` apart, on sides that differ by a thousandth, and what reads it."""
    runs = []
    for is_npu in (True, False):
        run = make.Run()
        x = make.normal(64, 32, seed=1)
        x[3, :2] = 9.0, 9.0 + gap
        logits = make.off(x, 1e-3, seed=2) if is_npu else x
        if is_npu:
            logits[3, :2] = 9.001, 9.0 + gap - 0.001
        chosen = logits.argmax(axis=1)
        table = make.normal(32, 16, seed=3)
        run.call("Functional.linear.0.forward", [make.normal(64, 32, seed=4)], [logits])
        run.call("Torch.argmax.0.forward", [logits], [chosen])
        if is_read:
            run.call("Functional.embedding.0.forward", [chosen, table], [table[chosen]])
        runs.append(run)
    return make.judged(*runs)


@pytest.mark.parametrize(("gap", "is_told"), [(1e-3, True), (1.0, False)])
def test_a_near_tie_that_fell_otherwise_is_told_and_nobody_is_accused_of_it(
    make: Any, gap: float, is_told: bool
) -> None:
    found = routed(make, gap=gap)
    told = [dict(note.values) for note in found.notes if note.key == "note.near_ties"]
    assert [note["first"] for note in told] == (["Torch.argmax.0.forward"] if is_told else [])
    assert {suspect.name for suspect in found.suspects} <= {"Functional.linear.0.forward"}
    if is_told:
        assert dict(told[0]["unjudged"].values) == {"number": 1}


def test_near_ties_that_nobody_reads_leave_nothing_unjudged(make: Any) -> None:
    keys = {note.key for note in routed(make, gap=1e-3, is_read=False).notes}
    assert "note.near_ties_alone" in keys
    assert "note.near_ties" not in keys


def test_choices_from_other_data_are_no_near_ties(make: Any) -> None:
    runs = []
    for seed in (1, 2):
        run = make.Run()
        x = make.normal(64, 32, seed=seed)
        run.call("Torch.argmax.0.forward", [x], [np.argmax(x, axis=1)])
        runs.append(run)
    assert not [note.key for note in make.judged(*runs).notes if note.key.startswith("note.near_ties")]


def test_equal_choices_are_not_spoken_of(make: Any) -> None:
    run = make.Run()
    x = make.normal(8, 8)
    run.call("Torch.argmax.0.forward", [x], [np.argmax(x, axis=1)])
    assert "note.near_ties" not in {note.key for note in make.judged(run, run).notes}


@pytest.mark.parametrize(
    ("mostly", "blind", "key"),
    [(0.03, 0, "note.sensitivity"), (0.03, 4, "note.blind_in_few"), (29.0, 66, "note.blind_in_many")],
)
def test_no_error_is_named_that_no_result_can_have(mostly: float, blind: int, key: str) -> None:
    told = seen(Sensitivity(362.0 if blind else 0.3, mostly, 0.02, "Tensor.add_.53.forward", 658, blind))
    assert told.key == key
    assert not {"29", "362"} & set(text(told).split())
