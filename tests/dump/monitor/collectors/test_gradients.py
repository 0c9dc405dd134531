"""Gradients as backward left them, and as the optimizer reads them."""

from __future__ import annotations

from typing import Any

import pytest
import torch


def test_what_is_done_between_stands_in_one_of_them_alone(watched: Any, model: torch.nn.Linear) -> None:
    """Clipping comes after backward and before the optimizer."""
    norms: list[float] = []

    def clip() -> None:
        norms.append(float(torch.nn.utils.clip_grad_norm_([model.weight], 0.5)))

    optimizer = torch.optim.SGD(model.parameters(), 1e-2)
    found = watched(optimizer, before=clip, wg_distribution=True)
    (reduced,), (unreduced,) = found.column("grad_reduced", "weight"), found.column("grad_unreduced", "weight")
    assert unreduced == pytest.approx(norms[0], rel=1e-5)
    assert reduced == pytest.approx(0.5, rel=1e-4)


def test_a_frozen_parameter_has_none(watched: Any, model: torch.nn.Linear) -> None:
    model.bias.requires_grad_(False)
    found = watched(torch.optim.SGD([model.weight], 1e-2), wg_distribution=True)
    assert {row["name"] for kind in ("grad_reduced", "grad_unreduced") for row in found.rows(kind)} == {"weight"}
