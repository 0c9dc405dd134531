"""What a healthy pair may show is learned from the pair: each rule with a series that it lets pass, and one not."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from acc_compare.monitor.distances import measure
from acc_compare.monitor.noise import NO_GRADIENTS, GradientsSeen, expect, gradients_seen
from acc_compare.monitor.rows import Tensors
from acc_compare.monitor.tables import Pair, Table
from acc_compare.monitor.travel import narrowed, travelled

Array = npt.NDArray[np.float64]
STEPS, SERIES = 40, 10
NAMES = tuple(f"layers.{number}.weight" for number in range(SERIES))


def pair(kind: str, npu: dict[str, Array], bench: dict[str, Array], *, sides: int = 2, dtype: str = "float32") -> Pair:
    """Two tables of tensors of 4,096 elements."""
    count = len(next(iter(bench.values())))
    keys = tuple((0, name, 0) for name in NAMES[:count])
    tensors = Tensors(dict.fromkeys(NAMES, dtype), dict.fromkeys(NAMES, 4096), dict.fromkeys(NAMES, sides))
    steps = np.arange(STEPS)
    tables = [Table(kind, keys, steps, values, np.ones((count, STEPS), np.bool_), tensors) for values in (npu, bench)]
    return Pair(kind, *tables, (), ())


def norms(noise: float, *, seed: int = 0, growth: float = 1.0) -> dict[str, Array]:
    """Norms that wander, off by `noise`."""
    base = np.exp(np.random.default_rng(1).normal(0, 0.2, (SERIES, STEPS)))
    error = np.random.default_rng(seed).standard_normal(base.shape) * noise * growth ** np.arange(STEPS)
    return {"norm": base * (1 + error)}


def accused(given: Pair, gradients: GradientsSeen = NO_GRADIENTS) -> list[tuple[int, int]]:
    """The (row, step) of what is beyond noise, in the first step where anything is."""
    expected = expect(given, measure(given), gradients=gradients)
    cells = (expected.apart > expected.limit) | expected.standing
    steps = np.flatnonzero(cells.any(axis=0))
    return [(int(row), int(steps[0])) for row in np.flatnonzero(cells[:, steps[0]])] if len(steps) else []


@pytest.mark.parametrize(
    ("dtype", "noise", "size", "found"),
    [
        ("float32", 1e-6, 0.0, False),
        ("float32", 1e-6, 1e-2, True),
        ("bfloat16", 1e-3, 0.0, False),
        ("bfloat16", 1e-3, 1.5e-2, True),  # within what one step may show, and there to stay
        ("bfloat16", 1e-3, 2e-3, False),
    ],
)
def test_a_gradient_is_held_against_its_own_past(dtype: str, noise: float, size: float, found: bool) -> None:
    npu, bench = norms(noise), norms(0.0)
    npu["norm"][3, 20:] *= 1 + size
    assert accused(pair("grad_reduced", npu, bench, dtype=dtype)) == ([(3, 20)] if found else [])


@pytest.mark.parametrize(("size", "found"), [(1e-2, True), (1e-4, False)])
def test_a_norm_is_not_held_against_what_extremes_show(size: float, found: bool) -> None:
    npu, bench = norms(1e-4), norms(0.0)
    for side, seed in ((npu, 5), (bench, 6)):
        side["max"] = 0.1 * norms(1e-2, seed=seed)["norm"]
    npu["norm"][3, 20:] *= 1 + size
    assert accused(pair("grad_reduced", npu, bench, dtype="bfloat16")) == ([(3, 20)] if found else [])


def _adamw(off: float, *, seed: int = 0) -> dict[str, Array]:
    """Parameters that go the same way on both sides, a ten-millionth apart; the fourth is `off` from step 20 on."""
    way = 1.0 + 1e-3 * np.arange(1, STEPS + 1)
    noise = 1 + 1e-7 * np.random.default_rng(seed).standard_normal((SERIES, STEPS))
    values = np.tile(way, (SERIES, 1)) * noise
    values[3, 20:] *= 1 + off
    return {"norm": values}


@pytest.mark.parametrize("sides", [1, 2])
@pytest.mark.parametrize("kind", ["param_origin", "param_updated"])
def test_parameters_without_gradients_are_held_against_the_way_they_came(kind: str, sides: int) -> None:
    assert accused(pair(kind, _adamw(0.0, seed=1), _adamw(0.0), sides=sides)) == []
    assert accused(pair(kind, _adamw(0.05, seed=1), _adamw(0.0), sides=sides)) == [(3, 20)]


def test_a_bias_whose_gradient_is_rounding_walks_at_random() -> None:
    """Full steps of Adam in random directions, on each side its own: from the first step on, and without an end."""
    sides = []
    for seed in (1, 2):
        values = _adamw(0.0, seed=seed)
        signs = np.sign(np.random.default_rng(seed).standard_normal(STEPS))
        values["norm"][3] = 0.1 + 1e-3 * np.cumsum(signs)
        sides.append(values)
    assert accused(pair("param_updated", *sides, sides=1)) == []
    assert accused(pair("param_updated", *sides, sides=2)) != []  # in a matrix no healthy run does that


def _rounded(values: Array, bits: int) -> Array:
    """float32 with the last `bits` of its significand cut off."""
    words = values.astype(np.float32).view(np.uint32) & ~np.uint32((1 << bits) - 1)
    return words.view(np.float32).astype(np.float64)


def _extremes(noise: float, *, bits: int, seed: int) -> dict[str, Array]:
    base = norms(0.0)["norm"]
    draw = np.random.default_rng(seed)
    high, low = (base * 0.1 * (1 + noise * draw.standard_normal(base.shape)) for _ in range(2))
    return {"norm": base * (1 + 0.1 * noise * draw.standard_normal(base.shape)),
            "min": _rounded(-low, bits), "max": _rounded(high, bits)}  # fmt: skip


@pytest.mark.parametrize(("bits", "unit"), [(16, 2.0**-8), (13, 2.0**-11), (0, 0.0)])
def test_gradients_show_what_they_were_computed_in(bits: int, unit: float) -> None:
    given = pair("grad_reduced", *(_extremes(unit, bits=bits, seed=seed) for seed in (1, 2)))
    assert narrowed(given) == unit
    assert accused(given) == []
    seen = gradients_seen(given, expect(given, measure(given)), GradientsSeen())
    assert (seen.narrow, seen.names) == (unit, frozenset(NAMES))


def test_one_side_in_a_narrow_type_is_no_noise() -> None:
    given = pair("grad_reduced", _extremes(2.0**-8, bits=16, seed=1), _extremes(2.0**-8, bits=0, seed=2))
    assert narrowed(given) == 0.0
    assert {step for _, step in accused(given)} == {0}


def test_the_way_of_a_parameter_is_what_it_moved_from_step_to_step() -> None:
    there_and_back = np.where(np.arange(STEPS) % 2, 1.001, 1.0)[None, :]
    given = pair("param_origin", {"norm": there_and_back}, {"norm": there_and_back})
    way = travelled(given)[0]
    assert way[0] == 0
    assert way[-1] == pytest.approx(1e-3 * (STEPS - 1), rel=0.01)
    later = travelled(pair("param_updated", {"norm": there_and_back}, {"norm": there_and_back}))[0]
    assert later[0] == pytest.approx(2e-3, rel=0.01)


@pytest.mark.parametrize(("frozen", "found"), [("one", True), ("both", False), ("for two steps", False)])
def test_a_parameter_that_stands_still_on_one_side_alone_is_told_at_once(frozen: str, found: bool) -> None:
    """Whatever the noise: here a tenth of each step."""
    sides = []
    for seed in (1, 2):
        steps = 1e-4 * (1 + 0.1 * np.random.default_rng(seed).standard_normal((SERIES, STEPS)))
        if frozen == "both" or seed == 1:
            steps[3, 20 : 22 if frozen == "for two steps" else STEPS] = 0
        sides.append({"norm": 1 + np.cumsum(steps, axis=1)})
    assert accused(pair("param_updated", *sides)) == ([(3, 20)] if found else [])
