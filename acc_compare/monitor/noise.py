"""How far apart two healthy runs would be: learned from the runs themselves, above a floor for what was never seen.

Two runs that differ in rounding alone part slowly: rounding noise is there from the first step, training amplifies it a
little a step, in all parameters alike.  So what a cell may show is what its own series and its kin showed before, times
what one step may amplify; and what rounding itself explains where nothing was seen before.  The norm, the mean and the
extremes of a tensor have noise of their own: in a norm of n elements that of each averages out, in an extreme it does
not, so each is judged by its own past.  benchmarks/monitor_compare has the pairs that the constants rest on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from acc_compare.monitor.distances import Distances, Mask, counts_of
from acc_compare.monitor.rows import Numbers
from acc_compare.monitor.tables import Pair
from acc_compare.monitor.travel import ROUNDOFF, for_steps, narrowed, roundoffs, sides_of, stands_still, travelled

FIRST_GROWTH, LEAST_GROWTH = 32.0, 8.0
"""How much louder noise may get from one step to the next: after the first step, and once many were seen."""

FIRST_STEP = 64.0
"""Roundoffs that a gradient may be off by in the first step: a backward pass through some hundred operators."""

STORED = 4.0
"""Roundoffs of the type that a number is stored in that it may be off by whatever was seen."""

LEARNT = 4
"""Steps after which what was seen says more than what is expected of any run."""

NULL = 0.02
"""Where rounding of its kin's sums explains so much of a gradient, it is zero but for rounding."""

NULL_NARROW = 0.5
"""The same where the arithmetic itself rounds as coarsely as that."""

KINKS, KINKS_OF_EXTREMES = 4.0, 16.0
"""Times the root of the noise that a gradient may jump by where relu flips: one element jumps further than a norm."""

RARE = 1e-4
"""Noise below which such flips are rare enough not to have been seen before; louder noise shows them in each step."""

TOGETHER = 256.0
"""Roundoffs above which four of five gradients jump together in no healthy pair."""

FORWARD_NOISE = 16.0
"""Roundoffs that activations are off by at least."""

ANYTHING = 4.0
"""More than any two tensors can be apart."""

OPPOSITE = 2.0
"""Of the way that two parameters have come, the most that they can be apart."""

UPDATES = 4.0
"""Times the root mean square that what is made of random signs may come to."""

LASTING, LASTS = 3.0, 5
"""A series that stays so many times above all it showed before, for so many steps, has changed its level."""

STANDS_OUT, STANDING = 32.0, 3
"""A series that stays so many times above nine of ten of its kin, for so many steps, is none of them."""

AVERAGED = 64
"""Independent elements of a tensor, at most: the noise of neighbours is alike."""

MEASURED_GROWTH = 4.0
"""How much further apart than two bench runs a healthy pair may be."""

GRADIENTS = frozenset({"grad_unreduced", "grad_reduced"})
BACKWARD = GRADIENTS | {"actv_grad"}
DRIVEN = frozenset({"param_origin", "param_updated", "exp_avg", "exp_avg_sq", "adam_update", "adam_ratio", "other"})
"""Tables of what an optimizer makes of gradients."""

PARAMETERS = frozenset({"param_origin", "param_updated"})

_RECENT = 8


@dataclass(frozen=True, slots=True)
class Expected:
    """`apart`, `limit` (s, t): the distance in the channel that is nearest to its limit or furthest beyond it, and what
    a healthy pair stays below there; `standing` (s, t): where a series leaves its past or its kin for good, or stands
    still on one side alone.  `kin`
    (t,): the largest distance so far that nine of ten of the telling series stay below.  `null` (s, t): gradients that
    are zero but for rounding.  `narrow` is the roundoff that both sides' gradients show, 0 where that of their type."""

    apart: Numbers
    limit: Numbers
    standing: Mask
    kin: Numbers
    null: Mask
    narrow: float = 0.0

    @property
    def excess(self) -> Numbers:
        """(s, t): the distance in units of the limit; NaN where there is none."""
        with np.errstate(all="ignore"):
            found: Numbers = self.apart / self.limit
        return found


