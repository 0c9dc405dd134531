"""The weights that an optimizer reads, and those that it leaves."""

from __future__ import annotations

from typing import Any

import pytest
import torch


def test_before_and_after_the_update(watched: Any, model: torch.nn.Linear) -> None:
    before = float(model.weight.detach().double().norm())
    optimizer = torch.optim.SGD(model.parameters(), 1e-2)
    found = watched(optimizer, param_distribution=True)
    (origin,), (updated,) = found.column("param_origin", "weight"), found.column("param_updated", "weight")
    assert origin == pytest.approx(before, rel=1e-6)
    assert updated == pytest.approx(float(model.weight.detach().double().norm()), rel=1e-6)
    assert origin != updated


def test_an_empty_parameter_is_left_out(watched: Any, model: torch.nn.Linear) -> None:
    model.register_parameter("nothing", torch.nn.Parameter(torch.empty(0)))
    found = watched(torch.optim.SGD(model.parameters(), 1e-2), param_distribution=True)
    assert {row["name"] for row in found.rows("param_origin")} == {"weight", "bias"}
