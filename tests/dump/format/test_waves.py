"""Waves are what their formula says, and those of a whole follow from those of its parts along any dimension."""

from __future__ import annotations

import numpy as np
import pytest

from dump.format import waves

RNG = np.random.default_rng(0)


def _by_formula(array: np.ndarray) -> np.ndarray:
    found = []
    for sign in (1, -1):
        turns = np.zeros(array.shape)
        for dimension, extent in enumerate(array.shape):
            share = waves.FREQUENCIES[dimension % 8] / 2**32 * (sign if dimension == array.ndim - 1 else 1)
            turns = turns + share * np.arange(extent).reshape([-1] + [1] * (array.ndim - 1 - dimension))
        found.append((array * np.exp(2j * np.pi * turns)).sum())
    return np.array(found)


@pytest.mark.parametrize("shape", [(1,), (70,), (4, 8), (3, 5, 7), (2, 300), (2,) * 10])
def test_waves_are_what_the_formula_says(shape: tuple[int, ...]) -> None:
    array = RNG.normal(size=shape)
    assert waves.of(array.reshape(-1), shape) == pytest.approx(_by_formula(array), abs=1e-10)


@pytest.mark.parametrize("dimension", [0, 1, 2])
def test_those_of_a_whole_follow_from_those_of_its_parts(dimension: int) -> None:
    array = RNG.normal(size=(4, 6, 5))
    parts, total, begin = np.split(array, [1, 3], dimension), np.zeros(2, complex), 0
    for part in parts:
        total += waves.shifted(waves.of(part.reshape(-1), part.shape), dimension, begin, dimensions=3)
        begin += part.shape[dimension]
    assert total == pytest.approx(waves.of(array.reshape(-1), array.shape), abs=1e-10)


def test_an_index_as_far_as_any_has_its_phase_to_the_last_digit() -> None:
    far = np.array([2**40 + 3])
    turns = (2**40 + 3) * waves.FREQUENCIES[1] % 2**32 / 2**32
    assert waves.phases(1, far)[0] == pytest.approx(np.exp(2j * np.pi * turns), abs=1e-15)


def test_their_length_is_that_of_what_differs_in_the_mean() -> None:
    lengths = [abs(waves.of(RNG.normal(size=512), (8, 64))) ** 2 / 512 for _ in range(400)]
    assert np.mean(lengths) == pytest.approx(1, rel=0.1)


def test_four_numbers_are_written_and_read() -> None:
    found = np.array([1.5 - 2j, 0.25 + 8j])
    assert waves.from_bytes(waves.to_bytes(found)) == pytest.approx(found, abs=0)
    assert len(waves.to_bytes(found)) == 16