@dataclass(frozen=True, slots=True)
class GradientsSeen:
    """What is known of gradients when parameters are judged: names seen, the first step at which one was null, and the
    roundoff of the arithmetic that made them, 0 where it is that of their type."""

    names: frozenset[str] = frozenset()
    null_since: Mapping[str, int] = field(default_factory=dict)
    narrow: float = 0.0


NO_GRADIENTS = GradientsSeen()


def expect(
    pair: Pair,
    distances: Distances,
    *,
    gradients: GradientsSeen = NO_GRADIENTS,
    measured: Numbers | None = None,
) -> Expected:
    """What a healthy pair would show in each cell.

    The limit of a channel is the largest of
    - the floor: FIRST_STEP roundoffs of float32, and STORED of a coarser type; in the first step FIRST_STEP of the
      coarser arithmetic; norms and means average over the elements.  For gradients, roundoff of the largest gradient
      of the step relative to this one (sums that cancel); for what an optimizer makes of them, a share of the way they
      have come (`_driven`);
    - what this series, and nine of ten of its kin, showed in this channel before, times FIRST_GROWTH over the root of
      the number of steps seen, LEAST_GROWTH at least;
    - in a backward pass of little noise, KINKS times the root of the kin's level: where noise moves an element over the
      kink of a relu, its gradient jumps; the share of such elements is that of the noise, and random signs add up as
      their root.  What lies between a kink and the loss stays calm, since the forward pass has no jump there; so where
      four of five series jump together none of this is allowed;
    - MEASURED_GROWTH times `measured` (s, t), the level between two bench runs, where there is one.
    """
    apart = np.nan_to_num(distances.apart, nan=0.0)
    narrow = narrowed(pair) if pair.kind in GRADIENTS else gradients.narrow
    null = _null(pair, distances, gradients, narrow)
    telling: Mask = np.asarray(~null.any(axis=1))
    kin = _kin(np.maximum.accumulate(apart, axis=1), telling)
    floors = _floors(pair, distances, narrow)
    driven = _driven(pair, distances, gradients, telling) if pair.kind in DRIVEN else {}
    explained = _kinks(pair, apart, telling, kin, narrow)
    shrunk = _shrunk(distances)
    worst, limit, nearest = np.zeros(apart.shape), np.full(apart.shape, ANYTHING), np.full(apart.shape, -1.0)
    standing = stands_still(pair) if pair.kind in PARAMETERS else np.zeros(apart.shape, np.bool_)
    for name, channel in distances.channels.items():
        found = np.nan_to_num(channel, nan=0.0)
        level = np.maximum.accumulate(found, axis=1)
        around = _kin(level, telling)[None, :]
        floor = np.maximum(floors[name], driven.get(name, 0.0))
        if pair.kind in GRADIENTS:
            floor[null] = ANYTHING
        if measured is not None:
            floor = np.maximum(floor, MEASURED_GROWTH * measured)
        before = _before(np.maximum(level, around)) * shrunk
        jump = explained * (KINKS if name != "extremes" else KINKS_OF_EXTREMES)
        most = np.maximum(np.maximum(floor, _growth(apart.shape[1]) * before), jump)
        standing |= _lasting(found, np.maximum(floor, jump), _before(level), _before(around))
        standing |= _standing_out(found, floor, around) & has_kin(pair)[:, None]
        part = found / most
        nearer = part > nearest
        nearest = np.where(nearer, part, nearest)
        worst, limit = np.where(nearer, channel, worst), np.where(nearer, most, limit)
    return Expected(worst, limit, standing, kin, null, narrow)


def _kin(level: Numbers, telling: Mask) -> Numbers:
    """(t,): what nine of ten of the telling series stay below."""
    if not telling.any():
        return np.zeros(level.shape[1])
    kin: Numbers = np.quantile(level[telling], 0.9, axis=0)
    return kin


def _before(numbers: Numbers) -> Numbers:
    """The same one step before; 0 in the first."""
    shifted: Numbers = np.zeros(numbers.shape)
    shifted[:, 1:] = numbers[:, :-1]
    return shifted


def _growth(steps: int) -> Numbers:
    """(t,): how much louder noise may be than all before."""
    growth: Numbers = np.maximum(LEAST_GROWTH, FIRST_GROWTH / np.sqrt(np.maximum(1, np.arange(steps))))
    return growth


