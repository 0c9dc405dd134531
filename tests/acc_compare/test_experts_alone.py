"""Experts of which modules alone were recorded: found by their weights, compared each with its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from acc_compare.comparison import compare
from acc_compare.experts_alone import unrolled_by_weights
from acc_compare.model import Finding

EXPERTS, TOKENS = 4, (3, 5, 2, 6)
LOCAL, GLOBAL = "layers.0.experts.{held}", "layers.0.experts.{expert}"


def _side(make: Any, ranks: Sequence[Sequence[int]], *, path: str = LOCAL, wrong: float = 0.0, **header: Any) -> Any:
    """The runs of ranks with a layer, these experts, of which the last is off by `wrong`, and what is made of them."""
    weights = [make.normal(8, 4, seed=10 + n) for n in range(EXPERTS)]
    first, last = make.normal(4, 4, seed=1), make.normal(4, 4, seed=2)
    batch = make.normal(16, 4, seed=3)
    runs = []
    rows = len(batch) // len(ranks)
    for rank, held in enumerate(ranks):
        run = make.Run(**{"world_size": len(ranks), "level": "L0"} | header)
        x = batch[rank * rows : (rank + 1) * rows]
        run.call("Module.enter.Linear.forward.0", [x], [x @ first.T], parameters={"weight": run.parameter(first)})
        for number, expert in enumerate(held):
            inside = path.format(held=number, expert=expert)
            tokens = make.normal(TOKENS[expert], 4, seed=20 + expert)
            made = make.off(tokens @ weights[expert].T, wrong * (expert == EXPERTS - 1))
            owner = f"Module.{inside}.Block.forward.0"
            parameters = {"weight": run.parameter(weights[expert])}
            run.call(f"Module.{inside}.up.Linear.forward.0", [tokens], [made], parameters=parameters, owner=owner)
            run.call(owner, [tokens], [made])
        run.call("Module.leave.Linear.forward.0", [x], [x @ last.T], parameters={"weight": run.parameter(last)})
        runs.append(run)
    return runs


def _compared(folder: Path, npu: Any, bench: Any) -> Finding:
    for name, side in (("npu", npu), ("bench", bench)):
        for rank, run in enumerate(side):
            run.write(folder / name / "step0" / f"rank{rank}")
    (found,) = compare(folder / "npu", folder / "bench").findings
    return found


TWO_EACH, ALL, ONE_EACH = [[0, 1], [2, 3]], [[0, 1, 2, 3]], [[0], [1], [2], [3]]


@pytest.mark.parametrize("bench", [ALL, TWO_EACH])
@pytest.mark.parametrize("path", [LOCAL, GLOBAL])
@pytest.mark.parametrize("wrong", [0.0, 0.05])
def test_each_expert_is_compared_with_its_own(make: Any, tmp_path: Path, bench: Any, path: str, wrong: float) -> None:
    """However ranks number theirs; the fault is in that of the last rank."""
    npu = _side(make, ONE_EACH, path=path, wrong=wrong)
    found = _compared(tmp_path, npu, _side(make, bench, path=path))
    assert found.verdict == ("different" if wrong else "same")
    expert = path.format(held=0, expert=EXPERTS - 1)
    told = [(suspect.name, suspect.rank, suspect.step) for suspect in found.suspects]
    assert told == [(f"Module.{expert}.up.Linear.forward.0", EXPERTS - 1, 0)] * bool(wrong)


def test_an_expert_is_named_as_the_bench_has_it_and_tokens_are_in_no_order(make: Any) -> None:
    npu, bench = ({n: run.dump() for n, run in enumerate(_side(make, ranks))} for ranks in (ONE_EACH, ALL))
    found = unrolled_by_weights(npu, bench)
    assert found is not None
    for side in found:
        for dump in side.dumps.values():
            calls = {call.name: call for call in dump.calls}
            assert [name for name in calls if "up" in name] == [
                f"Module.layers.0.experts.{n}.up.Linear.forward.0" for n in range(EXPERTS)
            ]
            assert dump.owners["Module.layers.0.experts.2.up.Linear.forward.0"] == (
                "Module.layers.0.experts.2.Block.forward.0"
            )
            (weight, tokens) = (
                next(
                    leaf for name, leaf in calls["Module.layers.0.experts.2.up.Linear.forward.0"].tensors() if name == n
                )
                for n in ("parameters.weight", "input.0")
            )
            assert weight.sketch is not None
            assert tokens.sketch is None
    assert (
        found[0].names["Module.layers.0.experts.2.up.Linear.forward.0"]
        == "Module.layers.0.experts.0.up.Linear.forward.0"
    )
    assert found[0].ranks["Module.layers.0.experts.2.up.Linear.forward.0"] == 2


def test_what_optimizers_do_to_experts_is_left_out(make: Any) -> None:
    runs = _side(make, TWO_EACH)
    for run in runs:
        (first, *weights, last) = (a for a in run._arrays if run._fields.get(id(a)))
        named = {"first": first, **{f"experts.{n}": weight for n, weight in enumerate(weights)}, "last": last}
        run.call("Optimizer.SGD.0.forward", kwargs={"param": named, "grad": named})
    (bench,) = _side(make, ALL)
    found = unrolled_by_weights({n: run.dump() for n, run in enumerate(runs)}, {0: bench.dump()})
    assert found is not None
    (step,) = (call for call in found[0].dumps[0].calls if call.name.startswith("Optimizer"))
    assert [argument.name for argument in step.inputs] == [
        "input.param.first",
        "input.param.last",
        "input.grad.first",
        "input.grad.last",
    ]


def test_shards_and_replicas_and_other_levels_are_no_experts(make: Any) -> None:
    def dumps(side: Any) -> Any:
        return {rank: run.dump() for rank, run in enumerate(side)}

    sides = dumps(_side(make, ONE_EACH)), dumps(_side(make, ALL))
    assert unrolled_by_weights(*(dumps(_side(make, ranks, level="L1")) for ranks in (ONE_EACH, ALL))) is None
    assert unrolled_by_weights(dumps(_side(make, [[0, 1]] * 2)), dumps(_side(make, [[0, 1]]))) is None  # replicas
    assert (
        unrolled_by_weights(dumps(_side(make, [[0], [1]])), dumps(_side(make, [[0], [1]]))) is None
    )  # as on the bench
    assert unrolled_by_weights(sides[0], dumps(_side(make, [[0, 1, 2]]))) is None  # one is nowhere
