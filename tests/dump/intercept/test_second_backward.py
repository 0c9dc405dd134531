"""A backward that the script differentiates in its turn (a penalty on gradients, forces) is recorded as a call."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
import torch


class _Mark:
    """Lives as long as the node that has it."""


def _penalty(model: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    (gradient,) = torch.autograd.grad(model(x).sum(), x, create_graph=True)
    loss = (gradient.norm(dim=1) - 1).square().mean()
    loss.backward()
    return loss.detach()


@pytest.fixture
def model() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Sigmoid(), torch.nn.Linear(4, 1))


def test_what_it_reads_and_writes(record: Any) -> None:
    x = torch.tensor([0.5, -1.0], requires_grad=True)

    def act() -> None:
        y = torch.sigmoid(x)
        (first,) = torch.autograd.grad(y.sum(), x, create_graph=True)
        first.sum().backward()

    dump = record(act, task="tensor")
    s = torch.sigmoid(x.detach())
    forward, backward = "Autograd.sigmoid_backward.0.forward", "Autograd.sigmoid_backward.0.backward"
    assert torch.equal(dump.tensor(forward, "input.0"), torch.ones(2))
    assert torch.equal(dump.tensor(forward, "input.1.0"), x.detach())
    assert torch.equal(dump.tensor(forward, "input.2.0"), s)
    assert torch.allclose(dump.tensor(forward, "output.0"), s * (1 - s))
    assert torch.equal(dump.tensor(backward, "input.0"), torch.ones(2))
    # Towards the gradient that it read, and towards what sigmoid returned.
    assert torch.allclose(dump.tensor(backward, "output.2"), 1 - 2 * s)


def test_a_penalty_on_gradients_has_the_same_bits_and_all_its_calls(record: Any, model: torch.nn.Module) -> None:
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(1)).requires_grad_()
    alone = _penalty(model, x)
    expected = [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]
    model.zero_grad()
    found: list[torch.Tensor] = []
    names = record(lambda: found.append(_penalty(model, x)), level="mix").names
    assert torch.equal(found[0], alone)
    assert all(torch.equal(a, b.grad) for a, b in zip(expected, model.parameters(), strict=False) if b.grad is not None)
    assert {"Autograd.sigmoid_backward.0.backward", "Autograd.linear_backward.0.backward"} <= set(names)


def test_a_plain_backward_makes_no_such_call_and_nothing_is_kept(record: Any, model: torch.nn.Module) -> None:
    x = torch.randn(5, 3).requires_grad_()
    names = record(lambda: model(x).sum().backward(retain_graph=True)).names
    assert not [name for name in names if name.startswith("Autograd.")]
    kept: list[Any] = []

    def act() -> None:
        y = torch.sigmoid(x)
        (gradient,) = torch.autograd.grad(y.sum(), x, create_graph=True)
        for node in (y.grad_fn, gradient.grad_fn):
            assert node is not None
            mark = node.metadata["mark"] = _Mark()
            kept.append(weakref.ref(mark))

    gc.disable()
    try:
        record(act)
        assert [reference() for reference in kept] == [None, None]
    finally:
        gc.enable()
