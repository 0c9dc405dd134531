"""What error is normal in this run: a prediction for each output, corrected by what the other calls show.

The prediction (`predicted`) leaves a factor open.  Its logarithm, the residual log(e / predicted), is taken as

    residual = location of the operator + effect of this run + effect of the operator in this run + deviation

The location, and the sizes of the other three, are known beforehand (`noise_prior`, measured over healthy pairs).  The
effects of the run and of the operator are estimated from the run's own calls by medians, each shrunk towards nothing
by how well it is known (A. Gelman et al., Bayesian Data Analysis, 3rd ed., 5.4), so that three calls move it a little
and thirty decide it.  A call is left out of what it is judged by.

Beside the size of the error there are its systematic channels (`systematic`).  All are counted in deviations, and one
is improbable beyond the quantile of Student's t that leaves the stated rate of false accusations over all tests made.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median, median_low

from acc_compare.judge.autocast import shared_casts
from acc_compare.judge.flips import by_few_flips
from acc_compare.judge.noise_prior import Channel, NoiseKey, Prior, PriorRow, measured_prior
from acc_compare.judge.observed import Observed, observed_in
from acc_compare.judge.residuals import Residuals, student
from acc_compare.judge.systematic import Shift, Systematic
from acc_compare.measured.calls import MeasuredCall
from acc_compare.measured.errors import RESOLUTION

FALSE_ACCUSATIONS = 1e-3
"""The share of healthy comparisons that may be accused."""

WORTH = 2.0
"""An error below so many times what is typical, or what arithmetic alone predicts, is not worth a person's time,
however improbable beside other calls."""

RUN_EFFECT = 0.4
"""Standard deviation of the effect of a run, in units of log: two devices that round alike, or one that truncates."""

_PRIOR_CALLS = 8
_DOF = 100.0
_DOF_OF_CHANNELS = 15.0
"""The size of an error scatters nearly as a normal variable, its channels reach further (406 healthy pairs of
benchmarks/localisation)."""

_ONE_WAY = 1.5
"""What errors that go one way come to is known as well as they are, within a third (16 numbers of a sketch)."""

BEHIND = 10.0
"""Behind a fault an error is another's where it is so many times what is typical of what it read, or what errors that
go one way come to: nothing says how the error of a fault scatters."""

_ALL_BUT = 0.75
_MOST_ALIGNED = 4.0
"""Errors of elements that are not independent, as those that a weight passes on, may lie along a channel further than
that."""

_LEAST_DEVIATION = 0.15
"""Peers of one operator agree better than what two layers of it come to: with this in their scatter the errors of
healthy runs that the prior was not measured on lie within a normal distribution as far out as they reach."""

_LEAST_OF_SUMS = 0.25
"""The same of what adds up the elements that its peers copy, where sketches tell: those of a copy and of what was
copied are one, those of a sum and of what was added up err each for itself, by 1 / sqrt(32) of 16 numbers."""

_ALIKE = 0.4
_FEWEST_ALIKE = 3
_LEAST_ALIKE = 2.5
"""Most calls of an operator, if there are three, lie less far along their channels than so much of where one alone is
improbable; of more than three that falls as the root of their number.  In 31,175 groups of 916 healthy pairs it was at
most 2.0 deviations (benchmarks/localisation)."""

_MAD = 1.4826
_MEDIAN_OF_MODULUS = 0.6745
_LEAST_UNCERTAIN = 0.3
_ENOUGH = 4
_KNOWN_WELL = 30
"""So many different calls of one run, and so many runs, tell what an operator does."""
_LEAST_OF_GROUP = 0.3
"""Calls of one operator may be off together: the gradients of all biases hang on one gradient.  The medians of groups
lie within a normal distribution of this width as far out as healthy runs reach (benchmarks/localisation, 169 pairs)."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """What an output may show.

    `typical` is the relative error that is likeliest and `limit` the one beyond which it is improbable; `deviations` is
    how many standard deviations the measured error lies above the typical one, `calls` how many calls of the operator
    in this run were asked.  `shift` is the channel of systematic error that stands out most, None for none; a channel
    is improbable beyond `far` deviations, and beyond `quantile` where the size of the error all but is.  `aligned` is
    how far an error of that size lies along a channel, 0 where that cannot count; as neither says anything of the
    other, both are improbable where they are `together` as a vector.  `alike` says that most calls of the operator are
    shifted as it is, each of them less than would be improbable of one alone.
    """

    typical: float
    limit: float
    deviations: float
    calls: int
    quantile: float
    far: float
    together: float
    aligned: float = 0.0
    shift: Shift | None = None
    alike: bool = False

    @property
    def is_exceeded(self) -> bool:
        """Is the measured error improbable, in its size or in a channel?"""
        return self.is_too_large or self.is_shifted

    @property
    def is_too_large(self) -> bool:
        return self.deviations > self.quantile

    @property
    def is_shifted(self) -> bool:
        if self.shift is None or self.alike:
            return self.alike
        beside = self.deviations > _ALL_BUT * self.quantile
        length = math.hypot(max(0.0, self.deviations), min(self.aligned, _MOST_ALIGNED))
        return self.shift.deviations > (self.quantile if beside else self.far) or length > self.together


class Noise:
    """The noise of one comparison: `calls` are matched pairs in the order of their execution, `lowered` and `parted` as
    in `predict`, `behind` the names of those that read what a fault made."""

    def __init__(
        self,
        calls: Sequence[MeasuredCall],
        prior: Prior | None = None,
        *,
        lowered: float = 0.0,
        parted: bool = False,
        behind: frozenset[str] = frozenset(),
    ) -> None:
        self.prior = measured_prior() if prior is None else prior
        shared = shared_casts(calls)
        self._behind = behind
        self._outputs = dict(
            observed_in(calls, self.prior, shared=shared, lowered=lowered, parted=parted, behind=behind)
        )
        self.shared = shared.keys() - self._outputs.keys()
        """Outputs that hold the gradients of other calls too, of which nothing can be said."""
        groups: dict[NoiseKey, list[float]] = {}
        for output in self._outputs.values():
            if _is_of_group(output):
                groups.setdefault(output.key, []).append(output.tamed)
        self._groups = {key: Residuals(values) for key, values in groups.items()}
        self.run = _run_effect([group.median for group in self._groups.values()])
        tests = sum(1 + len(output.own) for output in self._outputs.values())
        self._rate = FALSE_ACCUSATIONS / max(1, tests)
        self.quantile, self._far = (student(1.0 - self._rate, dof) for dof in (_DOF, _DOF_OF_CHANNELS))
        self._together = math.sqrt(-2.0 * math.log(self._rate))  # the length of two normal variables
        self._off = {
            key
            for key, group in self._groups.items()
            if key in self.prior
            and self.prior[key].runs >= _KNOWN_WELL
            and group.distinct >= _ENOUGH
            and self.off_throughout(key) > self.quantile
        }
        """Operators that the prior knows well by name and that are off everywhere: their calls are no measure of one
        another.  A class, or a few runs, tell too little of how an operator amplifies."""
        self._systematic = Systematic(self._typical())
        self._places: dict[tuple[NoiseKey, str], list[Observed]] = {}
        for (_, argument), output in self._outputs.items():
            self._places.setdefault((output.key, argument), []).append(output)
        self._alike: dict[tuple[NoiseKey, str], tuple[float, float]] = {}
        self._expected: dict[tuple[str, str], Expectation] = {}

    def observed(self) -> Mapping[tuple[str, str], Observed]:
        """Every output that was predicted, by the names of its call and argument."""
        return self._outputs

    def expectation(self, call: str, argument: str) -> Expectation | None:
        """What the output may show, judged by all other calls; None where nothing was predicted."""
        name = (call, argument)
        if name not in self._expected and (output := self._outputs.get(name)) is not None:
            self._expected[name] = self._expectation(output, argument, is_behind=call in self._behind)
        return self._expected.get(name)

    def _expectation(self, output: Observed, argument: str, *, is_behind: bool) -> Expectation:
        typical, deviation, calls = self._scale(output)
        if output.count == 1:
            # One number is off by a normal variable of that size, which reaches less far than its logarithm's spread.
            size = typical / _MEDIAN_OF_MODULUS * math.exp(max(output.row.between, _LEAST_UNCERTAIN))
            deviations, limit = output.error / size, self.quantile * size
        else:
            deviations = math.log(output.error / typical) / deviation if output.error > 0 else -math.inf
            limit = typical * math.exp(self.quantile * deviation)
        few = self._few(output)
        resolution = RESOLUTION["exact" if output.buckets is None else "sketch"]
        least = max(WORTH * max(typical, output.predicted, output.assured), _ONE_WAY * output.one_way, few, resolution)
        if is_behind:
            least = max(least, BEHIND * max(typical, output.predicted, output.one_way))
        if output.error <= least:  # nothing finer than what was recorded of it resolves is known
            deviations = min(deviations, 0.0)
        counts = not output.one_way and math.hypot(max(0.0, deviations), _MOST_ALIGNED) > self._together
        shift = None if is_behind else self._systematic.largest(output, typical * math.exp(deviation), few)
        alike, most = self._alike_at((output.key, argument))
        return Expectation(
            typical=typical,
            limit=max(least, limit),
            deviations=deviations,
            calls=calls,
            quantile=self.quantile,
            far=self._far,
            together=self._together,
            aligned=self._systematic.aligned(output, typical, few) if counts else 0.0,
            shift=shift,
            alike=shift is not None and min(shift.deviations, alike) > most,
        )

    def expectation_of(self, key: tuple[str, str]) -> Expectation | None:
        """`expectation` of a pair of names."""
        return self.expectation(*key)

    def channel_ratios(self, call: str, argument: str) -> Mapping[Channel, float]:
        """How many times what is typical each channel of an output shows: what the prior's deviations come from."""
        output = self._outputs[(call, argument)]
        typical = output.predicted * math.exp(self._estimated(output)[0])
        return self._systematic.ratios(output, typical, self._few(output))

    def off_throughout(self, key: NoiseKey) -> float:
        """How many standard deviations the calls of one operator lie above what is known of it and the run, taken
        together: one that is off everywhere has no peers to be held against."""
        group = self._groups.get(key)
        if group is None:
            return 0.0
        row = next(output.row for output in self._outputs.values() if output.key == key)
        return (group.median - self.run) / _of_group(row, group)

    def is_beyond_prior(self, key: tuple[str, str]) -> bool:
        """Is an output off by more than the prior alone explains, whatever the other calls of its operator show?  Where
        some inherit what all make, they scatter too widely to be a measure."""
        output = self._outputs.get(key)
        if output is None or output.error < max(WORTH * output.predicted, _ONE_WAY * output.one_way):
            return False
        spread = math.hypot(output.row.spread(output.buckets), output.row.between, _LEAST_DEVIATION)
        return output.residual - output.row.location - self.run > self.quantile * spread

    def _scale(self, output: Observed) -> tuple[float, float, int]:
        """The typical error of `output`, the standard deviation of its logarithm, and how many calls of its operator
        were asked."""
        location, deviation, calls = self._estimated(output)
        sums = output.adds_up and output.buckets is not None
        deviation = math.hypot(deviation, _LEAST_OF_SUMS if sums else _LEAST_DEVIATION)
        return output.predicted * math.exp(location), deviation, calls

    def _shift(self, output: Observed) -> Shift | None:
        typical, deviation, _ = self._scale(output)
        return self._systematic.largest(output, typical * math.exp(deviation), self._few(output))

    def _alike_at(self, place: tuple[NoiseKey, str]) -> tuple[float, float]:
        """How far at least half of an operator's outputs at one place lie along a channel, and beyond what that is
        improbable of so many.  The same call made again says nothing new."""
        if place not in self._alike:
            places = self._places[place]
            distinct = {f"{output.error:.1e} {output.peak:.1e}": output for output in places}.values()
            calls = len(distinct)
            shifts = map(self._shift, distinct) if calls >= _FEWEST_ALIKE else ()
            found = [0.0 if shift is None else shift.deviations for shift in shifts]
            most = max(_LEAST_ALIKE, _ALIKE * self._far * math.sqrt(_FEWEST_ALIKE / max(calls, _FEWEST_ALIKE)))
            self._alike[place] = median_low(found) if found else 0.0, most
        return self._alike[place]

    def _estimated(self, output: Observed) -> tuple[float, float, int]:
        """Location and standard deviation of the residual of `output` by all others, and how many of its operator's."""
        row = output.row
        spread = row.spread(output.buckets) ** 2
        group = self._groups.get(output.key)
        if group is not None and output.key in self._off:
            return row.location + self.run, _of_group(row, group), 0
        others, middle, deviation = (
            (0, 0.0, 0.0) if group is None else group.without(output.tamed, _is_of_group(output))
        )
        is_one = group is not None and group.distinct == 1 and group.median > 0.0  # made again and again
        if not others or is_one:
            return row.location + self.run, math.sqrt(spread + row.between**2), 0
        within = spread / others
        trust = row.between**2 / (row.between**2 + within)
        effect = self.run + trust * (middle - self.run)
        scatter = _MAD * deviation
        spread = (_PRIOR_CALLS * spread + others * max(scatter**2, spread / 4)) / (_PRIOR_CALLS + others)
        return row.location + effect, math.sqrt(spread + trust * within), others

    def _few(self, output: Observed) -> float:
        most = by_few_flips(output.flips, output.peak, output.count, self._rate, moved=output.moved)
        return output.flip * most

    def _typical(self) -> Iterator[tuple[Observed, float]]:
        for output in self._outputs.values():
            yield output, output.predicted * math.exp(self._estimated(output)[0])


def _is_of_group(output: Observed) -> bool:
    """Does it tell what is normal of other calls?"""
    return output.error > 0 and not output.set_otherwise


def _of_group(row: PriorRow, group: Residuals) -> float:
    """How far the median residual of an operator's calls varies from run to run."""
    return math.hypot(row.between, row.sketch / math.sqrt(group.distinct), _LEAST_OF_GROUP)


def _run_effect(medians: Sequence[float]) -> float:
    """The median over operators, shrunk; one of them varies by about a half.  Beyond three deviations it is no effect
    of a run: there most operators are off."""
    if not medians:
        return 0.0
    found = median(medians) * RUN_EFFECT**2 / (RUN_EFFECT**2 + 0.25 / len(medians))
    return max(-3 * RUN_EFFECT, min(found, 3 * RUN_EFFECT))
