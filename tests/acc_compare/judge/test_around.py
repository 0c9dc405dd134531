"""At module level: a function between modules is told as the module around it, on the rank where it was wrong first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from acc_compare.comparison import compare


def mlp(make: Any, *, wrong: float = 0.0, before: float = 0.0, last: float = 0.0) -> Any:
    """up and down in a module `mlp`, and a function between them that is off by a share `wrong`; what `mlp` reads is
    off by `before`, and what the module after it makes by `last`."""
    run = make.Run(level="L0", world_size=2)
    outer, name = "Module.mlp.Mlp.forward.0", "Linear.forward.0"
    x = make.off(make.normal(8, 16), before)
    hidden = make.off(make.normal(8, 32, seed=1), before)
    between = make.off(make.off(make.normal(8, 32, seed=2), before), wrong, seed=5)
    out = make.off(make.off(make.normal(8, 16, seed=3), before), wrong, seed=6)
    run.call(f"Module.mlp.up.{name}", [x], [hidden], owner=outer)
    run.call(f"Module.mlp.down.{name}", [run.mark(between, grad_fn="MulBackward0")], [out], owner=outer)
    run.call(outer, [x], [out])
    run.call(f"Module.head.{name}", [out], [make.off(make.normal(8, 4, seed=4), max(wrong, before, last), seed=7)])
    return run


def test_what_goes_wrong_between_modules_is_the_module_around(make: Any) -> None:
    assert make.judged(mlp(make), mlp(make)).suspects == ()
    (found,) = make.judged(mlp(make, wrong=1e-2), mlp(make)).suspects
    assert (found.name, found.kind, found.module) == ("Module.mlp.Mlp.forward.0", "operator", "mlp")


def test_where_the_module_around_read_what_differs_it_is_not_told(make: Any) -> None:
    suspects = make.judged(mlp(make, wrong=1e-2, before=1e-2), mlp(make)).suspects
    assert "Module.mlp.Mlp.forward.0" not in [suspect.name for suspect in suspects]


@pytest.mark.parametrize(("inside", "accused"), [(False, ["Module.mlp.Mlp.forward.0"]), (True, [])])
def test_what_differs_elsewhere_explains_nothing_of_a_function_between_modules(
    make: Any, inside: bool, accused: list[str]
) -> None:
    """A bias has parted that nothing depends on, as that of an attention's keys, before the module or inside it."""
    runs = []
    for wrong, drift in ((5e-3, 2e-3), (0.0, 0.0)):
        run, rest = make.Run(level="L0", world_size=2), mlp(make, wrong=wrong)
        bias, x = run.parameter(make.off(make.normal(16, seed=8), drift)), make.normal(8, 16, seed=9)
        owner = "Module.mlp.Mlp.forward.0" if inside else None
        run.call("Module.mlp.first.Linear.forward.0", [x], [x], parameters={"bias": bias}, owner=owner)
        run.bodies |= rest.bodies
        run.owners |= rest.owners
        runs.append(run)
    assert [suspect.name for suspect in make.judged(*runs, step=1, previous="judged").suspects] == accused


@pytest.mark.parametrize(("wrong", "accused"), [(0.0, []), (2e-3, ["Module.mlp.Mlp.forward.0"])])
def test_by_statistics_alone_a_function_shows_more_than_what_hides_behind_bounds(
    make: Any, wrong: float, accused: list[str]
) -> None:
    """A bias has parted elsewhere; of the rest no sketch is known, as of what was put together."""
    dumps = []
    for is_npu in (True, False):
        run, outer = make.Run(level="L0", world_size=2), "Module.mlp.Mlp.forward.0"
        x, hidden, out = make.normal(64, 64), make.normal(64, 256, seed=1), make.normal(64, 64, seed=3)
        between = make.normal(64, 256, seed=2) * np.float32(1 + wrong * is_npu)
        bias = run.parameter(make.off(make.normal(64, seed=8), 2e-3 * is_npu))
        run.call("Module.first.Linear.forward.0", [x], [x], parameters={"bias": bias})
        run.call("Module.mlp.up.Linear.forward.0", [x], [hidden], owner=outer)
        run.call("Module.mlp.down.Linear.forward.0", [run.mark(between, grad_fn="MulBackward0")], [out], owner=outer)
        run.call(outer, [x], [out])
        for name, body in run.bodies.items():
            for leaf in (*body["input_args"], *body["output"]) if "first" not in name else ():
                del leaf["sketch"]
        dumps.append(run.dump())
    found = make.judged(*dumps, step=1, previous="judged", other_world=True)
    assert [suspect.name for suspect in found.suspects] == accused


@pytest.mark.parametrize("rank", [0, 1])
def test_ranks_that_come_later_may_have_been_given_what_is_wrong(make: Any, tmp_path: Path, rank: int) -> None:
    for number in range(2):
        one = mlp(make, wrong=1e-2) if number == rank else mlp(make, last=np.float32(2e-2))
        one.write(tmp_path / "npu" / "step0" / f"rank{number}")
        mlp(make).write(tmp_path / "bench" / "step0" / f"rank{number}")
    (found,) = compare(tmp_path / "npu", tmp_path / "bench").suspects
    assert (found.name, found.rank) == ("Module.mlp.Mlp.forward.0", rank)


def _trained(make: Any, *, wrong: float = 0.0, later: float = 0.0) -> Any:
    """A step of two layers; the gradient of the second's weight is off by a share `wrong`, and by `later` when the
    optimizer reads it."""
    run = make.Run(level="L0")
    grad = make.normal(8, 16, seed=9)
    gradients = {}
    for layer in ("b", "a"):
        off = wrong * (layer == "b")
        weight, made = run.parameter(make.normal(16, 16, seed=1)), make.off(make.normal(16, 16, seed=2), off)
        x = make.normal(8, 16, seed=3)
        run.call(f"Module.{layer}.Linear.forward.0", [x], [x @ weight.T], parameters={"weight": weight})
        run.call(f"Module.{layer}.Linear.backward.0", [grad], [grad @ weight])
        owner = f"Module.{layer}.Linear.backward.0"
        run.call(f"Module.{layer}.Linear.parameters_grad.0", output=[made], owner=owner)
        gradients[f"{layer}.weight"] = (weight, run.same_memory(make.off(made, later * bool(off or later)), made))
    params, grads = ({name: pair[n] for name, pair in gradients.items()} for n in range(2))
    new = {name: pair[0] - np.float32(0.01) * pair[1] for name, pair in gradients.items()}
    run.call("Optimizer.SGD.0.forward", kwargs={"param": params, "grad": grads})
    run.bodies["Optimizer.SGD.0.forward"]["output"] = [{name: run._leaf(array) for name, array in new.items()}]
    return run


def test_a_gradient_that_backward_left_wrong_is_its_modules(make: Any) -> None:
    """Nothing between modules: what was recorded of the parameters' gradients tells."""
    assert make.judged(_trained(make), _trained(make)).suspects == ()
    found = make.judged(_trained(make, wrong=1e-2), _trained(make))
    (suspect,) = found.suspects
    assert (suspect.name, suspect.kind, suspect.module) == ("Module.b.Linear.backward.0", "operator", "b")
    (accused,) = (row.npu_name for row in found.rows if row.accused)
    assert accused.startswith("Module.b.Linear.parameters_grad.0.")
    (suspect,) = make.judged(_trained(make, later=1e-2), _trained(make)).suspects
    assert suspect.name == "Optimizer.SGD.0.forward"
