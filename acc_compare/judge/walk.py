"""Where error begins: a walk over the matched calls in the order in which the NPU side ran them.

A call introduces error when an output is off by more than what it read and the run's noise explain; it propagates
when they explain it; it absorbs when less comes out than went in.  An input that differs although nobody recorded
making it is an origin too: the data, the initial parameters, or a call that went unseen.  Products that are off alike
by one rounding of their operands are a setting, told apart before, and what is off beyond that is judged with it taken
as normal.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import replace

import msgspec

from acc_compare import operators
from acc_compare.judge.alike import told_otherwise
from acc_compare.judge.behind import behind
from acc_compare.judge.dataflow import Flow
from acc_compare.judge.inputs import judge_input, parted_before
from acc_compare.judge.lowered import FEWEST_PRODUCTS, LOWERED, lowered_products
from acc_compare.judge.noise import Noise
from acc_compare.judge.origins import (
    INPUT_NOISE,
    SUSPICIOUS,
    Context,
    Expected,
    Judged,
    Origin,
    Seen,
    Walk,
    largest_error,
)
from acc_compare.judge.output_case import is_compound
from acc_compare.judge.outputs import behind_bounds, judge_output
from acc_compare.judge.reference import unless_of_both
from acc_compare.measured.calls import MeasuredArgument, MeasuredCall
from dump.format.names import BACKWARD, FORWARD, forward_name

_BOUND_TRUSTED = 1e-3
_NO_DATA = 1e15
"""The norm of what may be data; memory that holds nothing is full of larger numbers."""


def judged_calls(calls: Sequence[MeasuredCall], *, by_module: bool) -> list[MeasuredCall]:
    """The calls that error can begin in: API calls, or modules where no API call was recorded."""
    return [
        call
        for call in calls
        if not call.is_optimizer and call.name.direction in (FORWARD, BACKWARD) and call.name.is_module == by_module
    ]


def walk(calls: Sequence[MeasuredCall], context: Context) -> Walk:
    """Judge every call in order; `calls` are matched pairs, the optimizer's left out."""
    garbage = _Garbage(context.npu)
    cleaned = [garbage.taken_out(call) for call in calls]
    begun_apart = parted_before(cleaned, context)
    context = replace(context, parted=max(begun_apart, context.parted))
    parted = context.parted > 0.0
    noise = Noise(cleaned, parted=parted)
    # What was one step's setting is the next one's, although there weights that differ may hide it: then fewer tell.
    # After a fault, products that inherit it say nothing.
    fewest = FEWEST_PRODUCTS if context.previous == "none" else 1
    told = lowered_products(cleaned, noise, fewest=fewest) if context.previous != "suspect" else ""
    if context.other_world and any(map(_reads_bounds, cleaned)):
        told = ""  # behind a bound may stand what looks like rounding
    lowered = told or context.lowered
    origins = _lowered(cleaned, noise) if lowered else []
    told_apart = frozenset[str]() if context.other_world else told_otherwise(cleaned)
    context = replace(context, told_otherwise=told_apart)
    is_behind = parted and context.previous == "suspect"
    hidden = frozenset(call.full_name for call in cleaned) if is_behind else frozenset[str]()
    while True:
        if lowered or hidden:
            noise = Noise(cleaned, lowered=LOWERED.get(lowered, 0.0), parted=parted, behind=hidden)
        found = Walk(noise=noise, lowered=lowered, parted=begun_apart, origins=list(origins))
        _judge_in_order(cleaned, replace(context, noise=noise), found, garbage)
        # Another look at what is behind a fault, where something there was called one.
        more = behind(found.origins, cleaned, context.npu) if not hidden else frozenset[str]()
        if not any(origin.call.full_name in more for origin in found.origins):
            return found
        hidden = more


def _judge_in_order(calls: Sequence[MeasuredCall], context: Context, found: Walk, garbage: _Garbage) -> None:
    """The verdicts on all that `calls` read and write, and the origins of error, into `found`."""
    seen = Seen(nonfinite=context.previous == "poisoned")
    inside, around = _Inside(), _Around(calls)
    forwards: dict[str, MeasuredCall] = {}
    for call in calls:
        forward = forwards.get(forward_name(call.full_name)) if call.is_backward else None
        seen.inside = inside.worst(call)
        seen.around = around.worst(call) if not context.unheld else math.inf
        _judge_call(call, forward, context, found, seen, read=garbage.error_read(call))
        inside.note(call)
        around.note(call)
        if not call.is_backward:
            forwards[call.full_name] = call
    for key, argument in garbage.found.items():
        found.judged[key] = Judged(argument, "")
    _give_to_late(found, calls)
    worse = {origin.call.full_name for origin in found.origins if origin.kind == "operator"}
    found.origins = [o for o in found.origins if o.kind != "dtype" or o.call.full_name not in worse]


