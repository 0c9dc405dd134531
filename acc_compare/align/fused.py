"""A fused call and what stands for it on the other side, as one pair of calls.

What the composite reads from outside answers to the fused call's inputs, what its last call returns to the fused call's
result.  Which is which is settled by shape, then by closeness of what was recorded, then by order.  Casts and views
around the composite are looked through, since a fused call may read what a view was made from.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from acc_compare.align.composites import Composite, operator_of
from acc_compare.align.forward import Item
from acc_compare.align.rules import FusedRule
from acc_compare.align.side import backward_of
from acc_compare.align.values import Place, Values, reads, value_key, writes
from acc_compare.metrics.sketches import estimate_distance, estimate_norm, sketch_vector
from acc_compare.model import FusedPair, PairedArgument, PairedCall
from acc_compare.operators import is_floating, moves_layout_only
from dump.format import names
from dump.format.schema import Argument, CallRecord, TensorRecord

_FAR = 1.0
"""Beyond this relative distance two tensors of one shape are not the same argument, where there is a choice."""

_MOST_VIEWS = 6


@dataclass(frozen=True, slots=True)
class FusedMatch:
    """A fused call of one side against `members` of the other.  `values` is the dataflow of all calls of the fused
    call's side and of the other's."""

    call: CallRecord
    rule: FusedRule
    members: tuple[CallRecord, ...]
    on_npu: bool
    fused_values: Values
    values: Values

    @classmethod
    def of(cls, pair: tuple[Item, Item], npu: Values, bench: Values) -> FusedMatch:
        """The match of two items of which one at most is a composite."""
        on_npu = pair[0].composite is None
        fused, other = pair if on_npu else (pair[1], pair[0])
        assert fused.rule is not None
        ours, theirs = (npu, bench) if on_npu else (bench, npu)
        members = _members(fused.call, other)
        return cls(fused.call, fused.rule, members, on_npu, ours, theirs)

    def forward(self) -> tuple[PairedCall, Mapping[str, Place]]:
        """The pair of the forward calls, and the other side's place for each of the fused call's arguments."""
        fused_reads, offered = list(reads(self.call)), list(self._readable())
        answers = dict(_assigned(fused_reads, offered))
        fused_reads = [
            read if read.argument in answers else self._viewed(read, offered, answers) for read in fused_reads
        ]
        for made in writes(self.call):
            place = self._result(made)
            if place is not None:
                answers[made.argument] = place
        arguments = [*fused_reads, *writes(self.call)]
        return self._paired(self.call, arguments, answers, self.members), answers

    def _viewed(self, read: Place, offered: Sequence[Place], answers: dict[str, Place]) -> Place:
        """What the fused call reads by a view, as it was before, where that is what the composite reads."""
        free = [place for place in offered if place not in answers.values()]
        for before in self._behind(read, self.fused_values):
            whole = read._replace(leaf=msgspec.structs.replace(before.leaf, dtype=read.leaf.dtype))
            found = dict(_assigned([whole], free))
            if found:
                answers.update(found)
                return whole
        return read

    def backward(
        self, forward: Mapping[str, Place], readers: Mapping[int, tuple[CallRecord, CallRecord]]
    ) -> PairedCall | None:
        """The pair of the backward calls; None where a side has none.

        A gradient of an input that the composite reads more than once is a sum that no call of it returns: the sum of
        sketches stands for it, or what the next call reads.  `readers` are matched pairs of calls by the id of the one
        on the fused call's side.
        """
        call = self.fused_values.by_name.get(backward_of(self.call.name))
        members = [self.values.by_name.get(backward_of(member.name)) for member in self.members]
        present = sorted((member for member in members if member is not None), key=lambda member: member.index)
        if call is None or not present or members[-1] is None:
            return None
        gradients = {made.argument: made for made in (*reads(call), *writes(call))}
        answers = {}
        for number, made in enumerate(writes(self.call)):
            place = forward.get(made.argument)
            found = self._gradient(place, f"input.{_number(place)}") if place is not None else None
            answers[f"input.{number}"] = found
        for number, read in enumerate(reads(self.call)):
            place = forward.get(read.argument)
            found = self._input_gradient(place) if place is not None else None
            gradient = gradients.get(f"output.{number}")
            if found is None and gradient is not None:
                found = self._read_next(gradient, call, readers)
            answers[f"output.{number}"] = found
        known = {name: place for name, place in answers.items() if place is not None and name in gradients}
        known = {name: place for name, place in known.items() if place.leaf.shape == gradients[name].leaf.shape}
        ordered = (*(member for member in present if member is not members[-1]), members[-1])
        return self._paired(call, list(gradients.values()), known, ordered)

    def views(self) -> list[CallRecord]:
        """Casts and views between the composite and what the fused call reads, that are no part of the composite."""
        members = {id(member) for member in self.members}
        behind = (
            place.call for member in self.members for read in reads(member) for place in self._behind(read, self.values)
        )
        return list({id(call): call for call in behind if id(call) not in members}.values())

    def _readable(self) -> Iterator[Place]:
        """Every tensor that the composite reads and does not compute itself, and what views of it were made from; each
        value once."""
        seen = set()
        computed: set[Hashable] = set()
        for member in self.members:
            outer = [read for read in reads(member) if value_key(read.leaf) not in computed]
            if not moves_layout_only(operator_of(member)) or not outer:
                computed |= {value_key(made.leaf) for made in writes(member)}
            for read in outer:
                for place in (read, *self._behind(read, self.values)):
                    key = (value_key(place.leaf), place.leaf.shape, place.leaf.dtype)
                    if key not in seen:
                        seen.add(key)
                        yield place

    @staticmethod
    def _behind(read: Place, values: Values) -> Iterator[Place]:
        for _ in range(_MOST_VIEWS):
            maker = values.maker(read.leaf, values.places[id(read.call)])
            if maker is None or not moves_layout_only(operator_of(values.calls[maker])):
                return
            first = next(reads(values.calls[maker]), None)
            if first is None:
                return
            read = first
            yield read

    def _result(self, made: Place) -> Place | None:
        """What answers to a result of the fused call: by the rule, or what the last call made, views of it included."""
        step = self.rule.outputs.get(made.argument)
        if step is not None:
            wanted = step.split("|")
            for member in reversed(self.members):
                if operator_of(member) in wanted:
                    return next((p for p in writes(member) if p.leaf.shape == made.leaf.shape), None)
            return None
        if len(self.members) == 1:
            return next((p for p in writes(self.members[0]) if _same_place(p, made)), None)
        if made.argument != "output.0":
            return None
        place = next(writes(self.members[-1]), None)
        for _ in range(_MOST_VIEWS):
            if place is None or place.leaf.shape == made.leaf.shape:
                return place
            viewing = (
                read.call for read in self.values.readers(place.leaf) if moves_layout_only(operator_of(read.call))
            )
            place = next((made_by for call in viewing for made_by in writes(call)), None)
        return None

    def _gradient(self, place: Place, name: str) -> Place | None:
        backward = self.values.by_name.get(backward_of(place.call.name))
        if backward is None:
            return None
        found = (p for p in (*reads(backward), *writes(backward)) if p.argument == name)
        return next(found, None)

    def _input_gradient(self, place: Place) -> Place | None:
        """The gradient of what the composite reads at `place`: what the calls that read it return, added up."""
        inside = {id(call) for call in (*self.members, *self.views())}
        parts = []
        for read in self.values.readers(place.leaf):
            if id(read.call) in inside:
                number = [other.argument for other in reads(read.call)].index(read.argument)
                parts.append(self._gradient(read, f"output.{number}"))
        known = [part for part in parts if part is not None]
        if len(known) < len(parts) or not known:
            return None
        return known[0] if len(known) == 1 else _added(known)

    def _read_next(
        self, gradient: Place, call: CallRecord, readers: Mapping[int, tuple[CallRecord, CallRecord]]
    ) -> Place | None:
        for read in self.fused_values.readers(gradient.leaf):
            pair = readers.get(id(read.call))
            if read.call.index > call.index and pair is not None:
                return next((p for p in reads(pair[1]) if p.argument == read.argument), None)
        return None

    def _paired(
        self,
        call: CallRecord,
        arguments: Sequence[Place],
        answers: Mapping[str, Place],
        members: Sequence[CallRecord],
    ) -> PairedCall:
        pairs = tuple(self._argument(place, answers.get(place.argument)) for place in arguments)
        fused = FusedPair(call.name, tuple(member.name for member in members), self.on_npu)
        other = _stand_in(members, pairs, on_npu=not self.on_npu)
        npu, bench = (call, other) if self.on_npu else (other, call)
        return PairedCall(npu, bench, pairs, fused=fused)

    def _argument(self, place: Place, answer: Place | None) -> PairedArgument:
        name = place.argument
        if self.on_npu:
            if answer is None:
                return PairedArgument(name, place.leaf, None)
            return PairedArgument(name, place.leaf, answer.leaf, name, bench_full=answer.full_name)
        if answer is None:
            return PairedArgument("", None, place.leaf, name)
        return PairedArgument(name, answer.leaf, place.leaf, name, npu_full=answer.full_name)


def _members(call: CallRecord, other: Item) -> tuple[CallRecord, ...]:
    """The composite's calls; less the optional steps at its end that the fused call has no inputs for."""
    if other.composite is None:
        return (other.call,)
    composite = other.composite
    wanted = sum(1 for _ in reads(call))
    while composite.trailing and _outer_inputs(composite) > wanted:
        composite = composite.shortened()
    return composite.members


