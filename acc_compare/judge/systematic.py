"""Errors that are alike in many elements, seen far below the noise of single elements.

Rounding moves the norm, the mean and the extremes of a tensor by little; a wrong factor, a bias, a lost tail or a
clipped peak moves them by its whole size.  Each of the four numbers is a channel, its value the difference between both
sides:

    norm   log(|N| / |B|)                 noise e / sqrt(n'), and e^2 / 2 since noise of its own adds to a norm
    mean   (mean N - mean B) / rms        noise e / sqrt(n)
    max    (max N - max B) / largest      noise e
    min    likewise

with e the error that is typical of the tensor, n its number of elements and rms = |B| / sqrt(n).  (For independent
errors of relative size e: E |N|^2 = |B|^2 (1 + e^2), and a mean of n terms has a variance of one over n.)  Where one
element is large, of p of the norm, fewer count: 1 / n' = p^4 + (1 - p^2)^2 / n (the effective sample size of L. Kish,
Survey Sampling, 1965, of that element and the others), and an error at that end moves norm and extremes.  What an input
is off by in a channel its readers inherit, and where they lean to one side, as what relu makes does, norm and mean move
each other: |y|^2 = n (mean^2 + variance), so that d log |y| = mean d(mean) / rms^2.  Two things are read off the run,
at upper quartiles, which one faulty call cannot move.  Rounding is not wholly random, what truncates moves every norm:
how much of the fresh error is systematic, over all operators and over the operator at hand.  And elements are not
independent, a gradient of rank one is off by one number: how many times e / sqrt(n) the channels show, forward and
backward, vectors apart.

With the error that was measured for e, where that is more, a channel asks whether an error of that size is as random
ones are (`Systematic.aligned`), which says nothing of how improbable its size is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import quantiles
from typing import Literal, Protocol, TypeAlias

from acc_compare.judge.noise_prior import CHANNELS, Channel, NoiseKey, PriorRow
from acc_compare.measured.calls import MeasuredArgument, finite
from acc_compare.metrics.sketches import norm_behind_sketch
from dump.format.schema import TensorRecord

Shifts: TypeAlias = Mapping[Channel, float]

_RESOLUTION: Shifts = {"norm": 2e-7, "mean": 5e-7, "max": 2e-7, "min": 2e-7}
"""What sums in float32 in another order may move a channel by, relative to the norm or the largest element."""

_LEAST_SYSTEMATIC = 0.05
_RULED = 0.5
_FEWEST = 4
_UPPER = 2
_NORMAL = 1.15
"""The upper quartile of the modulus of a normal variable."""

_UNCERTAIN = 1.25
"""How alike the errors of elements are is known to about a quarter: weights that are rounded to few bits are off alike
in all rows."""

_SUMMED: tuple[Channel, ...] = ("norm", "mean")
_OTHER: Mapping[Channel, Channel] = {"norm": "mean", "mean": "norm"}


class Output(Protocol):
    """What is asked of an output (`noise.Observed`)."""

    key: NoiseKey
    row: PriorRow
    count: int
    error: float
    fresh: float
    peak: float
    at_an_end: float
    lean: float
    one_way: float
    own: Shifts
    inherited: Shifts


@dataclass(frozen=True, slots=True)
class Shift:
    """A channel of one output: its value, what it shows typically, and how many standard deviations that makes."""

    channel: Channel
    value: float
    typical: float
    deviations: float


def _norm(npu: TensorRecord, bench: TensorRecord, rms: float) -> float | None:
    ours, theirs = finite(npu.norm), finite(bench.norm)
    return math.log(ours / theirs) if ours and theirs else None


def _mean(npu: TensorRecord, bench: TensorRecord, rms: float) -> float | None:
    ours, theirs = finite(npu.mean), finite(bench.mean)
    return (ours - theirs) / rms if ours is not None and theirs is not None and rms > 0 else None


def _extreme(name: Literal["max", "min"]) -> Callable[[TensorRecord, TensorRecord, float], float | None]:
    def between(npu: TensorRecord, bench: TensorRecord, rms: float) -> float | None:
        ours, theirs = finite(getattr(npu, name)), finite(getattr(bench, name))
        if ours is None or theirs is None:
            return None
        largest = max(abs(ours), abs(theirs), rms)
        return (ours - theirs) / largest if largest > 0 else None

    return between


_VALUES: Mapping[Channel, Callable[[TensorRecord, TensorRecord, float], float | None]] = {
    "norm": _norm,
    "mean": _mean,
    "max": _extreme("max"),
    "min": _extreme("min"),
}


def shifts_of(argument: MeasuredArgument) -> Shifts:
    """The value of each channel that both sides recorded.  Where a mask rules norm, mean and minimum, the maximum alone
    speaks of the live elements."""
    masked = any(norm_behind_sketch(record) is None for record in (argument.npu, argument.bench))
    asked: tuple[Channel, ...] = ("max",) if masked else CHANNELS
    found = ((name, _VALUES[name](argument.npu, argument.bench, argument.rms)) for name in asked)
    return {name: value for name, value in found if value is not None}


def inherited_by(read: Iterable[MeasuredArgument]) -> Shifts:
    """The root of the summed squares of what the inputs are off by in each channel; where a mask hides one, at most all
    of the input's error is in it."""
    total = dict.fromkeys(CHANNELS, 0.0)
    for argument in read:
        if argument.relative > 0:
            found = shifts_of(argument)
            for channel in CHANNELS:
                total[channel] = math.hypot(total[channel], found.get(channel, argument.relative))
    return total


