"""Where micro-batches differ, the gradients that the optimizer reads decide."""

from __future__ import annotations

from typing import Any

import pytest

from acc_compare.judge.accumulation import judge_accumulated


def _step(make: Any, size: float) -> list[Any]:
    """The measured optimizer step of two runs, with one of two gradients off by `size`."""
    runs = []
    for side_off in (size, 0.0):
        run = make.Run()
        gradients = {name: make.normal(4, 8, seed=seed) for seed, name in enumerate(("weight", "bias"))}
        gradients["weight"] = make.off(gradients["weight"], side_off)
        run.call("Optimizer.SGD.0.forward", kwargs={"grad": gradients})
        runs.append(run)
    return make.measured(*runs)


@pytest.mark.parametrize(("size", "verdict"), [(0.0, "same"), (1e-6, "same"), (1e-2, "incomplete")])
def test_agreeing_gradients_are_the_same_and_others_are_not_judged(make: Any, size: float, verdict: str) -> None:
    found, summary, note = judge_accumulated(_calls(_step(make, size)))
    assert found == verdict
    assert summary.key == ("accumulated.agree" if verdict == "same" else "accumulated.differ")
    assert dict(summary.values)["call"] == "Optimizer.SGD.0.forward"
    if verdict == "same":
        assert dict(note.values)["number"] == 2
    else:
        assert dict(summary.values)["parameter"] == "weight"


def test_without_an_optimizer_step_there_is_nothing_to_say(make: Any) -> None:
    runs = []
    for _ in range(2):
        run = make.Run()
        run.call("Torch.exp.0.forward", [make.normal(3)], [make.normal(3, seed=1)])
        runs.append(run)
    verdict, summary, note = judge_accumulated(_calls(make.measured(*runs)))
    assert (verdict, summary.key, note.key) == (
        "incomplete",
        "accumulated.no_step",
        "accumulated.record_the_step",
    )


def _calls(pairs: list[Any]) -> list[Any]:
    return [pair.call for pair in pairs if pair.call is not None]
