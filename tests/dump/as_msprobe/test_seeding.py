"""`seed_all` sets what msprobe's sets."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from dump.as_msprobe.seeding import seed_all
from dump.format.errors import ConfigError


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)
    torch.use_deterministic_algorithms(False)


def _draw() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), float(torch.rand(1))


def test_the_generators_are_seeded() -> None:
    seed_all(7)
    first = _draw()
    seed_all(7)
    assert _draw() == first
    assert os.environ["PYTHONHASHSEED"] == "7"


def test_with_mode_an_operator_without_a_deterministic_kernel_raises() -> None:
    seed_all(mode=True)
    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.is_deterministic_algorithms_warn_only_enabled()
    seed_all()
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize(
    "arguments",
    [
        {"seed": -1},
        {"seed": 1 << 32},
        {"seed": 1.5},
        {"seed": True},
        {"mode": 1},
        {"rm_dropout": "no"},
        {"is_enhanced": True},
    ],
    ids=str,
)
def test_what_is_wrong_is_said_by_name(arguments: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="seed"):
        seed_all(**arguments)  # type: ignore[arg-type]