def _averaged(pair: Pair, name: str) -> Numbers:
    """(s, 1): the part of the elements' noise that a channel has."""
    counts = np.nan_to_num(counts_of(pair), nan=1.0)
    part = 1.0 / np.sqrt(np.clip(counts, 1.0, AVERAGED)) if name != "extremes" else np.ones(len(counts))
    return np.asarray(part, np.float64)[:, None]


def _shrunk(distances: Distances) -> Numbers:
    """How much larger the series was over this and the seven steps before."""
    size = np.nan_to_num(np.abs(distances.size), nan=0.0, posinf=0.0)
    with np.errstate(all="ignore"):
        shrunk: Numbers = np.nan_to_num(_recent(size) / size, nan=1.0, posinf=1e9)
    return shrunk


def _floors(pair: Pair, distances: Distances, narrow: float) -> dict[str, Numbers]:
    stored = roundoffs(pair)
    # Parameters are stored as their file says whatever the arithmetic; all else is a result of it.
    unit = stored if pair.kind in PARAMETERS else np.maximum(stored, narrow)
    cancelled = _cancelled(pair, distances, narrow)
    floors = {}
    for name in distances.channels:
        averaged = _averaged(pair, name)
        least = np.maximum(FIRST_STEP * np.minimum(stored, ROUNDOFF["float32"]), STORED * stored * averaged)
        floor = least * _shrunk(distances)
        floor[:, :1] = np.maximum(floor[:, :1], FIRST_STEP * unit * averaged)
        floors[name] = np.maximum(floor, cancelled)
    return floors


def _cancelled(pair: Pair, distances: Distances, narrow: float) -> Numbers:
    """(s, t): roundoff of the largest gradient of a step, relative to this one."""
    size = np.nan_to_num(np.abs(distances.size), nan=0.0, posinf=0.0)
    if pair.kind not in GRADIENTS or not len(size):
        return np.zeros(size.shape)
    stored = roundoffs(pair)
    coarse = np.where(stored > ROUNDOFF["float32"], np.maximum(stored, narrow), narrow)
    roundoff = np.maximum(FIRST_STEP * np.minimum(stored, ROUNDOFF["float32"]), coarse)
    with np.errstate(all="ignore"):
        cancelled: Numbers = np.nan_to_num(roundoff * size.max(axis=0) / size, nan=0.0, posinf=1e9)
    return cancelled


def _null(pair: Pair, distances: Distances, gradients: GradientsSeen, narrow: float) -> Mask:
    """(s, t): gradients that are zero but for rounding, and what an optimizer made of such."""
    if pair.kind in GRADIENTS:
        is_coarse = np.maximum(roundoffs(pair), narrow) > ROUNDOFF["float32"]
        null: Mask = np.asarray(_cancelled(pair, distances, narrow) >= np.where(is_coarse, NULL_NARROW, NULL))
        return null
    null = np.zeros(distances.apart.shape, np.bool_)
    if pair.kind in DRIVEN:
        for row, (_, name, _) in enumerate(pair.keys):
            if name in gradients.null_since:
                null[row, pair.steps >= gradients.null_since[name]] = True
    return null


def _kinks(pair: Pair, apart: Numbers, telling: Mask, kin: Numbers, narrow: float) -> Numbers:
    """(t,): the root of the noise where elements may cross the kink of a relu for the first time, 0 elsewhere."""
    steps = apart.shape[1]
    if pair.kind not in BACKWARD or not telling.any():
        return np.zeros(steps)
    unit = max(float(roundoffs(pair).max()), narrow)
    earlier = np.concatenate([[0.0], kin[:-1]])
    noise = np.maximum(earlier, FORWARD_NOISE * unit)
    together = np.quantile(apart[telling], 0.2, axis=0) > np.maximum(TOGETHER * unit, FIRST_GROWTH * earlier)
    seen_before = np.concatenate([np.zeros(min(steps, LEARNT), np.bool_), noise[: max(0, steps - LEARNT)] > RARE])
    explained: Numbers = np.where(together | seen_before, 0.0, np.sqrt(noise))
    explained[:1] = 0.0
    return explained


