"""Moments and gradients are found where optimizers made like Megatron's and DeepSpeed's keep them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from dump.monitor.framework_optimizers import OptimizerStates, gradient_held_elsewhere


@pytest.fixture
def parameter() -> torch.nn.Parameter:
    return torch.nn.Parameter(torch.ones(4, dtype=torch.bfloat16))


def _stepped(tensor: torch.Tensor) -> torch.optim.Optimizer:
    tensor = tensor.requires_grad_()
    optimizer = torch.optim.Adam([tensor])
    tensor.grad = torch.full_like(tensor, 2.0)
    optimizer.step()
    return optimizer


def test_a_state_is_that_of_the_parameter_itself_through_wrappers_too() -> None:
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer, other = _stepped(weight), SimpleNamespace(state={})
    wrapped = SimpleNamespace(optimizer=optimizer)
    for each in (optimizer, wrapped, SimpleNamespace(chained_optimizers=[other, wrapped])):
        assert OptimizerStates(each).of(weight) is optimizer.state[weight]
    assert OptimizerStates(SimpleNamespace()).of(weight) == {}
    assert OptimizerStates(torch.optim.Adam([weight])).of(weight) == {}


@pytest.mark.parametrize(
    ("theirs", "updated"),
    [
        ("float16_groups", "fp32_from_float16_groups"),
        ("model_float16_groups", "shard_fp32_from_float16_groups"),
        ("model_fp32_groups", "shard_fp32_groups"),
        ("fp16_groups", "fp32_groups"),
    ],
)
def test_another_tensor_is_updated_for_it(theirs: str, updated: str, parameter: torch.nn.Parameter) -> None:
    shard = torch.ones(2)
    optimizer = _stepped(shard)
    mixed = SimpleNamespace(optimizer=optimizer, **{theirs: [[parameter]], updated: [[shard]]})
    chained = SimpleNamespace(chained_optimizers=[SimpleNamespace(), SimpleNamespace(chained_optimizers=[mixed])])
    for each in (mixed, chained):
        assert OptimizerStates(each).of(parameter) is optimizer.state[shard]
    assert OptimizerStates(mixed).of(torch.nn.Parameter(torch.ones(1))) == {}


def test_megatron_keeps_some_main_parameters_inside_a_fused_optimizer(parameter: torch.nn.Parameter) -> None:
    held = SimpleNamespace(model_float16_groups=[[parameter]], shard_fp32_from_float16_groups=[[None]])
    assert OptimizerStates(held).of(parameter) == {}


def test_deepspeed_updates_a_stretch_of_a_flat_tensor_for_it(parameter: torch.nn.Parameter) -> None:
    first = torch.nn.Parameter(torch.ones(2, 3, dtype=torch.bfloat16))
    flat = torch.cat((torch.ones(6), torch.full((4,), 2.0)))
    optimizer = torch.optim.Adam([flat.requires_grad_()])
    flat.grad = torch.arange(10.0)
    optimizer.step()
    fused = SimpleNamespace(optimizer=optimizer, fp16_groups=[[first, parameter]], fp32_groups_flat=[flat])
    states = OptimizerStates(fused)
    whole = optimizer.state[flat]["exp_avg"]
    assert torch.equal(states.of(first)["exp_avg"], whole[:6].view(2, 3))
    assert torch.equal(states.of(parameter)["exp_avg"], whole[6:])
    assert set(states.of(parameter)) == {"exp_avg", "exp_avg_sq"}
    unstepped = SimpleNamespace(fp16_groups=[[first]], fp32_groups_flat=[flat])
    assert OptimizerStates(unstepped).of(first) == {}


def test_deepspeed_keeps_fragments_at_the_parameter(parameter: Any) -> None:
    parameter._index_in_param_group = 3
    parameter._hp_mapping = SimpleNamespace(
        optim_fragment={"exp_avg": torch.ones(2)}, get_lp_grad_fragment=lambda index: torch.full((2,), float(index))
    )
    assert set(OptimizerStates(SimpleNamespace()).of(parameter)) == {"exp_avg"}
    gradient = gradient_held_elsewhere(parameter)
    assert gradient is not None
    assert gradient.tolist() == [3, 3]


def test_deepspeeds_third_stage_is_asked_for_this_ranks_part(parameter: Any) -> None:
    asked: list[Any] = []

    def part(given: Any, name: str | None = None) -> torch.Tensor:
        asked.append(name)
        return torch.ones(2)

    parameter._z3_optimizer = SimpleNamespace(get_local_fp32_param=part, get_local_fp32_grad_for_param=part)
    assert set(OptimizerStates(SimpleNamespace()).of(parameter)) == {"exp_avg", "exp_avg_sq"}
    assert gradient_held_elsewhere(parameter) is not None
    assert asked == ["exp_avg", "exp_avg_sq", None]


def test_what_is_not_there_yet_is_nothing(parameter: Any) -> None:
    def fails(*_: Any) -> None:
        raise ValueError("Gradients are only available immediately after backward")

    def lacks(*_: Any) -> None:
        raise KeyError("exp_avg")

    assert gradient_held_elsewhere(parameter) is None
    parameter._hp_mapping = SimpleNamespace(optim_fragment=None, get_lp_grad_fragment=fails)
    assert gradient_held_elsewhere(parameter) is None
    assert OptimizerStates(SimpleNamespace()).of(parameter) == {}
    parameter._hp_mapping = None
    parameter._z3_optimizer = SimpleNamespace(get_local_fp32_param=lacks, get_local_fp32_grad_for_param=lacks)
    assert gradient_held_elsewhere(parameter) is None
    assert OptimizerStates(SimpleNamespace()).of(parameter) == {}
