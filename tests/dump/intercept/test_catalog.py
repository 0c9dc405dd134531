"""What counts as an operator."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest
import torch
import torch.nn.functional as F

from dump.intercept import catalog


@pytest.fixture(scope="module")
def names() -> set[str]:
    return {f"{operator.prefix}.{operator.api}" for operator in catalog.operators()}


@pytest.mark.parametrize(
    "name",
    [
        "Torch.matmul",
        "Torch.cat",
        "Torch.relu_",
        "Torch.rand",
        "Torch.linalg.norm",
        "Torch.fft.rfft",
        "Torch.special.erf",
        "Torch.sparse.mm",
        "Torch._transformer_encoder_layer_fwd",
        "Functional.mse_loss",
        "Functional.max_pool2d",
        "Functional.scaled_dot_product_attention",
        "Functional.one_hot",
        "Tensor.copy_",
        "Tensor.__getitem__",
        "Tensor.__rmatmul__",
        "Tensor.to",
        "Tensor.masked_fill_",
        "VF.lstm",
        "VF._pack_padded_sequence",
        "VF._pad_packed_sequence",
        "Torch._weight_norm",
    ],
)
def test_an_operator_is_in_the_catalog(names: set[str], name: str) -> None:
    assert name in names


@pytest.mark.parametrize(
    "name",
    [
        "Tensor.size",
        "Tensor.item",
        "Tensor.backward",
        "Tensor.detach",
        "Tensor.register_hook",
        "Tensor.__len__",
        "Tensor.__repr__",
        "Torch.is_tensor",
        "Torch.typename",
        "Functional.has_torch_function",
        "Functional.boolean_dispatch",
    ],
)
def test_a_question_is_not(names: set[str], name: str) -> None:
    assert name not in names


def test_every_operator_of_torchs_own_list_is_there_unless_it_is_left_out_by_name(names: set[str]) -> None:
    """A release of torch that brings a new operator brings it here."""
    overridable = [
        function
        for function in torch.overrides.get_overridable_functions()[torch]
        if not isinstance(getattr(torch, function.__name__, None), type)
    ]
    missing = {
        function.__name__
        for function in overridable
        if not function.__name__.startswith("_") and f"Torch.{function.__name__}" not in names
    }
    assert missing <= catalog._QUESTIONS | {
        function.__name__ for function in overridable if function.__name__[:4] == "sym_"
    }


def test_a_kernel_that_torch_holds_in_two_places_is_wrapped_in_both() -> None:
    places = [op.owner for op in catalog.operators() if op.attribute == "gelu" and op.prefix == "Functional"]
    assert places == [F, torch._C._nn]


def test_no_place_is_named_twice() -> None:
    places = [(id(operator.owner), operator.attribute) for operator in catalog.operators()]
    assert len(places) == len(set(places))


def test_operators_of_torch_npu_stay_what_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """A module with operators of its own stands in for torch_npu (tests/torch_npu has the real one): what it hands
    out as it is registered is met at its call, and a function of its own is wrapped."""
    library = torch.library.Library("npu", "FRAGMENT")
    library.define("_npu_made_up(Tensor x) -> Tensor")
    library.define("npu_in_python(Tensor x) -> Tensor")
    torch_npu = ModuleType("torch_npu")
    torch_npu._npu_made_up = torch.ops.npu._npu_made_up  # type: ignore[attr-defined]
    torch_npu.npu_in_python = lambda x: torch.ops.npu.npu_in_python(x)  # type: ignore[attr-defined]
    _ = torch.ops.npu.npu_in_python
    monkeypatch.setitem(sys.modules, "torch_npu", torch_npu)
    found = [op for op in catalog.operators() if op.prefix == "NPU"]
    assert [(op.owner, op.attribute, op.api) for op in found] == [(torch_npu, "npu_in_python", "npu_in_python")]
    assert {"_npu_made_up", "npu_in_python"} <= set(catalog.npu_names())
    if hasattr(library, "_destroy"):  # before torch 2.2 it goes with its last reference
        library._destroy()
