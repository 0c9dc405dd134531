"""The names that a layout file knows a tensor by."""

from __future__ import annotations

from pathlib import Path

import pytest

from acc_compare.declared import Layout, Names
from acc_compare.wholes import Way
from dump.format.schema import Argument, CallRecord, Dump, Header, TensorRecord

WEIGHT, GRADIENT, OTHER = (TensorRecord("torch.float32", (2,), value=value) for value in (3, 4, 5))


def _dump() -> Dump:
    calls = (
        CallRecord("Functional.linear.0.forward", 0, inputs=(Argument("input.1", WEIGHT),)),
        CallRecord("Functional.linear.0.backward", 1, outputs=(Argument("output.1", GRADIENT),)),
        CallRecord(
            "Optimizer.AdamW.0.forward",
            2,
            inputs=(Argument("input.grad.up.weight", GRADIENT), Argument("input.param.up.weight", WEIGHT)),
            outputs=(Argument("output.0.up.weight", OTHER),),
        ),
        CallRecord("Module.up.Linear.forward.0", 3, parameters=(Argument("parameters.weight", WEIGHT),)),
        CallRecord("Functional.relu.0.forward", 4, inputs=(Argument("input.param.up.weight", OTHER),)),
    )
    return Dump(Path("rank0"), Header("statistics", "L1"), calls)


@pytest.mark.parametrize(
    ("call", "argument", "expected"),
    [
        (0, "input.1", "up.weight"),
        (1, "output.1", "up.weight.grad"),
        (2, "input.param.up.weight", "up.weight"),
        (2, "output.0.up.weight", "up.weight"),
        (3, "parameters.weight", "up.weight"),
    ],
)
def test_a_value_goes_by_the_name_of_its_parameter(call: int, argument: str, expected: str) -> None:
    dump = _dump()
    record = dump.calls[call]
    leaf = dict(record.tensors())[argument]
    assert Names(dump).of(record, argument, leaf) == [f"{record.name}.{argument}", expected]


def test_what_only_looks_like_a_parameter_is_none() -> None:
    dump = _dump()
    record = CallRecord("Functional.relu.1.forward", 5)
    unknown = TensorRecord("torch.float32", (2,), value=9)
    assert Names(dump).of(record, "input.param.up.weight", unknown) == [
        "Functional.relu.1.forward.input.param.up.weight"
    ]


def test_the_first_rule_that_fits_counts() -> None:
    layout = Layout("a file", (2,), (("up.*", (Way("dealt", 0),)), ("*.weight", (Way("dealt", 1),))))
    assert layout.ways(["Functional.linear.0.forward.input.1", "up.weight"]) == (Way("dealt", 0),)
    assert layout.ways(["down.weight"]) == (Way("dealt", 1),)
    assert layout.ways(["down.bias"]) is None