def _outer_inputs(composite: Composite) -> int:
    made = {value_key(place.leaf) for member in composite.members for place in writes(member)}
    return len({value_key(p.leaf) for member in composite.members for p in reads(member)} - made)


def _stand_in(members: Sequence[CallRecord], pairs: Sequence[PairedArgument], *, on_npu: bool) -> CallRecord:
    """One record for several calls, under the name and at the place of the last."""
    last = members[-1]
    found = [(pair.name, pair.npu if on_npu else pair.bench) for pair in pairs if pair.name]
    arguments = [Argument(name, leaf) for name, leaf in found if leaf is not None]
    return msgspec.structs.replace(
        last,
        index=max(member.index for member in members),
        inputs=tuple(argument for argument in arguments if argument.name.startswith("input")),
        outputs=tuple(argument for argument in arguments if argument.name.startswith("output")),
        parameters=(),
        written=(),
    )


def _added(parts: Sequence[Place]) -> Place | None:
    """The sum of gradients, which no call returns, as far as sketches tell: they are linear.  None without them."""
    first = parts[0]
    sketches = [part.leaf.sketch for part in parts if part.leaf.sketch is not None]
    if len(sketches) < len(parts) or any(part.leaf.shape != first.leaf.shape for part in parts):
        return None
    total = np.sum([sketch_vector(sketch) for sketch in sketches], axis=0)
    leaf = TensorRecord(first.leaf.dtype, first.leaf.shape, sketch=total.astype("<f4").tobytes())
    return Place(first.call, first.argument, leaf, " + ".join(part.full_name for part in parts))