def _driven(pair: Pair, distances: Distances, gradients: GradientsSeen, telling: Mask) -> dict[str, Numbers]:
    """What an optimizer makes of gradients, by channel (s, t): a share of the way that the parameter has come.

    Dividing a gradient by its own size turns an element that is rounding noise into full steps in random directions.
    Of a matrix that is a share of the elements as large as the noise, whose changes add up as the root of it; a
    one-dimensional parameter may have such gradients by nature in many places (the key's part of an attention bias; a
    bias before a batch norm).  After LEARNT steps the share is what was seen of it.
    """
    way = travelled(pair) if pair.kind in PARAMETERS else np.ones(distances.apart.shape)
    stored = float(roundoffs(pair).max(initial=0.0))
    known = max(stored, gradients.narrow)
    of_matrix = _of_noise(known if gradients.names else max(stored, ROUNDOFF["bfloat16"]))
    null = np.array([name in gradients.null_since for _, name, _ in pair.keys], np.bool_)
    is_matrix = (sides_of(pair) > 1) & ~null
    floors = {}
    for name, channel in distances.channels.items():
        averaged = _averaged(pair, name)
        share = np.where(is_matrix[:, None], of_matrix * averaged, OPPOSITE)
        with np.errstate(all="ignore"):
            seen = np.nan_to_num(np.nan_to_num(channel, nan=0.0) / way, nan=0.0, posinf=0.0)
        level = np.maximum.accumulate(seen, axis=1)
        around = _kin(level, telling & is_matrix)[None, :]
        learnt = np.maximum(_of_noise(known) * averaged, LEAST_GROWTH * _before(np.maximum(level, around)))
        learnt[:, :LEARNT] = OPPOSITE
        if name == "extremes":  # another element may be the largest now
            learnt[~is_matrix] = OPPOSITE
        floors[name] = np.minimum(share, learnt) * way
    return floors


def _of_noise(unit: float) -> float:
    """The share of its way that a matrix may be off by where gradients are of such a roundoff."""
    return min(OPPOSITE, UPDATES * float(np.sqrt(FORWARD_NOISE * unit)))


def _lasting(found: Numbers, floor: Numbers, own: Numbers, kin: Numbers) -> Mask:
    """Cells from which on, for LASTS steps, a series is far above all that it and its kin showed before."""
    lasting: Mask = np.zeros(found.shape, np.bool_)
    last = found.shape[1] - LASTS + 1
    if last <= LEARNT:
        return lasting
    places = slice(LEARNT, last)
    lasting[:, places] = True
    for later in range(LASTS):
        then = slice(LEARNT + later, last + later)
        past = np.maximum(np.maximum(own[:, places], kin[:, then]), 1e-12)
        lasting[:, places] &= found[:, then] > np.maximum(floor[:, then], LASTING * past)
    return lasting


def _standing_out(found: Numbers, floor: Numbers, kin: Numbers) -> Mask:
    """Cells from which on, for STANDING steps, a series is far above the floor and above nine of ten of its kin."""
    far = (found > floor) & (found > STANDS_OUT * kin)
    if len(far) < 4:
        return np.zeros(far.shape, np.bool_)
    return for_steps(far, STANDING)


def has_kin(pair: Pair) -> Mask:
    """(s,): is a series like the others?  What an optimizer makes of one-dimensional parameters is noise of its own."""
    if pair.kind not in DRIVEN:
        return np.ones(len(pair.keys), np.bool_)
    return np.asarray(sides_of(pair) > 1)


def gradients_seen(pair: Pair, expected: Expected, before: GradientsSeen) -> GradientsSeen:
    """`before` with what a table of gradients adds."""
    null = dict(before.null_since)
    for row in np.flatnonzero(expected.null.any(axis=1)):
        name = pair.keys[row][1]
        step = int(pair.steps[int(expected.null[row].argmax())])
        null[name] = min(step, null.get(name, step))
    names = before.names | {name for _, name, _ in pair.keys}
    return GradientsSeen(names, null, max(before.narrow, expected.narrow))


def _recent(size: Numbers) -> Numbers:
    """The largest size over this and the seven steps before."""
    largest: Numbers = size.copy()
    shift = 1
    while shift < _RECENT:
        largest[:, shift:] = np.maximum(largest[:, shift:], largest[:, :-shift])
        shift *= 2
    return largest
