"""Calls that no attribute holds: autograd Functions of the user's, and operators called through torch.ops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from dump.intercept import direct
from dump.intercept.patching import Patches
from dump.intercept.watch import Watch


class Cube(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, scale: float) -> torch.Tensor:
        ctx.save_for_backward(x)
        return torch.pow(x, 3) * scale

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        (x,) = ctx.saved_tensors
        return gradient * 3 * x.square(), None


class Nan(torch.autograd.Function):
    """With a separate `setup_context`, which takes another way through torch."""

    @staticmethod
    def forward(x: torch.Tensor, fill: float = 0.0) -> torch.Tensor:
        return torch.nan_to_num(x, fill)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return gradient, None


def test_a_function_is_recorded_around_what_it_calls(record: Any) -> None:
    x = torch.tensor([1.0, 2.0], requires_grad=True)

    def act() -> None:
        Cube.apply(x, 1.0).sum().backward()

    dump = record(act, task="tensor")
    forward = ["Torch.pow.0.forward", "Tensor.__mul__.0.forward", "Autograd.Cube.0.forward", "Tensor.sum.0.forward"]
    assert dump.names[:4] == forward
    assert dump.tensor("Autograd.Cube.0.forward", "output.0").tolist() == [1, 8]
    assert dump.leaf("Autograd.Cube.0.forward", "input.1").value == 1.0
    assert dump.tensor("Autograd.Cube.0.backward", "input.0").tolist() == [1, 1]
    assert dump.tensor("Autograd.Cube.0.backward", "output.0").tolist() == [3, 12]
    # What it returned is what the last call inside it made.
    assert dump.value("Autograd.Cube.0.forward", "output.0") == dump.value("Tensor.__mul__.0.forward", "output.0")


def test_a_function_with_setup_context(record: Any) -> None:
    x = torch.tensor([float("nan")])
    dump = record(lambda: Nan.apply(x))
    assert dump.names == ["Torch.nan_to_num.0.forward", "Autograd.Nan.0.forward"]


def test_functions_of_torchs_own_are_no_operators(record: Any) -> None:
    x = torch.ones(2, requires_grad=True)
    dump = record(lambda: checkpoint(torch.exp, x, use_reentrant=True).sum().backward())
    assert not [name for name in dump.names if name.startswith("Autograd")]
    assert "Torch.exp.0.forward" in dump


PACKETS: list[tuple[Callable[[torch.Tensor], object], list[str]]] = [
    (lambda x: torch.ops.aten.relu(x), ["Aten.relu.0.forward", "Aten.relu.0.backward"]),
    (lambda x: torch.ops.au_test.twice(x), ["Torch.au_test.twice.0.forward", "Torch.au_test.twice.0.backward"]),
    (lambda x: torch.ops.profiler._record_function_enter_new("name"), []),
]


@pytest.mark.parametrize(("act", "names"), PACKETS)
def test_a_registered_operator_is_recorded_under_its_namespace(
    record: Any, act: Callable[[torch.Tensor], Any], names: list[str]
) -> None:
    library = torch.library.Library("au_test", "FRAGMENT")
    library.define("twice(Tensor x) -> Tensor")
    library.impl("twice", lambda x: x + x, "CompositeImplicitAutograd")
    x = torch.tensor([1.0, 2.0], requires_grad=True)

    def run() -> None:
        made = act(x)
        if isinstance(made, torch.Tensor):
            made.backward(torch.ones(2))

    found = [name for name in record(run).names if name.split(".")[0] in ("Aten", "Torch")]
    assert [name for name in found if not name.startswith("Torch.ones")] == names
    library._destroy()


@pytest.mark.parametrize(
    ("qualified", "key"), [("aten::relu", "Aten.relu"), ("npu::npu_x", "NPU.npu_x"), ("mine::f", "Torch.mine.f")]
)
def test_names_of_registered_operators(qualified: str, key: str) -> None:
    assert direct.operator_key(qualified) == key


def test_nothing_is_left_behind() -> None:
    before = vars(torch.autograd.Function)["apply"], vars(torch._ops.OpOverloadPacket)["__call__"]
    with Patches() as patches:
        direct.install(Watch(), patches)
        assert vars(torch.autograd.Function)["apply"] is not before[0]
    assert (vars(torch.autograd.Function)["apply"], vars(torch._ops.OpOverloadPacket)["__call__"]) == before


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # dynamo's own doing
def test_a_function_compiles_while_we_record(record: Any) -> None:
    x, results = torch.tensor([1.0, 2.0], requires_grad=True), []
    compiled = torch.compile(lambda x: Cube.apply(x, 2.0) + torch.ops.aten.relu(x), backend="eager", fullgraph=True)
    record(lambda: results.append(compiled(x)))
    torch._dynamo.reset()
    assert torch.equal(results[0], Cube.apply(x, 2.0) + torch.relu(x))
