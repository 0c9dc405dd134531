"""How far apart two healthy runs would be: measured on the runs themselves, above a floor for the first steps.

Two runs that differ in rounding alone part slowly: rounding noise is there from the first step, training amplifies it a
little a step, in all parameters alike.  So what a cell may show is what its own series and its kin showed before, times
what one step may amplify; and what rounding itself explains where nothing was seen before.  HEALTHY.md in
benchmarks/monitor_compare has the pairs that the constants rest on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from acc_compare.monitor.distances import Distances, Mask
from acc_compare.monitor.rows import Numbers
from acc_compare.monitor.tables import Pair

ROUNDOFF = {
    "float64": 2.0**-53,
    "float32": 2.0**-24,
    "bfloat16": 2.0**-8,
    "float16": 2.0**-11,
    "float8_e4m3fn": 2.0**-4,
    "float8_e5m2": 2.0**-3,
}
"""Unit roundoff (IEEE 754-2019; bfloat16: 8 bits of significand; OCP 8-bit floating point specification, 2023)."""

STEP_GROWTH = 32.0
"""How much louder noise may get from one step to the next."""

FIRST_STEP = 64.0
"""Roundoffs that a gradient may be off by in the first step: a backward pass through some hundred operators."""

LATER_STEPS = 2048.0
"""Roundoffs later: an optimizer that divides by the gradient's own size makes noise of small gradients louder."""

NULL = 0.02
"""Where rounding of its kin's sums explains so much of a gradient, it is zero but for rounding."""

KINKS = 4.0
"""Times the root of the noise that a gradient may jump by where relu flips."""

TOGETHER = 256.0
"""Roundoffs above which four of five gradients jump together in no healthy pair."""

FORWARD_NOISE = 16.0
"""Roundoffs that activations are off by at least."""

ANYTHING = 4.0
"""More than any two tensors can be apart."""

TRAVEL = 2.0**-7
"""Of the way that a one-dimensional parameter has come, what healthy pairs may differ by."""

MEASURED_GROWTH = 4.0
"""How much further apart than two bench runs a healthy pair may be."""

GRADIENTS = frozenset({"grad_unreduced", "grad_reduced"})
BACKWARD = GRADIENTS | {"actv_grad"}
DRIVEN = frozenset({"param_origin", "param_updated", "exp_avg", "exp_avg_sq", "adam_update", "adam_ratio", "other"})
"""Tables of what an optimizer makes of gradients."""

AFTER_UPDATE = DRIVEN - {"param_origin"}

_RECENT = 8


@dataclass(frozen=True, slots=True)
class Expected:
    """`limit` (s, t): what a healthy pair stays below.  `floor` (s, t): the part of it that needs no history.
    `level` (s, t): the largest distance so far.  `kin` (t,): the level that nine of ten of the telling series stay
    below.  `null` (s, t): gradients that are zero but for rounding, and what an optimizer made of them."""

    limit: Numbers
    floor: Numbers
    level: Numbers
    kin: Numbers
    null: Mask


@dataclass(frozen=True, slots=True)
class GradientsSeen:
    """What is known of gradients when parameters are judged: names seen, and the first step at which one was null."""

    names: frozenset[str] = frozenset()
    null_since: Mapping[str, int] = field(default_factory=dict)


NO_GRADIENTS = GradientsSeen()


def expect(
    pair: Pair,
    distances: Distances,
    *,
    gradients: GradientsSeen = NO_GRADIENTS,
    measured: Numbers | None = None,
) -> Expected:
    """What a healthy pair would show in each cell.

    The limit is the largest of
    - the floor: FIRST_STEP roundoffs of the coarser dtype in the first step, LATER_STEPS afterwards, times how much
      larger the series was of late (a gradient that happens to be small now is as uncertain as before); for gradients,
      roundoff of the largest gradient of the step relative to this one (sums that cancel); for one-dimensional
      parameters a share of the way they have come (`_travelled`);
    - STEP_GROWTH times the level of this series, and of its kin, one step before;
    - in a backward pass, KINKS times the root of the kin's level: where noise moves an element over the kink of a relu,
      its gradient jumps; the share of such elements is that of the noise, and random signs add up as their root.  What
      lies between a kink and the loss stays calm, since the forward pass has no jump there; so where four of five
      series jump together none of this is allowed, and TOGETHER roundoffs are the floor;
    - MEASURED_GROWTH times `measured` (s, t), the level between two bench runs, where there is one.
    """
    apart = np.nan_to_num(distances.apart, nan=0.0)
    level = np.maximum.accumulate(apart, axis=1)
    floor = _floor(pair, distances, gradients)
    null = floor >= ANYTHING
    telling: Mask = np.asarray(~null.any(axis=1))
    kin = np.quantile(level[telling], 0.9, axis=0) if telling.any() else np.zeros(level.shape[1])
    before = np.zeros(apart.shape)
    before[:, 1:] = np.maximum(level[:, :-1], kin[None, :-1])
    limit = np.maximum(floor, STEP_GROWTH * before)
    if pair.kind in BACKWARD and telling.any():
        earlier = np.concatenate([[0.0], kin[:-1]])
        unit = float(_roundoffs(pair).max())
        together = np.quantile(apart[telling], 0.2, axis=0) > np.maximum(TOGETHER * unit, STEP_GROWTH * earlier)
        explained = np.where(together, 0.0, KINKS * np.sqrt(np.maximum(earlier, FORWARD_NOISE * unit)))
        explained[:1] = 0.0
        limit = np.maximum(limit, explained)
        lower = np.maximum(np.minimum(floor, TOGETHER * unit), STEP_GROWTH * before)
        limit = np.where(together & telling[:, None], lower, limit)
    if measured is not None:
        limit = np.maximum(limit, MEASURED_GROWTH * measured)
    return Expected(limit, floor, level, kin, null)


