"""Gradients of a module's own parameters are records of their own, as autograd delivers them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn


@pytest.fixture
def model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))


def _gradients(recorded: Any) -> list[str]:
    return [name for name in recorded.names if ".parameters_grad." in name]


def test_each_module_with_parameters_has_one(record: Any, model: nn.Sequential) -> None:
    recorded = record(lambda: model(torch.ones(2, 3)).sum().backward(), models=[model], level="mix", task="tensor")
    assert sorted(_gradients(recorded)) == ["Module.0.Linear.parameters_grad.0", "Module.2.Linear.parameters_grad.0"]
    for number in (0, 2):
        for name in ("weight", "bias"):
            stored = recorded.tensor(f"Module.{number}.Linear.parameters_grad.0", f"parameters_grad.{name}")
            assert torch.equal(stored, getattr(model[number], name).grad)


def test_a_second_backward_is_a_second_record_of_what_it_brings_alone(record: Any, model: nn.Sequential) -> None:
    def act() -> None:
        for _ in range(2):
            model(torch.ones(2, 3)).sum().backward()

    recorded = record(act, models=[model], level="mix", task="tensor")
    names = [name for name in _gradients(recorded) if name.startswith("Module.2.")]
    assert names == ["Module.2.Linear.parameters_grad.0", "Module.2.Linear.parameters_grad.1"]
    first, second = (recorded.tensor(name, "parameters_grad.weight") for name in names)
    assert torch.equal(first, second)
    assert torch.equal(first + second, model[2].weight.grad)


def test_a_frozen_parameter_is_not_waited_for(record: Any, model: nn.Sequential) -> None:
    model[2].bias.requires_grad_(False)
    recorded = record(lambda: model(torch.ones(2, 3)).sum().backward(), models=[model], level="mix")
    (call,) = [recorded[name] for name in _gradients(recorded) if name.startswith("Module.2.")]
    assert [argument.name for argument in call.outputs] == ["parameters_grad.weight"]


def test_a_shared_parameter_belongs_to_the_first_module(record: Any, model: nn.Sequential) -> None:
    twin = nn.Linear(3, 4)
    twin.weight = model[0].weight
    both = nn.ModuleList([model, twin])

    def act() -> None:
        (model(torch.ones(2, 3)).sum() + twin(torch.ones(2, 3)).sum()).backward()

    recorded = record(act, models=[both], level="mix")
    held = {name: [each.name for each in recorded[name].outputs] for name in _gradients(recorded)}
    assert held["Module.1.Linear.parameters_grad.0"] == ["parameters_grad.bias"]


def test_hooks_are_gone_and_nothing_comes_where_outputs_of_backward_are_not_asked_for(
    record: Any, model: nn.Sequential
) -> None:
    recorded = record(
        lambda: model(torch.ones(2, 3)).sum().backward(), models=[model], level="mix", data_mode=("forward",)
    )
    assert _gradients(recorded) == []
    node = model[0].weight.expand_as(model[0].weight).grad_fn
    assert node is not None
    assert all(parameter.grad is not None for parameter in model.parameters())
