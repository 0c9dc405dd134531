from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from acc_compare.replay import accuracy
from acc_compare.replay.accuracy import distance, equal, in_last_place


def test_a_relative_error_and_the_largest_of_an_element() -> None:
    exact = np.random.default_rng(1).standard_normal(1000)
    found = exact.copy()
    found[7] += 1e-3
    off = distance(torch.from_numpy(found).float(), torch.from_numpy(exact))
    rounded = found.astype(np.float32).astype(np.float64)
    assert off.relative == pytest.approx(np.linalg.norm(rounded - exact) / np.linalg.norm(exact))
    magnitude = max(abs(exact[7]), math.sqrt(np.mean(exact**2)))
    assert off.largest == pytest.approx(1e-3 / magnitude, rel=1e-3)
    assert in_last_place(off.largest, "torch.float32") == pytest.approx(off.largest * 2**23)


@pytest.mark.parametrize("scale", [1e-300, 1e300])
def test_squares_do_not_overflow(scale: float) -> None:
    exact = torch.tensor([1.0, 2.0], dtype=torch.float64) * scale
    assert distance(exact * 1.5, exact).relative == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("found", "exact", "nonfinite"),
    [
        ([1.0, math.inf], [1.0, 1e39], False),  # float32 has no such number
        ([1.0, math.nan], [1.0, math.nan], False),
        ([1.0, math.inf], [1.0, 2.0], True),
        ([1.0, 2.0], [1.0, math.inf], True),
        ([math.inf], [-math.inf], True),
    ],
)
def test_what_is_not_finite_is_held_against_the_rounded_reference(
    found: list[float], exact: list[float], nonfinite: bool
) -> None:
    off = distance(torch.tensor(found), torch.tensor(exact, dtype=torch.float64))
    assert (off.nonfinite, off.relative) == (nonfinite, 0.0)


def test_integers_and_zeros_and_nothing() -> None:
    assert distance(torch.tensor([1, 2, 3, 4]), torch.tensor([1, 2, 0, 4])).relative == 0.25
    assert distance(torch.zeros(2), torch.zeros(2, dtype=torch.float64)).relative == 0
    assert distance(torch.ones(2), torch.zeros(2, dtype=torch.float64)).relative == math.inf
    assert distance(torch.empty(0), torch.empty(0, dtype=torch.float64)).relative == 0
    assert in_last_place(1.0, "torch.int64") is None


@pytest.mark.parametrize("block", [2, 1 << 16])
@pytest.mark.parametrize(
    ("dtype", "least"), [(torch.float32, 2.0**-126), (torch.bfloat16, 2.0**-126), (torch.float16, 2.0**-24)]
)
def test_what_a_device_may_take_for_0_is_none(
    dtype: torch.dtype, least: float, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accuracy, "_BLOCK", block)
    exact = torch.tensor([0.0, 0.75 * least, -0.5 * least, least], dtype=torch.float64)
    assert distance(torch.zeros(4, dtype=dtype), exact).largest == 0.0
    assert distance(torch.zeros(4, dtype=dtype), 2 * exact).relative == 1.0
    assert distance(torch.full((4,), 2 * least, dtype=dtype), 0 * exact).largest == math.inf


def test_equal_to_the_bit() -> None:
    nan = torch.tensor([math.nan, 1.0])
    assert equal(nan, nan.clone())
    assert not equal(nan, torch.tensor([math.nan, 1.0000001]))
    assert not equal(torch.ones(2), torch.ones(2).double())
    assert equal(torch.tensor([1j]), torch.tensor([1j]))
    assert not equal(torch.tensor([1]), torch.tensor([2]))


@pytest.mark.parametrize("scale", [1.0, 1e-30])
def test_blocks_are_no_other_than_the_whole(scale: float, monkeypatch: pytest.MonkeyPatch) -> None:
    exact = torch.from_numpy(np.random.default_rng(2).standard_normal(5000)) * scale
    found = (exact * (1 + 1e-4 * torch.arange(5000, dtype=torch.float64).sin())).float()
    whole = distance(found, exact)
    monkeypatch.setattr(accuracy, "_BLOCK", 64)
    blocks = distance(found, exact)
    assert (blocks.relative, blocks.largest) == pytest.approx((whole.relative, whole.largest), rel=1e-12)
    found[77] = math.inf
    assert distance(found, exact).nonfinite
    assert distance(torch.zeros(5000), torch.zeros(5000, dtype=torch.float64)).largest == 0.0