def noise_of(output: Output, channel: Channel, typical: float) -> float:
    """What random error of relative size `typical` does to a channel."""
    peak = output.peak
    if channel in ("max", "min"):
        return math.hypot(typical, output.at_an_end / peak) if peak > 0 else typical
    if channel == "mean":
        return typical / math.sqrt(output.count)
    own = typical * math.sqrt(peak**4 + (1.0 - peak**2) ** 2 / output.count)
    return math.hypot(own, typical**2 / 2, output.at_an_end * peak)


class Systematic:
    """What this run shows of systematic rounding and of coherent error.  `outputs` come with the error that is typical
    of them."""

    def __init__(self, outputs: Iterable[tuple[Output, float]]) -> None:
        shares: dict[tuple[NoiseKey | None, Channel], list[float]] = {}
        coherence: dict[tuple[Hashable, Channel], list[float]] = {}
        for output, typical in outputs:
            for channel in _SUMMED:
                beyond = _beyond(output, channel)
                if beyond is None:
                    continue
                noise = noise_of(output, channel, typical)
                coherence.setdefault((_group(output), channel), []).append(beyond / noise if noise > 0 else 0.0)
                if output.fresh > 0:
                    share = min(1.0, math.sqrt(max(0.0, beyond**2 - noise**2)) / output.fresh)
                    for key in (None, output.key):
                        shares.setdefault((key, channel), []).append(share)
        self._shares = {key: _upper_quartile(values) for key, values in shares.items()}
        self._coherence = {key: max(1.0, _upper_quartile(values) / _NORMAL) for key, values in coherence.items()}

    def ratios(self, output: Output, typical: float, few: float = 0.0) -> dict[Channel, float]:
        """How many times what is typical each channel shows; `few` elements that jump may be off by so much."""
        return {
            channel: _left(channel, value, output, few) / self._typical(output, channel, typical)
            for channel, value in output.own.items()
        }

    def largest(self, output: Output, typical: float, few: float = 0.0) -> Shift | None:
        """The channel of `output` that stands out most; None where none was recorded, or noise rules the tensor."""
        if typical > _RULED:
            return None
        deviations = {
            channel: ratio / (_UNCERTAIN * output.row.channel(channel))
            for channel, ratio in self.ratios(output, typical, few).items()
        }
        most = max(deviations, key=lambda channel: deviations[channel], default=None)
        if most is None:
            return None
        return Shift(most, output.own[most], self._typical(output, most, typical), deviations[most])

    def aligned(self, output: Output, typical: float, few: float = 0.0) -> float:
        """How many standard deviations an error, large or not, lies along a channel; 0 where noise rules the tensor."""
        if typical > _RULED:
            return 0.0
        found = self.ratios(output, max(typical, output.error), few).values()
        return max(found, default=0.0) / _UNCERTAIN

    def _typical(self, output: Output, channel: Channel, typical: float) -> float:
        noise = noise_of(output, channel, typical)
        coherent = min(max(noise, typical), noise * self._coherence.get((_group(output), channel), 1.0))
        if output.one_way:  # all of it may lie along the channel
            coherent = max(coherent, typical, output.one_way)
        other = _OTHER.get(channel)
        turned = output.lean * output.inherited[other] if other else 0.0
        fresh = self._share(output, channel) * output.fresh
        return math.hypot(coherent, output.inherited[channel], turned, fresh, _RESOLUTION[channel])

    def _share(self, output: Output, channel: Channel) -> float:
        """How much of the fresh error a channel shows.  What moves norms moves the means of one-signed tensors."""
        asked: tuple[Channel, ...] = ("norm", "mean") if channel == "mean" else (channel,)
        known = (self._shares.get((key, name), 0.0) for key in (None, output.key) for name in asked)
        return max(_LEAST_SYSTEMATIC, *known)


def _left(channel: Channel, value: float, output: Output, few: float) -> float:
    """What is left of a channel's value once the result was rounded towards zero on one side and to the nearest on the
    other: that loses between 0 and 2 u of each element, u in the mean, and a kernel may do so where others do not.
    Once `few` elements have jumped.  And of a norm, once the error that was measured has been added to the smaller one
    as an independent one would be: it is its size that is improbable or not."""
    beside = _jumped(channel, output, few) if few else 0.0
    if channel == "norm":
        error = output.error * math.exp(abs(value))  # relative to the smaller norm
        beside = max(beside, math.log1p(error * error) / 2)
    return max(0.0, abs(value) - output.fresh - beside)


def _jumped(channel: Channel, output: Output, few: float) -> float:
    if channel == "norm":
        return few * few / 2
    if channel == "mean":
        return few / math.sqrt(output.count)
    return few / output.peak if output.peak > 0 else few


def _group(output: Output) -> Hashable:
    return output.key.is_backward, output.key.is_vector


def _beyond(output: Output, channel: Channel) -> float | None:
    """What a channel shows beyond what it inherits; None where it was not recorded."""
    if channel not in output.own:
        return None
    return math.sqrt(max(0.0, output.own[channel] ** 2 - output.inherited[channel] ** 2))


def _upper_quartile(values: Sequence[float]) -> float:
    return quantiles(values, n=4)[_UPPER] if len(values) >= _FEWEST else 0.0
