"""What an operator calls inside itself, in backward as in forward, is no call of the script's."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch.utils.checkpoint import checkpoint

_library = torch.library.Library("au_kernels", "FRAGMENT")

if not hasattr(torch.library, "custom_op"):
    pytest.skip("torch.library.custom_op came with torch 2.4", allow_module_level=True)


@torch.library.custom_op("au_kernels::silu", mutates_args=(), schema="(Tensor x) -> Tensor")
def silu(x: torch.Tensor) -> torch.Tensor:
    return x * torch.sigmoid(x)


def _silu_backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
    (x,) = ctx.saved_tensors
    s = torch.sigmoid(x)
    return gradient * (s + x * s * (1 - s))


silu.register_autograd(_silu_backward, setup_context=lambda ctx, inputs, output: ctx.save_for_backward(*inputs))


def _calls(names: list[str]) -> list[str]:
    return [name for name in names if not any(word in name for word in ("ones", "sum"))]


def test_the_backward_of_a_custom_operator_is_one_call(record: Any) -> None:
    x = torch.ones(2, 2, requires_grad=True)
    names = record(lambda: silu(torch.exp(x)).sum().backward()).names
    assert _calls(names) == [
        "Torch.exp.0.forward",
        "Torch.au_kernels.silu.0.forward",
        "Torch.au_kernels.silu.0.backward",
        "Torch.exp.0.backward",
    ]


def test_what_a_checkpoint_runs_anew_for_it_is_the_scripts(record: Any) -> None:
    x = torch.ones(2, 2, requires_grad=True)

    def block(x: torch.Tensor) -> torch.Tensor:
        return silu(torch.exp(x))

    def act() -> None:
        out: Any = checkpoint(block, x, use_reentrant=False)
        out.sum().backward()

    names = record(act).names
    assert "Torch.exp.1.forward" in names  # the recomputation ends where silu has saved what it needs
    assert not [name for name in names if "sigmoid" in name]


@pytest.mark.parametrize("audit", [False, True])
def test_a_kernel_in_python_that_autograd_calls_and_a_hook_beside_it(record: Any, audit: bool) -> None:
    library = torch.library.Library("aten", "IMPL")

    def kernel(gradient: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
        return gradient * (torch.neg(output) + 1) * output

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a kernel is replaced; torch says it once
        library.impl("sigmoid_backward", kernel, "CPU")
    x = torch.ones(2, 2, requires_grad=True)

    def act() -> None:
        y = torch.sigmoid(x)
        y.register_hook(torch.abs)
        y.sum().backward()

    try:
        names = record(act, audit=audit).names
    finally:
        library._destroy()
    assert _calls(names) == ["Torch.sigmoid.0.forward", "Torch.abs.0.forward", "Torch.sigmoid.0.backward"]


def test_the_backward_of_a_function_of_the_users_own_keeps_its_calls(record: Any) -> None:
    class Twice(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
            return x + x

        @staticmethod
        def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
            return torch.mul(gradient, 2)

    x = torch.ones(2, requires_grad=True)
    assert "Torch.mul.0.forward" in record(lambda: Twice.apply(x).sum().backward()).names
