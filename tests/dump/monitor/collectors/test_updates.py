"""Adam's update and ratio from its moments, beside the formulas of its authors."""

from __future__ import annotations

from typing import Any

import pytest
import torch


def test_update_and_ratio(watched: Any, model: torch.nn.Linear) -> None:
    optimizer = torch.optim.Adam(model.parameters(), 1e-2, betas=(0.8, 0.9), eps=1e-2)
    expected: list[tuple[float, float]] = []

    def look() -> None:
        if state := optimizer.state.get(model.weight):
            step = float(state["step"])
            mean = state["exp_avg"] / (1 - 0.8**step)
            spread = (state["exp_avg_sq"] / (1 - 0.9**step)).sqrt()
            expected.append((float((mean / (spread + 1e-2)).norm()), float((mean / spread).norm())))

    found = watched(optimizer, steps=3, before=look, ur_distribution=True)
    assert found.column("adam_update", "weight") == pytest.approx([update for update, _ in expected], rel=1e-5)
    assert found.column("adam_ratio", "weight") == pytest.approx([ratio for _, ratio in expected], rel=1e-5)
    assert len(expected) == 2


def test_without_moments_there_is_no_update(watched: Any, model: torch.nn.Linear) -> None:
    optimizer = torch.optim.SGD(model.parameters(), 1e-2, momentum=0.9)
    assert watched(optimizer, steps=2, ur_distribution=True).rows("adam_update") == []
