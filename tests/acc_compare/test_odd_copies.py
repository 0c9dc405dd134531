"""A rank whose copy is no copy: one that an optimizer updated otherwise, from the same gradient."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from acc_compare.comparison import compare
from acc_compare.model import Finding


def _job(make: Any, folder: Path, ranks: int, *, wrong: float = 0.0, noise: float = 0.0, own: bool = False) -> Path:
    """A step of replicas: on the last rank one parameter of five is off by `wrong`, and its gradient by `noise`."""
    for rank in range(ranks):
        run = make.Run(world_size=ranks)
        x, y = make.normal(8, 16, seed=50), make.normal(8, 16, seed=51)
        run.call("Functional.gelu.0.forward", [x], [y], owner="Module.a.A.forward.0")
        is_last = ranks > 1 and rank == ranks - 1
        old = {f"p{n}": run.parameter(make.normal(16, 16, seed=n)) for n in range(5)}
        grads = {f"p{n}": make.normal(16, 16, seed=20 + n) for n in range(5)}
        if is_last:
            grads["p1"] = make.off(grads["p1"], noise)
        new = {name: old[name] - np.float32(0.01) * np.sign(grads[name]) for name in old}
        new["p1"] = new["p1"] + np.float32(wrong * is_last)
        own_names = {"own": {"0": "p0"}} if own else {}
        run.call("Optimizer.AdamW.0.forward", kwargs={"grad": grads, "param": old, **own_names})
        run.bodies["Optimizer.AdamW.0.forward"]["output"] = [run._nested(new)]
        run.write(folder / "step0" / f"rank{rank}")
    return folder


def _compared(make: Any, folder: Path, **npu: Any) -> Finding:
    (found,) = compare(_job(make, folder / "npu", 4, **npu), _job(make, folder / "bench", 1)).findings
    return found


def test_one_parameter_that_one_rank_updates_otherwise_is_named_with_the_rank(make: Any, tmp_path: Path) -> None:
    found = _compared(make, tmp_path, wrong=0.02)
    told = [(suspect.name, suspect.kind, suspect.rank, suspect.tensor) for suspect in found.suspects]
    assert told == [("Optimizer.AdamW.0.forward", "optimizer", 3, "output.0.p1")]


@pytest.mark.parametrize("healthy", [{}, {"noise": 1e-6, "wrong": 0.02}, {"own": True, "wrong": 0.02}])
def test_of_other_gradients_and_of_parameters_that_are_shared_out_one_alone_may_be_chance(
    make: Any, tmp_path: Path, healthy: dict[str, Any]
) -> None:
    assert _compared(make, tmp_path, **healthy).suspects == ()