def _number(place: Place) -> int:
    """Which of its call's results a place is."""
    return [made.argument for made in writes(place.call)].index(place.argument)


def _same_place(one: Place, other: Place) -> bool:
    return one.argument == other.argument and one.leaf.shape == other.leaf.shape


def _assigned(wanted: Sequence[Place], offered: Sequence[Place]) -> Iterator[tuple[str, Place]]:
    """For each tensor that the fused call reads the nearest of one shape, each used once, best pairs first."""
    choices = []
    for number, place in enumerate(wanted):
        same = [other for other in offered if other.leaf.shape == place.leaf.shape]
        for order, other in enumerate(same):
            distance = _apart(place.leaf, other.leaf)
            if distance < _FAR or (len(same) == 1 and is_floating(place.leaf.dtype) and is_floating(other.leaf.dtype)):
                choices.append((distance, other.leaf.dtype != place.leaf.dtype, abs(number - order), number, other))
    taken: set[int] = set()
    used: set[int] = set()
    for _, _, _, number, other in sorted(choices, key=lambda choice: choice[:4]):
        if number not in taken and id(other) not in used:
            taken.add(number)
            used.add(id(other))
            yield wanted[number].argument, other


def _apart(one: TensorRecord, other: TensorRecord) -> float:
    """How far apart two tensors of one shape are, relative to the larger; 0 or inf where only equality is known."""
    if one.md5 is not None and other.md5 is not None:
        return 0.0 if one.md5 == other.md5 else math.inf
    if is_floating(one.dtype) != is_floating(other.dtype):
        return math.inf
    if one.sketch is not None and other.sketch is not None:
        size = max(estimate_norm(one.sketch), estimate_norm(other.sketch))
        distance = estimate_distance(one.sketch, other.sketch)
        relative = distance / size if size else 0.0
    else:
        relative = max(_share(getattr(one, field), getattr(other, field)) for field in ("norm", "max", "min"))
    if math.isnan(relative):
        return math.nextafter(_FAR, 0.0)
    return relative if is_floating(one.dtype) or relative == 0 else math.inf


def _share(one: float | None, other: float | None) -> float:
    if one is None or other is None or one == other:
        return 0.0
    largest = max(abs(one), abs(other))
    return abs(one - other) / largest if math.isfinite(largest) else math.nan


def backward_names(members: Sequence[CallRecord]) -> list[str]:
    """The names of the backward calls of forward calls."""
    return [backward_of(member.name) for member in members if names.parse(member.name).direction == names.FORWARD]
