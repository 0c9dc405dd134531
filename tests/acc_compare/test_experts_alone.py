"""Experts of which modules alone were recorded: found by their weights, compared each with its own."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from acc_compare.comparison import compare
from acc_compare.experts_alone import unrolled_by_weights
from acc_compare.model import Finding

EXPERTS, TOKENS = 4, (3, 5, 2, 6)
INFINITE = b64encode(np.full(16, np.inf, "<f4").tobytes()).decode()
LOCAL, GLOBAL = "layers.0.experts.{held}", "layers.0.experts.{expert}"


def _side(make: Any, ranks: Sequence[Sequence[int]], *, path: str = LOCAL, wrong: float = 0.0, **header: Any) -> Any:
    """The runs of ranks with a layer, these experts, and what is made of them; the last expert is off by `wrong` on the
    last rank that holds it.  Ranks that hold one expert share out its tokens."""
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
            holding = [other for other, experts in enumerate(ranks) if expert in experts]
            tokens = np.array_split(make.normal(TOKENS[expert], 4, seed=20 + expert), len(holding))[holding.index(rank)]
            is_last = expert == EXPERTS - 1 and rank == holding[-1]
            made = make.off(tokens @ weights[expert].T, wrong * is_last)
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
TWICE, SIDE_BY_SIDE = [*TWO_EACH, *TWO_EACH], [[0, 1], [0, 1], [2, 3], [2, 3]]


@pytest.mark.parametrize(
    ("npu", "bench", "rank"),
    [(TWICE, ALL, 3), (SIDE_BY_SIDE, ALL, 3), (TWICE, TWO_EACH, 3), (TWO_EACH, ONE_EACH * 2, 1)],
)
@pytest.mark.parametrize("wrong", [0.0, 0.05])
def test_replicas_of_an_expert_have_its_tokens_together(
    make: Any, tmp_path: Path, npu: Any, bench: Any, rank: int | None, wrong: float
) -> None:
    found = _compared(tmp_path, _side(make, npu, path=GLOBAL, wrong=wrong), _side(make, bench, path=GLOBAL))
    assert found.verdict == ("different" if wrong else "same")
    told = [(suspect.name, suspect.rank) for suspect in found.suspects]
    assert told == [(f"Module.layers.0.experts.{EXPERTS - 1}.up.Linear.forward.0", rank)] * bool(wrong)


def test_weights_that_all_experts_begin_with_alike_tell_of_none(make: Any) -> None:
    sides = []
    for ranks in (ONE_EACH, ONE_EACH * 2):
        side = _side(make, ranks, path=GLOBAL)
        for rank, run in enumerate(side):
            scale = {"weight": run.parameter(np.ones(32, np.float32))}
            run.call(f"Module.layers.0.experts.{rank % EXPERTS}.norm.LayerNorm.forward.0", parameters=scale)
        sides.append({rank: run.dump() for rank, run in enumerate(side)})
    found = unrolled_by_weights(*sides)
    assert found is not None
    assert found[0].ranks["Module.layers.0.experts.2.norm.LayerNorm.forward.0"] == (2,)


def test_where_experts_are_on_more_ranks_than_others_nothing_is_unrolled(make: Any) -> None:
    sides = (_side(make, ranks, path=GLOBAL) for ranks in ([[0, 1], [2, 3], [0, 2]], ALL))
    assert unrolled_by_weights(*({n: run.dump() for n, run in enumerate(side)} for side in sides)) is None


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
    assert found[0].ranks["Module.layers.0.experts.2.up.Linear.forward.0"] == (2,)


def _updated(make: Any, ranks: Sequence[Sequence[int]], *, scale: float = 1.0, wrong: float = 0.0) -> Any:
    """The same with a step of an optimizer; gradients of experts are `scale` times as large, and what becomes of the
    weights of the last rank's is off by `wrong` of their update."""
    runs = _side(make, ranks)
    for rank, (run, held) in enumerate(zip(runs, ranks, strict=True)):
        weights = [a for a in run._arrays if run._fields.get(id(a))]
        names = ["enter", *(f"layers.0.experts.{n}.up" for n in range(len(held))), "leave"]
        old = {f"{name}.weight": weight for name, weight in zip(names, weights, strict=True)}
        grads = {name: make.normal(*weight.shape, seed=int(abs(weight.sum()) * 100)) for name, weight in old.items()}
        new = {}
        for name, weight in old.items():
            is_off = rank == len(ranks) - 1 and "experts" in name
            new[name] = weight - np.float32(0.01 * (1 + wrong * is_off)) * np.sign(grads[name])
            grads[name] = grads[name] * np.float32(scale if "experts" in name else 1)
        run.call("Optimizer.AdamW.0.forward", kwargs={"param": old, "grad": grads})
        run.bodies["Optimizer.AdamW.0.forward"]["output"] = [run._nested(new)]
    return runs


@pytest.mark.parametrize(("scale", "kept"), [(1.0, True), (2.0, False)])
def test_what_optimizers_do_to_experts_is_compared_where_gradients_are_as_large(
    make: Any, scale: float, kept: bool
) -> None:
    npu, bench = _updated(make, TWO_EACH, scale=scale), _updated(make, ALL)
    found = unrolled_by_weights({n: run.dump() for n, run in enumerate(npu)}, {0: bench[0].dump()})
    assert found is not None
    for side in found:
        for dump in side.dumps.values():
            (step,) = (call for call in dump.calls if call.name.startswith("Optimizer"))
            experts = [f"layers.0.experts.{n}.up.weight" for n in range(EXPERTS)] if kept else []
            read = sorted(a.name.removeprefix("input.grad.") for a in step.inputs if "grad" in a.name)
            assert read == ["enter.weight", *experts, "leave.weight"]
    assert found[0].owners == {f"layers.0.experts.{n}.up.weight": (n // 2,) for n in range(EXPERTS if kept else 0)}


@pytest.mark.parametrize("wrong", [0.0, 0.1])
def test_a_wrong_update_of_an_expert_is_told_with_its_rank(make: Any, tmp_path: Path, wrong: float) -> None:
    found = _compared(tmp_path, _updated(make, TWO_EACH, wrong=wrong), _updated(make, ALL))
    told = [(suspect.name, suspect.kind, suspect.rank) for suspect in found.suspects]
    assert told == [("Optimizer.AdamW.0.forward", "optimizer", 1)] * bool(wrong)


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


def test_weights_that_are_not_finite_tell_nothing(make: Any) -> None:
    npu, bench = _side(make, ONE_EACH), _side(make, ALL)
    for run in (*npu, *bench):
        for name, body in run.bodies.items():
            if "up" in name:
                body["parameters"]["weight"] |= {"sketch": INFINITE}
    assert unrolled_by_weights(*({n: run.dump() for n, run in enumerate(side)} for side in (npu, bench))) is None
