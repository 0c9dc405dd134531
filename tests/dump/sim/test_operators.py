"""What the schemas say, and which operators a fault can reach."""

from __future__ import annotations

import pytest
import torch

from dump.sim import operators

ATEN = torch.ops.aten


@pytest.mark.parametrize(
    ("operator", "expected"),
    [
        (ATEN.add.Tensor, {"single": (0, 1), "lists": (), "returned": (None,), "writes": False}),
        (ATEN.add_.Tensor, {"single": (0, 1), "written": (0,), "returned": (0,), "resizes": False}),
        (ATEN.add.out, {"written_names": ("out",), "returned": ("out",), "resizes": True}),
        (ATEN.resize_.default, {"written": (0,), "resizes": True}),
        (ATEN.cat.default, {"single": (), "lists": (0,), "writes": False}),
        (ATEN._foreach_add_.List, {"lists": (0, 1), "written": (0,), "returned": ()}),
        (ATEN.sort.values, {"written_names": ("values", "indices"), "returned": ("values", "indices")}),
        (ATEN.native_batch_norm.default, {"undeclared": (3, 4), "writes": False}),
    ],
    ids=str,
)
def test_a_plan_is_read_from_the_schema(operator, expected):
    plan = operators.plan_of(operator)
    assert {name: getattr(plan, name) for name in expected} == expected


def test_an_overload_is_found_by_its_full_name():
    assert operators.overload("aten::add.Tensor") is ATEN.add.Tensor
    assert operators.overload("aten::relu") is ATEN.relu.default
    assert operators.overload("aten::nonsense") is None


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("aten::gelu", None),
        ("aten::gelu_backward", None),
        ("aten::convolution", None),
        ("aten::_to_copy", None),
        ("aten::as_strided", "re-describes"),
        ("aten::linear", "composed"),
        ("aten::nonsense", "no operator"),
        ("nowhere::nonsense", "no operator"),
    ],
)
def test_what_a_fault_can_reach(name, reason):
    found = operators.why_unreachable(name)
    assert found is None if reason is None else reason in found