def recorded_late(calls: Sequence[MeasuredCall]) -> dict[str, list[MeasuredCall]]:
    """By backward call, those that ran before it but stand after it: one of several nodes, as that of a recurrent net,
    stands where its last node has run, and what packs sequences is no call that could show the way."""
    places = {call.full_name: place for place, call in enumerate(calls) if not call.is_backward}
    several = {call.full_name for call in calls if not call.is_backward and is_compound(call)}
    found: dict[str, list[MeasuredCall]] = {}
    before: list[tuple[int, str]] = []
    for call in calls:
        name = forward_name(call.full_name)
        if not call.is_backward or name not in places:
            continue
        if name in several:
            for place, earlier in before:
                if place < places[name]:
                    found.setdefault(earlier, []).append(call)
        before.append((places[name], call.full_name))
    return found


def _give_to_late(found: Walk, calls: Sequence[MeasuredCall]) -> None:
    """Where a call that was recorded late is an origin, what it gave is none."""
    unseen = [origin for origin in found.origins if origin.unseen and origin.call.is_backward]
    if not unseen:
        return
    late = recorded_late(calls)
    named = {origin.call.full_name for origin in found.origins if not origin.unseen}
    for origin in unseen:
        argument = origin.judged.argument
        makers = [call for call in late.get(origin.call.full_name, ()) if call.full_name in named]
        if any(argument.relative <= SUSPICIOUS * largest_error(call.wrote) for call in makers):
            found.origins = [each for each in found.origins if each is not origin]
            found.judged[(origin.call.full_name, argument.name)] = Judged(argument, "propagated")


def _lowered(calls: Sequence[MeasuredCall], noise: Noise) -> list[Origin]:
    """Products that are off by more than full precision explains, where all are computed in a narrower type."""
    origins = []
    for call in calls:
        if operators.operator_class(call.operator) != "contraction":
            continue
        for argument in call.wrote:
            key = (call.full_name, argument.name)
            expected = noise.expectation_of(key)
            if expected is not None and noise.is_beyond_prior(key):
                judged = Judged(argument, "introduced", Expected(expected.typical, expected.limit, "prior"))
                origins.append(Origin("dtype", call, judged, largest_error(call.read)))
                break
    return origins


def _judge_call(
    call: MeasuredCall, forward: MeasuredCall | None, context: Context, found: Walk, seen: Seen, *, read: float
) -> None:
    """The verdicts on what `call` reads and writes; `read` is the largest error that it was given."""
    origins: list[Origin] = []
    origin: Origin | None
    for argument in call.read:
        verdict = judge_input(call, argument, forward, context, seen)
        if verdict is not None:
            found.judged[(call.full_name, argument.name)], origin = verdict
            origins += [origin] if origin is not None else []
    # What only moves memory tells of how it is cut, where that differs; what computes with it shows what is wrong.
    is_moved = context.other_world and operators.moves_layout_only(call.operator)
    seen.worst = max(seen.worst, 0.0 if is_moved else read)
    given = [a.error for a in call.read if a.rank is not None and a.error is not None]
    seen.nonfinite = seen.nonfinite or any(error.is_nonfinite for error in given)
    best: Origin | None = None
    for argument in call.wrote:
        verdict = judge_output(call, argument, forward, context, seen)
        if verdict is not None:
            found.judged[(call.full_name, argument.name)], origin = unless_of_both(verdict, context.references)
            if origin is not None and (best is None or origin.judged.beyond > best.judged.beyond):
                best = origin
    behind = min(seen.worst, behind_bounds(call.read)) if context.other_world else seen.worst
    if best is not None and not (_by_bound(best) and behind > _BOUND_TRUSTED):
        origins.append(best)
        seen.began_in.add(call.full_name)
    if not seen.nonfinite:
        found.origins += origins
    _note_decided(call, context, seen)
    written = 0.0 if is_moved else largest_error([a for a in call.wrote if not _is_of_one_side(call, a, context)])
    seen.worst = max(seen.worst, written)
    seen.nonfinite = seen.nonfinite or any(origin.kind == "nan_inf" for origin in origins)
    seen.reshaped = seen.reshaped or any(origin.reshaped for origin in origins)
    if best is None and written <= INPUT_NOISE:
        seen.last_agreeing = call.full_name


def _is_of_one_side(call: MeasuredCall, argument: MeasuredArgument, context: Context) -> bool:
    """Does `call` hand on what a call of the NPU side alone made, as a custom backward does?  Its reader is judged."""
    producer = context.npu.producer(argument.npu, call.pair.npu.index) if call.pair.npu is not None else None
    return producer is not None and producer.call not in context.partner and call.name.prefix == "Autograd"


def _note_decided(call: MeasuredCall, context: Context, seen: Seen) -> None:
    if any(a.relative > 0 or context.npu.key(a.npu) in seen.decided for a in call.read):
        seen.decided.update(context.npu.key(a.npu) for a in call.wrote if not a.is_floating)


def _reads_bounds(call: MeasuredCall) -> bool:
    return operators.operator_class(call.operator) == "contraction" and any(
        a.error is not None and a.error.source == "bound" for a in call.read
    )


def _by_bound(origin: Origin) -> bool:
    """Was it judged by statistics alone?  They may agree by chance where tensors do not, so once anything differed
    they no longer show who began."""
    error = origin.judged.argument.error
    return error is not None and error.source == "bound"


