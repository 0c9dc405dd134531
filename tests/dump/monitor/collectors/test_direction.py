"""The share of a gradient's elements that point the way of the first moment."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from dump.monitor.collectors.direction import same_direction


@pytest.mark.parametrize(
    ("gradient", "moment", "share"),
    [
        ([1.0, -2.0], [3.0, -0.1], 1.0),
        ([1.0, -2.0], [-3.0, 0.1], 0.0),
        ([1.0, -2.0, 5.0, -7.0], [1.0, 1.0, 1.0, 1.0], 0.5),
        ([0.0, 1.0], [1.0, 1.0], 0.75),
        ([], [], 1.0),
    ],
)
def test_the_share(gradient: list[float], moment: list[float], share: float) -> None:
    assert float(same_direction(torch.tensor(gradient), torch.tensor(moment))) == share


def test_the_first_step_has_no_moment_and_counts_as_one(watched: Any, model: torch.nn.Linear) -> None:
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    shares: list[float] = []

    def look() -> None:
        state = optimizer.state.get(model.weight)
        assert model.weight.grad is not None
        shares.append(1.0 if not state else float(same_direction(model.weight.grad, state["exp_avg"])))

    shown = watched(optimizer, steps=3, before=look, mg_direction=True).column("other", "weight", "mean")
    assert shown == pytest.approx(shares)
    assert shown[0] == 1.0
