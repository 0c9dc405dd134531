"""What an optimizer keeps for a parameter, found through wrappers, as the step before left it."""

from __future__ import annotations

from typing import Any

import pytest
import torch


def _stepped(model: torch.nn.Linear) -> torch.optim.Optimizer:
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    model(torch.ones(4, 3)).sum().backward()
    optimizer.step()
    return optimizer


def test_moments_are_those_of_the_step_before(watched: Any, model: torch.nn.Linear) -> None:
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    seen: list[float] = []

    def look() -> None:
        if state := optimizer.state.get(model.weight):
            seen.append(float(state["exp_avg"].double().norm()))

    shown = watched(optimizer, steps=3, before=look, mv_distribution=True).column("exp_avg", "weight")
    assert shown == pytest.approx(seen, rel=1e-6)
    assert len(shown) == 2  # the first step has none yet


def test_an_optimizer_without_moments_shows_none(watched: Any, model: torch.nn.Linear) -> None:
    found = watched(torch.optim.SGD(model.parameters(), 1e-2), steps=2, mv_distribution=True)
    assert found.rows("exp_avg") == []