def _agrees(argument: MeasuredArgument) -> bool:
    """Is it the same on both sides?  Of garbage, large elements may agree, and with them what only bounds an error, or
    sums beside which the rest is nothing; and such as are taken for a mask are in no sum."""
    known = argument.error is not None and argument.error.source != "bound" and argument.relative == 0.0
    ends = [(side.max, side.min) for side in (argument.npu, argument.bench)]
    return known and argument.norm < _NO_DATA and ends[0] == ends[1]


class _Inside:
    """The largest error that calls inside a module showed: at module level, what a container's result inherits."""

    def __init__(self) -> None:
        self._worst: dict[tuple[str, str], float] = {}

    def note(self, call: MeasuredCall) -> None:
        if not call.name.is_module:
            return
        error = max(largest_error(call.read), largest_error(call.wrote))
        parts = call.name.path.split(".")
        for depth in range(len(parts)):
            key = (".".join(parts[:depth]), call.name.direction)
            self._worst[key] = max(self._worst.get(key, 0.0), error)

    def worst(self, call: MeasuredCall) -> float:
        return self._worst.get((call.name.path, call.name.direction), 0.0) if call.name.is_module else 0.0


class _Around:
    """The largest error that a function between the modules inside one may have read, at module level: of what that
    module was given, and of what all inside that ran before read and made; backward, forward too."""

    def __init__(self, calls: Sequence[MeasuredCall]) -> None:
        self._calls = {call.full_name: call for call in calls}
        self._worst: dict[str, float] = {}

    def note(self, call: MeasuredCall) -> None:
        error = behind_bounds((*call.read, *call.wrote)) if call.name.is_module else 0.0
        owner = call.owner if call.name.is_module else None
        while owner is not None and owner in self._calls:
            self._worst[owner] = max(self._within(owner), error)
            owner = self._calls[owner].owner

    def worst(self, call: MeasuredCall) -> float:
        """Inf where the module around is not known."""
        return self._within(call.owner) if call.name.is_module and call.owner in self._calls else math.inf

    def _within(self, owner: str) -> float:
        given = self._worst.get(owner)
        if given is None:
            given = behind_bounds(self._calls[owner].read)
        if not self._calls[owner].is_backward:
            return given
        forward = forward_name(owner)
        return max(given, self._within(forward)) if forward in self._calls else math.inf


class _Garbage:
    """Memory that nobody has written to: what `empty` gives, and what copies, views and partial writes make of it.  It
    differs between any two runs and says nothing; `found` holds the tensors that were taken out.  What computes with
    it reads a large difference, as it would any, and its results are judged by that."""

    def __init__(self, flow: Flow) -> None:
        self.found: dict[tuple[str, str], MeasuredArgument] = {}
        self._flow = flow
        self._values: set[Hashable] = set()

    def error_read(self, call: MeasuredCall) -> float:
        """The largest error of what a call reads beside it."""
        return largest_error([a for a in call.read if self._flow.key(a.npu) not in self._values])

    def taken_out(self, call: MeasuredCall) -> MeasuredCall:
        """`call` without such tensors."""
        made = not call.is_backward and operators.is_uninitialised(call.operator)
        # What computes on memory that nobody was seen to write to is judged: somebody may have written it unseen.
        moves = operators.moves_layout_only(call.operator)
        passes = moves or operators.overwrites(call.operator)
        blank = passes and any(argument.npu.unwritten for argument in (*call.read, *call.wrote))
        filled = _filled(call)
        if not made and not blank and not filled and not self._values:
            return call
        read = [
            a
            for a in call.read
            if a in filled
            or (
                ((passes and a.npu.unwritten) or self._flow.key(a.npu) in self._values)
                and any(_is_content(wrote, a, moves=moves) for wrote in call.wrote)
            )
        ]
        into = [] if operators.overwrites(call.operator) else [a for a in read if a.name != "input.out"]
        wrote = [
            a
            for a in call.wrote
            if (moves and a.npu.unwritten)
            or ((made or any(_is_content(a, kept, moves=moves) for kept in into)) and not _agrees(a))
        ]
        if not read and not wrote:
            return call
        self._values.update(self._flow.key(argument.npu) for argument in wrote)
        self.found.update({(call.full_name, argument.name): argument for argument in (*read, *wrote)})
        return msgspec.structs.replace(
            call,
            read=tuple(argument for argument in call.read if argument not in read),
            wrote=tuple(argument for argument in call.wrote if argument not in wrote),
        )


def _filled(call: MeasuredCall) -> list[MeasuredArgument]:
    """What held something else on the two sides until `call` wrote all of it (`normal_`), which nobody reads so."""
    if not call.name.api.endswith("_") or not operators.overwrites(call.operator):
        return []
    return [a for a in call.read if a.name == "input.0" and a.relative > 0]


def _is_content(wrote: MeasuredArgument, read: MeasuredArgument, *, moves: bool) -> bool:
    """Does what was read, an index apart, stand in what was written: in the same memory, or moved?"""
    if moves:
        return wrote.is_floating == read.is_floating
    shared = wrote.npu.storage is not None and wrote.npu.storage == read.npu.storage
    return shared or wrote.name == f"written.{read.name}"
