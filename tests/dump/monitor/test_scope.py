"""Which parameters and modules a configuration names."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from dump.monitor.config import read_config
from dump.monitor.scope import Scope, is_watched, scope_of, squashed


def _model() -> nn.Module:
    layers = nn.ModuleList([nn.Linear(2, 2, bias=False) for _ in range(11)])
    return nn.ModuleDict({"layers": layers, "head": nn.Sequential(nn.Linear(2, 1))})


def _scope(**content: Any) -> Scope:
    return scope_of([_model()], read_config(content))


@pytest.mark.parametrize(
    ("targets", "parameters", "modules"),
    [
        (["layers.1"], ["layers.1.weight"], ["layers.1"]),  # and not layers.10
        (["layers.1.weight"], ["layers.1.weight"], []),
        (["0:head"], ["head.0.weight", "head.0.bias"], ["head"]),
        (["head.0", "layers.2"], ["layers.2.weight", "head.0.weight", "head.0.bias"], ["layers.2", "head.0"]),
    ],
)
def test_targets(targets: list[str], parameters: list[str], modules: list[str]) -> None:
    scope = _scope(targets={target: {} for target in targets})
    assert [watched.name for watched in scope.parameters] == parameters
    assert [watched.name for watched in scope.modules] == modules
    assert scope.unmatched == ()


def test_the_beginning_of_names_counts_where_nothing_is_named_so() -> None:
    assert len(_scope(targets={"layer": {}}).parameters) == 11


def test_a_target_that_names_nothing_is_reported() -> None:
    scope = _scope(targets={"lm_head": {}})
    assert scope.unmatched == ("lm_head",)
    assert scope.parameters == ()


def test_without_targets_everything_is_watched() -> None:
    scope = _scope()
    assert len(scope.parameters) == 13
    assert {"", "layers.10", "head", "head.0"} <= {watched.name for watched in scope.modules}


def test_what_is_not_trained_is_not_watched() -> None:
    model = nn.Linear(2, 2).requires_grad_(False)
    assert scope_of([model], read_config({})).parameters == ()


def test_chunks_of_a_model_have_stages() -> None:
    scope = scope_of([nn.Linear(2, 2), nn.Linear(2, 2)], read_config({}))
    assert [(watched.vpp_stage, watched.name) for watched in scope.parameters] == [
        (0, "weight"),
        (0, "bias"),
        (1, "weight"),
        (1, "bias"),
    ]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("module.language_model.encoder.layers.0.mlp.weight", "layers.0.mlp.weight"),
        ("layers.0.mlp.weight", "layers.0.mlp.weight"),  # nothing stands before it
        ("model.embeddings.word.weight", "embeddings.word.weight"),
        ("model.final_layernorm.weight", "final_layernorm.weight"),
        ("model.output_layer.weight", "output_layer.weight"),
        ("model.norm.weight", "norm.weight"),
        ("model.fc.weight", "model.fc.weight"),
    ],
)
def test_squashing(name: str, expected: str) -> None:
    assert squashed(name) == expected


def test_a_function_mode_does_not_see_which_parameters_are_watched() -> None:
    class Sees(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            seen.append(func)
            return func(*args, **(kwargs or {}))

    seen: list[Any] = []
    parameter = nn.Parameter(torch.ones(2))
    with Sees():
        assert is_watched(parameter)
    assert seen == []
