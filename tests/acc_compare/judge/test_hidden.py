"""What could not be compared, and shows in what was computed from it: the one call behind it is named, or none."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from acc_compare.align.calls import align
from acc_compare.judge.hidden import hidden_origin
from acc_compare.judge.worlds import unmeasured_calls
from acc_compare.measured.pairs import measure_pairs
from dump.format.schema import Argument, Dump, TensorRecord

A = "Module.a.A.forward.0"
LINEAR, VIEW, NORM = "Functional.linear.0.forward", "Tensor.view.0.forward", "Functional.layer_norm.0.forward"


def _run(make: Any, *, wrong: float = 0.0, before: float = 0.0, sources: int = 1) -> Dump:
    """A product, a view of it, and its norm; with two `sources` the norm reads another product too."""
    run = make.Run(world_size=1)
    x, kept = make.off(make.normal(8, 8), before), [make.normal(8, 8, seed=n + 1) for n in range(sources)]
    run.call("Functional.relu.0.forward", [make.normal(8, 8)], [x], owner=A)
    for number, product in enumerate(kept):
        run.call(f"Functional.linear.{number}.forward", [x], [product], owner=A)
    views = [product.reshape(64).copy() for product in kept]
    for number, (product, view) in enumerate(zip(kept, views, strict=True)):
        run.call(f"Tensor.view.{number}.forward", [product], [view], owner=A)
    run.call(NORM, views, [make.off(make.normal(64, seed=9), wrong)], owner=A)
    run.call("Functional.gelu.0.forward", [make.normal(64, seed=9)], [make.normal(64, seed=10)], owner=A)
    return run.dump()


def _without_products(dump: Dump) -> Dump:
    """Nobody could put together what the products are, nor the views of them."""
    made = {
        leaf.value
        for call in dump.calls
        if "linear" in call.name or "view" in call.name
        for name, leaf in call.tensors()
        if name.startswith("output")
    }
    blank = dict.fromkeys(("max", "min", "mean", "norm", "sketch"))

    def told(argument: Argument) -> Argument:
        leaf = argument.leaf
        if not isinstance(leaf, TensorRecord) or leaf.value not in made:
            return argument
        return Argument(argument.name, msgspec.structs.replace(leaf, unrecorded="parts.differ", **blank))

    return replace(dump, calls=tuple(call.mapped(told) for call in dump.calls))


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"wrong": 0.1}, [LINEAR]),
        ({}, []),
        ({"wrong": 0.1, "before": 0.1}, []),  # it began earlier
        ({"wrong": 0.1, "sources": 2}, []),  # either may have made it
    ],
)
def test_the_call_that_was_not_compared_is_named_where_it_is_one(
    make: Any, more: dict[str, Any], named: list[str]
) -> None:
    healthy = _without_products(_run(make, sources=more.get("sources", 1)))
    npu = _without_products(_run(make, **more))
    calls = [part.call for part in measure_pairs(align(npu, healthy), "statistics") if part.call is not None]
    found = hidden_origin(calls, npu, unmeasured_calls(npu, calls))
    assert [origin.maker for origin in found] == named
    assert [origin.call.full_name for origin in found] == [NORM] * len(named)


def test_what_was_compared_is_judged_where_it_is(make: Any) -> None:
    npu, bench = _run(make, wrong=0.1), _run(make)
    calls = [part.call for part in measure_pairs(align(npu, bench), "statistics") if part.call is not None]
    assert hidden_origin(calls, npu, unmeasured_calls(npu, calls)) == []
