"""Train a small model under TrainerMon."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import pytest
import torch

Watched: TypeAlias = "Callable[..., Any]"


@pytest.fixture
def model() -> torch.nn.Linear:
    torch.manual_seed(0)
    return torch.nn.Linear(3, 2)


@pytest.fixture
def watched(monitor: Any, output: Any, model: torch.nn.Linear) -> Watched:
    """`watched(optimizer, steps=2, before=look, param_distribution=True)`: what was written; `before` is called when
    each optimizer step is about to be made."""

    def run(
        optimizer: torch.optim.Optimizer, *, steps: int = 1, before: Callable[[], object] = lambda: None, **config: Any
    ) -> Any:
        monitoring = monitor(model, optimizer, **{"targets": {"": {}}, "ops": ["norm", "mean"], **config})
        for number in range(steps):
            optimizer.zero_grad()
            (model(torch.ones(4, 3)) * (number + 1)).square().sum().backward()
            before()
            optimizer.step()
        monitoring.close()
        return output

    return run
