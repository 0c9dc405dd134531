"""Every output of a comparison beside what is predicted of it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from acc_compare.judge.autocast import Readers, autocast_roundoff, summed
from acc_compare.judge.flips import Moved
from acc_compare.judge.noise_prior import NoiseKey, Prior, PriorRow, prior_of
from acc_compare.judge.predicted import Predicted, predict
from acc_compare.judge.systematic import Shifts, inherited_by, shifts_of
from acc_compare.measured.calls import MeasuredArgument, MeasuredCall, finite
from acc_compare.measured.errors import RESOLUTION
from acc_compare.operators import has, is_additive, operator_class
from dump.format.names import forward_name

BUCKETS = 16
_LEAST_RESIDUAL = -1.0


@dataclass(slots=True)
class Observed:
    """One output beside its prediction. `error`, `predicted` and `fresh` are relative to its norm, as are its largest
    element, `peak`, and the error that one element may show, `at_an_end`; `lean` is its |mean| / rms; `assured` and
    `one_way` are as predicted, `is_ruled_by_few` elements says that the error may as well be next to nothing, and
    `flips` is how many elements are expected to jump, by `flip` of their size, `moved` that they jump from one place to
    another; `set_otherwise` says that its call was given another number, and is no measure of others; `adds_up` says
    that it sums what other calls of its kind copy. `buckets` is how many numbers the error was estimated from, None for
    whole tensors; `own` and `inherited` are its channels and those of what its call read."""

    key: NoiseKey
    row: PriorRow
    count: int
    error: float
    predicted: float
    fresh: float
    peak: float
    at_an_end: float
    lean: float
    is_ruled_by_few: bool
    flips: float
    flip: float
    moved: bool
    assured: float
    one_way: float
    set_otherwise: bool
    adds_up: bool
    buckets: int | None
    own: Shifts
    inherited: Shifts

    @property
    def residual(self) -> float:
        return math.log(self.error / self.predicted) if self.error > 0 else -math.inf

    @property
    def tamed(self) -> float:
        """The residual less the operator's location, as it counts for other calls.  One far below its prediction says
        that here both sides rounded alike, or that nothing jumped, not that they must elsewhere; and one copy that took
        the exact part of a tensor says nothing of another that took the rest."""
        is_by_chance = self.is_ruled_by_few or operator_class(self.key.operator) == "exact"
        return max(0.0 if is_by_chance else _LEAST_RESIDUAL, self.residual - self.row.location)


def observed_in(
    calls: Sequence[MeasuredCall],
    prior: Prior,
    *,
    shared: Mapping[tuple[str, str], Readers],
    lowered: float = 0.0,
    parted: bool = False,
    behind: frozenset[str] = frozenset(),
) -> Iterator[tuple[tuple[str, str], Observed]]:
    """By call and argument, the outputs of which something is predicted; `shared` are the gradients that several calls
    add to (`shared_casts`), `lowered` and `parted` are as in `predict`, which holds for calls `behind` a fault too."""
    autocast = autocast_roundoff(calls)
    forwards = {call.full_name: call for call in calls if not call.is_backward}
    backwards = {forward_name(call.full_name): call for call in calls if call.is_backward}
    is_rerouted = any(call.reads_other_integers() for call in calls)
    moved = Moved()
    for recorded in calls:
        call = moved.beside(recorded)
        if call.is_backward and is_rerouted and has(call.operator, "indexed"):
            continue  # where one row went elsewhere, what is gathered back comes from other rows
        forward = forwards.get(forward_name(call.full_name)) if call.is_backward else None
        if call.reads_other_integers() or (forward is not None and forward.reads_other_integers()):
            continue
        read = (*call.floating_inputs(), *((*forward.read, *forward.wrote) if forward is not None else ()))
        inherited = inherited_by(argument for argument in read if argument.is_floating)
        for out in call.wrote:
            if not out.is_floating or out.error is None or out.error.source in ("digest", "bound"):
                continue
            back, astray = backwards.get(call.full_name), parted or call.full_name in behind
            found = predict(call, out, forward, back=back, autocast=autocast, lowered=lowered, parted=astray)
            readers = shared.get((call.full_name, out.name))
            if found is not None and readers is not None:
                found = (
                    None
                    if not readers
                    else summed(
                        predict(
                            moved.beside(backwards[reader]),
                            msgspec.structs.replace(out, name=f"output.{place}"),
                            forwards[reader],
                            autocast=autocast,
                            lowered=lowered,
                            is_part=True,
                            parted=astray,
                        )
                        if reader in backwards
                        else None
                        for reader, place in readers
                    )
                )
            if found is not None:
                moved.note(call, out, found.relative, reads_moved=call is not recorded)
            exact = found is not None and found.relative + RESOLUTION[out.error.source] == 0.0
            if found is not None and not exact and not math.isinf(out.relative):
                otherwise = (forward or recorded).has_other_numbers
                yield (call.full_name, out.name), _beside(call, out, found, prior, inherited, otherwise=otherwise)


def _beside(
    call: MeasuredCall, out: MeasuredArgument, found: Predicted, prior: Prior, inherited: Shifts, *, otherwise: bool
) -> Observed:
    assert out.error is not None
    key = NoiseKey.of(call, out)
    return Observed(
        key=key,
        row=prior_of(key, prior),
        count=out.count,
        error=out.relative,
        predicted=math.hypot(found.relative, RESOLUTION[out.error.source]),
        fresh=found.fresh,
        peak=min(1.0, out.largest_of_both / out.norm),
        at_an_end=found.at_an_end,
        lean=_lean(out),
        assured=found.assured,
        one_way=found.one_way,
        flips=found.flips,
        flip=found.flip,
        moved=has(call.operator, "chooses"),
        set_otherwise=otherwise,
        adds_up=_adds_up(call, out),
        is_ruled_by_few=found.is_ruled_by_jumps or 2.0 * found.at_an_end**2 > found.relative**2,
        buckets=BUCKETS if out.error.source == "sketch" and out.count > BUCKETS else None,
        own=shifts_of(out) if out.count > 1 else {},
        inherited=inherited,
    )


def _adds_up(call: MeasuredCall, out: MeasuredArgument) -> bool:
    """Is it a gradient of what was repeated, by an operator that hands most gradients back as they are?"""
    if not call.is_backward or not (is_additive(call.operator) or operator_class(call.operator) == "exact"):
        return False
    return any(a.count > out.count for a in call.floating_inputs())


def _lean(out: MeasuredArgument) -> float:
    """|mean| / rms on the side where it is less: 0 around zero, 1 of equal elements."""
    means = [abs(mean) for side in (out.npu, out.bench) if (mean := finite(side.mean)) is not None]
    return min(1.0, min(means, default=0.0) / out.rms)
