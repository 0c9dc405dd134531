"""Sides of different numbers of ranks: what differs with that number is no fault, and nothing goes missing by it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from acc_compare.align.calls import align
from acc_compare.judge.worlds import first_of, is_bookkeeping, judge_worlds, read_otherwise, seen_later
from acc_compare.measured.pairs import measure_pairs
from acc_compare.messages import say
from acc_compare.model import PairedArgument
from acc_compare.report.i18n import text
from dump.format.schema import Argument, CallRecord, CollectiveRecord, Dump, Header, ScalarRecord, TensorRecord

TOGETHER = CollectiveRecord("all_reduce", "0", (0, 1), 0)
A = "Module.a.A.forward.0"
NO_CALLS = Dump(Path("rank0"), Header("statistics", "L1"), ())
FOUR, TWO = ScalarRecord("int", 4), ScalarRecord("int", 2)


@pytest.mark.parametrize(
    ("call", "moves"),
    [
        (CallRecord("Tensor.view.0.forward", 0), True),
        (CallRecord("Torch.empty.0.forward", 0), True),
        (CallRecord("Torch.fsdp.all_gather_copy_in.0.forward", 0), True),
        (CallRecord("Distributed.all_reduce.0.forward", 0, collectives=(TOGETHER,)), True),
        (CallRecord("Functional.linear.0.forward", 0), False),
        (CallRecord("Functional.gelu.0.backward", 0), False),
    ],
)
def test_what_only_moves_memory_is_bookkeeping(call: CallRecord, moves: bool) -> None:
    assert is_bookkeeping(call) is moves


def _origin(order: int, operator: str, **more: Any) -> Any:
    collectives = more.pop("collectives", ())
    pair = SimpleNamespace(
        arguments=more.pop("arguments", ()), npu=SimpleNamespace(collectives=collectives, index=order)
    )
    owner = more.pop("owner", "Module.a.A.forward.0")
    call = SimpleNamespace(order=order, operator=operator, owner=owner, pair=pair, communicates=bool(collectives))
    argument = SimpleNamespace(
        name=more.pop("argument", "output.0"), is_floating=more.pop("is_floating", True), npu=SimpleNamespace(value=7)
    )
    return SimpleNamespace(
        call=call, judged=SimpleNamespace(argument=argument), **{"kind": "operator", "reshaped": False, **more}
    )


def test_the_first_in_order_of_execution_is_named() -> None:
    late, early = _origin(7, "linear", kind="dtype"), _origin(3, "gelu")
    assert first_of([late, early], NO_CALLS) == [early]


@pytest.mark.parametrize(
    "more",
    [
        {"kind": "structure"},
        {"reshaped": True},
        {"is_floating": False},
        {"argument": "input.0", "owner": None},
        {"arguments": (PairedArgument("input.1", FOUR, TWO),)},
        {"arguments": (PairedArgument("output.1", FOUR, None),)},
        {"collectives": (CollectiveRecord("recv", "0", (0, 1), 0),)},
    ],
)
def test_what_the_number_of_ranks_makes_is_not_named(more: dict[str, Any]) -> None:
    assert first_of([_origin(1, "view", **more)], NO_CALLS) == []


@pytest.mark.parametrize("operator", ["view", "gelu"])
def test_what_is_cut_alike_or_computes_is_named(operator: str) -> None:
    arguments = (PairedArgument("input.1", FOUR, FOUR if operator == "view" else TWO),)
    assert len(first_of([_origin(1, operator, arguments=arguments)], NO_CALLS)) == 1


@pytest.mark.parametrize(
    ("kind", "more", "named"),
    [
        ("input", {}, True),
        ("input", {"owner": None}, False),  # no module reads it: a label, a buffer of the script's
        ("input", {"collectives": (TOGETHER,)}, False),  # it goes to other ranks first
        ("operator", {}, False),
    ],
)
def test_data_that_a_module_computes_with_is_named_however_ranks_share_it_out(
    kind: str, more: dict[str, Any], named: bool
) -> None:
    own = _origin(1, "__getitem__", kind=kind, owner=None, arguments=(PairedArgument("input.1", FOUR, TWO),))
    own.judged.argument.is_floating = False
    data, scaled = (Argument("input.0", TensorRecord("torch.float32", (2,), value=value)) for value in (7, 8))
    name = "Functional.embedding.0.forward"
    calls = (
        CallRecord("Tensor.__getitem__.0.forward", 1),
        CallRecord("Tensor.div.0.forward", 2, (data,), (Argument("output.0", scaled.leaf),)),
        CallRecord(name, 3, (scaled,), collectives=more.get("collectives", ())),
    )
    npu = Dump(Path("rank0"), Header("statistics", "L1"), calls, {name: more.get("owner", A)})
    assert (first_of([own], npu) == [own]) is named


@pytest.mark.parametrize(("api", "named"), [("fsdp.all_gather_copy_in", False), ("embedding", True)])
def test_parts_of_weights_that_are_gathered_once_more_are_not_named(api: str, named: bool) -> None:
    """With more micro-batches a module gathers its weights more often, so that calls of two modules are paired."""
    name = f"Torch.{api}.1.forward"
    shard, sent = (
        Argument(f"input.0.{n}", TensorRecord("torch.float32", (2,), value=value)) for n, value in ((1, 7), (2, 8))
    )
    calls = (
        CallRecord(name, 1, (shard,), (sent,)),
        CallRecord("Distributed.all_gather_into_tensor.1.forward", 2, (sent,), collectives=(TOGETHER,)),
    )
    npu = Dump(Path("rank0"), Header("statistics", "L1"), calls, dict.fromkeys((call.name for call in calls), A))
    own = _origin(1, api, kind="input", argument="input.0.1")
    assert (first_of([own], npu) == [own]) is named


def _reading(make: Any, *, data: float = 0.0, before: float = 0.0, trained: bool = False) -> Any:
    """A layer norm of something, and an embedding of data that a flip made, which the other side lacks."""
    run = make.Run(world_size=1)
    run.call("Functional.layer_norm.0.forward", [make.normal(8)], [make.off(make.normal(8, seed=1), before)], owner=A)
    rows = make.off(make.normal(8, seed=2), data)
    if trained:
        run.mark(rows, requires_grad=True)
    if data:
        run.call("Tensor.flip.0.forward", [make.normal(8, seed=2)], [rows])
    run.call("Functional.linear.0.forward", [rows], [make.off(make.normal(8, seed=3), data)], owner=A)
    return run


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"data": 0.5}, ["Functional.linear.0.forward"]),
        ({"data": 0.0}, []),
        ({"data": 0.5, "before": 0.1}, []),
        ({"data": 0.5, "trained": True}, []),
    ],
)
def test_data_that_calls_of_one_side_made_are_named_where_the_model_reads_them(
    make: Any, more: dict[str, Any], named: list[str]
) -> None:
    npu, bench = _reading(make, **more).dump(), _reading(make).dump()
    calls = [part.call for part in measure_pairs(align(npu, bench), "statistics") if part.call is not None]
    found = read_otherwise(calls)
    assert [(origin.call.full_name, origin.kind) for origin in found] == [(name, "input") for name in named]


@pytest.mark.parametrize(("owner", "named"), [(None, []), ("Module.a.A.forward.0", [0])])
def test_a_division_by_the_number_of_ranks_outside_the_model_is_not_named(owner: str | None, named: list[int]) -> None:
    divided = _origin(0, "div_", owner=owner, arguments=(PairedArgument("input.1", FOUR, TWO),))
    assert [origin.call.order for origin in first_of([divided], NO_CALLS)] == named


def _hidden(make: Any, *, parts: int, wrong: float = 0.0, world: int = 1) -> Any:
    """A product, so many partial results of it, and their sum."""
    run = make.Run(world_size=world)
    x = make.normal(8, 8)
    kept = [make.normal(parts, number + 2, seed=number) for number in range(parts)]
    run.call("Functional.linear.0.forward", [x], [make.normal(8, 8, seed=20)], owner="Module.a.A.forward.0")
    for number, part in enumerate(kept):
        run.call(f"Torch.exp.{number}.forward", [make.normal(8, 8, seed=20)], [part], owner="Module.a.A.forward.0")
    total = make.off(make.normal(8, 8, seed=30), wrong)
    run.call("Torch.stack.0.forward", kept, [total], owner="Module.a.A.forward.0")
    return run


@pytest.mark.parametrize(("wrong", "shown"), [(0.0, True), (1e-2, False)])
def test_what_cannot_be_compared_shows_in_what_was_computed_from_it(make: Any, wrong: float, shown: bool) -> None:
    npu, bench = _hidden(make, parts=4, wrong=wrong).dump(), _hidden(make, parts=2).dump()
    calls = [part.call for part in measure_pairs(align(npu, bench), "statistics") if part.call is not None]
    for dump, side, count in ((npu, "npu", 4), (bench, "bench", 2)):
        found = seen_later(dump, calls, side)
        expected = {f"Torch.exp.{number}.forward" for number in range(count)} if shown else set()
        assert {name for name in found if "exp" in name} == expected


@pytest.mark.parametrize(("off", "verdict"), [(0.0, "same"), (0.1, "incomplete")])
def test_a_gradient_that_is_further_off_than_the_others_is_no_agreement(make: Any, off: float, verdict: str) -> None:
    def run(*, wrong: float) -> Any:
        one = make.Run(world_size=1)
        x = make.normal(8, 8)
        one.call("Functional.linear.0.forward", [x], [make.normal(8, 8, seed=20)], owner="Module.a.A.forward.0")
        weights = {f"p{n}": one.parameter(make.normal(8, 8, seed=n)) for n in range(4)}
        grads = {
            name: make.off(make.normal(8, 8, seed=40 + n), wrong if n == 3 else 0.0) for n, name in enumerate(weights)
        }
        one.call("Optimizer.SGD.0.forward", kwargs={"grad": grads, "param": weights})
        one.bodies["Optimizer.SGD.0.forward"]["output"] = [one._nested(weights)]
        return one

    npu, bench = run(wrong=off).dump(), run(wrong=0.0).dump()
    calls = [part.call for part in measure_pairs(align(npu, bench), "statistics") if part.call is not None]
    found, summary, _ = judge_worlds(calls, (npu, bench), ("same", say("summary.compared", calls="2")), frozenset())
    assert found == verdict
    assert (summary.key == "summary.gradient") == (verdict == "incomplete")


def test_digests_of_sums_over_other_numbers_of_ranks_say_no_more(make: Any) -> None:
    def run(*, reduced: float) -> Any:
        one = make.Run(mode="md5", world_size=1)
        one.call("Functional.linear.0.forward", [make.normal(8)], [make.normal(8, seed=1)], owner=A)
        one.call("Functional.gelu.0.forward", [make.normal(8, seed=1)], [make.off(make.normal(8), reduced)], owner=A)
        return one.dump()

    for reduced, expected in ((1e-7, "incomplete"), (0.0, "same")):
        npu, bench = run(reduced=reduced), run(reduced=0.0)
        calls = [part.call for part in measure_pairs(align(npu, bench), "md5") if part.call is not None]
        judged = ("same", say("summary.compared", calls="2"))
        found, summary, _ = judge_worlds(calls, (npu, bench), judged, frozenset(), "md5")
        assert found == expected
        told = text(summary)
        assert expected == "same" or told.startswith(
            "Nothing suspect: 1 of 2 results are the same to the bit. From Func"
        )


def test_by_digests_what_ranks_add_up_is_not_named() -> None:
    summed = _origin(1, "ddp_all_reduce", collectives=(TOGETHER,))
    assert first_of([summed], NO_CALLS) == [summed]
    assert first_of([summed], NO_CALLS, digests=True) == []


def test_ranks_that_read_different_gradients_of_what_they_share_do_not_agree(make: Any) -> None:
    run = make.Run(world_size=1)
    weight, gradient = run.parameter(make.normal(8, 8)), make.normal(8, 8, seed=1)
    run.call("Optimizer.SGD.0.forward", kwargs={"grad": {"p": gradient}, "param": {"p": weight}})
    whole = run.dump()
    for why, verdict in ((None, "same"), ("parts.differ", "incomplete")):
        (call,) = whole.calls
        inputs = tuple(
            Argument(a.name, msgspec.structs.replace(a.leaf, unrecorded=why))
            if a.name == "input.grad.p" and isinstance(a.leaf, TensorRecord)
            else a
            for a in call.inputs
        )
        npu = replace(whole, calls=(msgspec.structs.replace(call, inputs=inputs),))
        calls = [part.call for part in measure_pairs(align(npu, whole), "statistics") if part.call is not None]
        found, *_ = judge_worlds(calls, (npu, whole), ("same", say("summary.compared", calls="1")), frozenset())
        assert found == verdict


@pytest.mark.parametrize(("off", "verdict"), [(0.0, "same"), (0.01, "incomplete")])
def test_what_ranks_held_of_a_gradient_shows_in_the_gradient_that_the_optimizer_reads(
    make: Any, off: float, verdict: str
) -> None:
    """Modules alone tell the gradients before they are reduced: parts of sums, of which no norm follows."""
    run = make.Run(world_size=1)
    gradient, weight = make.normal(8, 8, seed=1), run.parameter(make.normal(8, 8))
    run.call("Optimizer.SGD.0.forward", kwargs={"grad": {"p": gradient}, "param": {"p": weight}})
    bench = run.dump()
    (call,) = bench.calls
    leaf = next(a.leaf for a in call.inputs if a.name == "input.grad.p")
    assert isinstance(leaf, TensorRecord)
    wrong = msgspec.structs.replace(leaf, norm=(1 + off) * float(leaf.norm or 0), sketch=None)
    read = tuple(Argument(a.name, wrong) if a.name == "input.grad.p" else a for a in call.inputs)
    held = [msgspec.structs.replace(leaf, value=None, unrecorded=why) for why in ("parts.differ", None)]
    blank = msgspec.structs.replace(held[0], **dict.fromkeys(("max", "min", "mean", "norm", "sketch")))
    before = [
        CallRecord("Module.a.A.parameters_grad.0", 0, outputs=(Argument("parameters_grad.p", each),))
        for each in (blank, held[1])
    ]
    npu = replace(bench, calls=(before[0], msgspec.structs.replace(call, index=1, inputs=read)))
    bench = replace(bench, calls=(before[1], msgspec.structs.replace(call, index=1)))
    calls = [part.call for part in measure_pairs(align(npu, bench), "statistics") if part.call is not None]
    found, *_ = judge_worlds(calls, (npu, bench), ("same", say("summary.compared", calls="1")), frozenset())
    assert found == verdict
