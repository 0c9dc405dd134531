"""Settings that differ and show in nothing are told of runs that agree."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest


def notes(finding: Any) -> list[Any]:
    return [note for note in finding.notes if note.key == "note.without_effect"]


def run(make: Any, bound: float, *, device: str = "npu", beta: float = 0.9, wrong: float = 0.0) -> Any:
    one = make.Run()
    x = make.normal(8, 8, seed=1)
    cut = np.minimum(make.off(x, wrong), np.float32(9))
    one.call("Torch.clamp.0.forward", [x], [cut], kwargs={"max": bound, "device": device})
    weight, gradient = make.normal(8, 8, seed=2), make.normal(8, 8, seed=3)
    moved = weight - np.float32(0.1) * gradient
    settings = {"lr": 0.1, "betas": beta, "foreach": beta > 0.7}
    given = {"grad": {"w": gradient}, "param": {"w": one.parameter(weight)}, "group.0": settings}
    one.call("Optimizer.Adam.0.forward", kwargs=given)
    one.bodies["Optimizer.Adam.0.forward"]["output"] = [one._nested({"w": moved})]
    return one


@pytest.mark.parametrize(
    ("npu", "bench", "told"),
    [
        ({"bound": 9.0}, {"bound": 12.0}, 1),
        ({"bound": 9.0, "beta": 0.9}, {"bound": 9.0, "beta": 0.5}, 1),
        ({"bound": 9.0}, {"bound": 9.0, "device": "cuda:0"}, 0),  # the name of a device
        ({"bound": 9.0}, {"bound": 9.001}, 0),  # a number that a script computed
        ({"bound": 9.0, "wrong": 0.1}, {"bound": 12.0}, 0),  # the suspect says so
    ],
)
def test_runs_that_agree_are_told_what_was_set_otherwise(make: Any, npu: Any, bench: Any, told: int) -> None:
    finding = make.judged(run(make, **npu), run(make, **bench))
    assert len(notes(finding)) == told
    assert finding.verdict == ("different" if "wrong" in npu else "same")