def _floor(pair: Pair, distances: Distances, gradients: GradientsSeen) -> Numbers:
    unit = _roundoffs(pair)[:, None]
    roundoffs = np.full(distances.apart.shape[1], LATER_STEPS)
    if pair.kind not in AFTER_UPDATE:
        roundoffs[:1] = FIRST_STEP
    size = np.nan_to_num(np.abs(distances.size), nan=0.0, posinf=0.0)
    with np.errstate(all="ignore"):
        shrunk = np.nan_to_num(_recent(size) / size, nan=1.0, posinf=1e9)
        floor: Numbers = unit * roundoffs * shrunk
        if pair.kind in GRADIENTS and len(size):
            cancelled = np.nan_to_num(unit * FIRST_STEP * size.max(axis=0) / size, nan=0.0, posinf=1e9)
            floor = np.maximum(floor, np.where(cancelled >= NULL, ANYTHING, cancelled))
        elif pair.kind in DRIVEN:
            floor = np.maximum(floor, _travelled(pair, size, gradients))
    return floor


def _travelled(pair: Pair, size: Numbers, gradients: GradientsSeen) -> Numbers:
    """What an optimizer makes of gradients that are zero but for rounding, as part of the parameter's size.

    Dividing by its own size turns such a gradient into full steps in random directions.  A part of many
    one-dimensional parameters has such gradients (the key's part of an attention bias; a bias before a batch norm), so
    they may be off by TRAVEL of the way they have come, all of it where no gradients were watched, and anything once
    their gradient was null as a whole.
    """
    start = size[:, :1]
    way = np.nan_to_num(np.abs(size - start) / size, nan=0.0, posinf=ANYTHING)
    if pair.kind != "param_origin":  # where it started from was not seen
        way = np.ones(size.shape)
    share = np.array(
        [
            0.0 if pair.bench.tensors.sides.get(name, 2) > 1 else TRAVEL if name in gradients.names else ANYTHING
            for _, name, _ in pair.keys
        ]
    )
    floor: Numbers = np.maximum.accumulate(way, axis=1) * share[:, None]
    for row, (_, name, _) in enumerate(pair.keys):
        if name in gradients.null_since:
            floor[row, pair.steps >= gradients.null_since[name]] = ANYTHING
    return floor


def gradients_seen(pair: Pair, expected: Expected, before: GradientsSeen) -> GradientsSeen:
    """`before` with what a table of gradients adds."""
    null = dict(before.null_since)
    for row in np.flatnonzero(expected.null.any(axis=1)):
        name = pair.keys[row][1]
        step = int(pair.steps[int(expected.null[row].argmax())])
        null[name] = min(step, null.get(name, step))
    return GradientsSeen(before.names | {name for _, name, _ in pair.keys}, null)


def _roundoffs(pair: Pair) -> Numbers:
    """The coarser side's unit roundoff by series; float32's where a file does not say."""
    sides = [
        [ROUNDOFF.get(side.tensors.dtypes.get(name, ""), ROUNDOFF["float32"]) for _, name, _ in pair.keys]
        for side in (pair.npu, pair.bench)
    ]
    units: Numbers = np.maximum(np.array(sides[0], np.float64), np.array(sides[1], np.float64))
    return units


def _recent(size: Numbers) -> Numbers:
    """The largest size over this and the seven steps before."""
    largest: Numbers = size.copy()
    shift = 1
    while shift < _RECENT:
        largest[:, shift:] = np.maximum(largest[:, shift:], largest[:, :-shift])
        shift *= 2
    return largest
