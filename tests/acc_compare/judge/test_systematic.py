from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from acc_compare.judge.noise_prior import CHANNELS, UNKNOWN, NoiseKey, PriorRow
from acc_compare.judge.systematic import Shifts, Systematic, inherited_by, shifts_of


@pytest.mark.parametrize(
    ("change", "channel", "value"),
    [
        (lambda x: x * np.float32(1.01), "norm", math.log(1.01)),
        (lambda x: x + np.float32(0.01), "mean", 0.01),
        (lambda x: np.minimum(x, x.max() * np.float32(0.5)), "max", -0.5),
        (lambda x: np.maximum(x, x.min() * np.float32(0.5)), "min", 0.5),
    ],
)
def test_each_channel_sees_its_fault(make: Any, change: Any, channel: str, value: float) -> None:
    x = make.normal(64, 64)
    assert shifts_of(make.argument("output.0", change(x), x))[channel] == pytest.approx(value, rel=0.05)


def test_equal_tensors_show_nothing(make: Any) -> None:
    x = make.normal(16, 16)
    assert set(shifts_of(make.argument("output.0", x, x)).values()) == {0.0}


def test_noise_moves_channels_by_far_less_than_itself(make: Any) -> None:
    x = make.normal(128, 128)
    shifts = shifts_of(make.argument("output.0", make.off(x, 1e-2), x))
    assert abs(shifts["norm"]) < 1e-3
    assert abs(shifts["mean"]) < 1e-3


def test_a_mask_leaves_the_maximum_alone(make: Any) -> None:
    x = make.normal(32, 32)
    x[:, :4] = -1e9
    assert set(shifts_of(make.argument("output.0", x * np.float32(1.1), x))) == {"max"}


def test_mirrored_sides_have_opposite_shifts(make: Any) -> None:
    x = make.normal(32, 32)
    y = x * np.float32(1.02) + np.float32(0.01)
    one, other = (shifts_of(make.argument("output.0", *sides)) for sides in ((x, y), (y, x)))
    assert {name: -value for name, value in one.items()} == pytest.approx(other)


def test_what_inputs_are_off_by_adds_in_squares(make: Any) -> None:
    x = make.normal(32, 32)
    off = make.argument("input.0", x * np.float32(1.01), x)
    assert inherited_by([off, off])["norm"] == pytest.approx(math.sqrt(2) * math.log(1.01), rel=1e-4)
    assert set(inherited_by([]).values()) == {0.0}


def test_what_a_mask_hides_of_an_input_may_be_in_any_channel(make: Any) -> None:
    x = make.normal(32, 32)
    x[:, :4] = -1e9
    masked = make.argument("input.0", make.off(x, 1e-3), x)
    assert "norm" not in shifts_of(masked)
    assert inherited_by([masked])["norm"] == pytest.approx(masked.relative)


@dataclass
class Vector:
    """A result of a hundred elements whose norm is `grown` times as large on one side."""

    error: float
    own: Shifts
    key: NoiseKey = field(default_factory=lambda: NoiseKey("linear", True, True))
    row: PriorRow = UNKNOWN
    count: int = 100
    fresh: float = 1e-3
    peak: float = 0.3
    at_an_end: float = 0.0
    lean: float = 0.0
    one_way: float = 0.0
    inherited: Shifts = field(default_factory=lambda: dict.fromkeys(CHANNELS, 0.0))


@pytest.mark.parametrize("grown", [1.2, 3.0, 10.0])
@pytest.mark.parametrize("is_noise", [True, False])
def test_noise_as_large_as_measured_explains_a_norm_and_a_factor_does_not(grown: float, is_noise: bool) -> None:
    apart = math.sqrt(grown**2 - 1) if is_noise else grown - 1  # independent of the smaller side, or along it
    found = Systematic([]).largest(Vector(apart / grown, {"norm": math.log(grown)}), 0.01)
    assert found is not None
    assert (found.deviations == 0.0) == is_noise
