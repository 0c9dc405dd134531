"""A step of an optimizer that one side alone made: told as such, and nothing after it judged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from acc_compare import compare
from acc_compare.report.i18n import text

_CALLS = 12


def _run(make: Any, folder: Path, *, steps: int, skipped: frozenset[int] = frozenset(), twice: int = -1) -> Path:
    """Iterations of so many calls, each on other data, with an optimizer's step after each but the `skipped`; one is
    made `twice`.  A step ends with an optimizer's."""
    run, step, numbers = make.Run(), 0, 0
    for iteration in range(steps):
        for number in range(_CALLS):
            x = make.normal(4, 8, seed=100 * iteration + number)
            run.call(f"Functional.gelu.{numbers}.forward", [x], [x])
            numbers += 1
        for _ in range(2 if iteration == twice else 0 if iteration in skipped else 1):
            run.call("Optimizer.SGD.0.forward", [], [])
            run.write(folder / f"step{step}" / "proc1")
            run, step, numbers = make.Run(), step + 1, 0
    return folder


@pytest.mark.parametrize("on_npu", [True, False])
@pytest.mark.parametrize(
    ("change", "side", "step"), [({"skipped": frozenset({1})}, 1, 1), ({"twice": 1}, 0, 2)], ids=["skipped", "twice"]
)
def test_an_optimizer_step_that_one_side_alone_made(
    make: Any, tmp_path: Path, change: dict[str, Any], side: int, step: int, on_npu: bool
) -> None:
    sides = [_run(make, tmp_path / "changed", steps=5, **change), _run(make, tmp_path / "plain", steps=5)]
    found = compare(*(sides if on_npu else sides[::-1]))
    (suspect,) = found.suspects
    assert (found.verdict, suspect.name, suspect.step) == ("different", "Optimizer.SGD.0.forward", step)
    made = ("NPU", "bench") if (side == 0) == on_npu else ("bench", "NPU")
    assert text(suspect.message).startswith(f"the {made[0]} side made {suspect.name}, the {made[1]} side did not")
    assert [each.verdict for each in found.findings if each.step is not None and each.step > step] == ["incomplete"] * (
        len(found.findings) - step - 1
    )


def test_equal_steps_are_not_apart(make: Any, tmp_path: Path) -> None:
    found = compare(_run(make, tmp_path / "npu", steps=3), _run(make, tmp_path / "bench", steps=3))
    assert (found.verdict, found.suspects) == ("same", ())


def test_a_step_that_is_not_whole_is_not_apart(make: Any, tmp_path: Path) -> None:
    npu, bench = _run(make, tmp_path / "npu", steps=3), _run(make, tmp_path / "bench", steps=3)
    cut = make.Run()
    cut.call("Functional.gelu.0.forward", [make.normal(4, 8, seed=100)], [make.normal(4, 8, seed=100)])
    (npu / "step1" / "proc1" / "dump.json").unlink()
    cut.write(npu / "step1" / "proc1")
    assert "happened.steps_apart" not in {suspect.message.key for suspect in compare(npu, bench).suspects}
