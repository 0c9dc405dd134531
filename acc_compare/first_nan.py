"""The first call that read finite numbers and wrote NaN or Inf, in one run, without a bench.

A step's ranks run side by side: a collective or a message that wrote NaN is no origin where another rank's part of it
read one.  An Inf is meant where a number among the arguments is one (a mask), and so are those that are made from it
alone; NaN never is.  Statistics are enough: nothing is read but what every dump says of a tensor.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from acc_compare import operators
from dump.format.errors import IncomparableError
from dump.format.layout import DumpLocation, find_dumps
from dump.format.names import FORWARD, parse
from dump.format.reader import read_dump
from dump.format.schema import CallRecord, CutShort, Dump, ScalarRecord, TensorRecord

LARGEST: Mapping[str, float] = {
    "torch.float16": 65504.0,
    "torch.bfloat16": (2.0 - 2.0**-7) * 2.0**127,
    "torch.float32": (2.0 - 2.0**-23) * 2.0**127,
    "torch.float64": (2.0 - 2.0**-52) * 2.0**1023,
    "torch.float8_e4m3fn": 448.0,
    "torch.float8_e5m2": 57344.0,
}
"""The largest finite number of each type (IEEE 754-2019, 3.3; Micikevicius et al., FP8 Formats for Deep Learning)."""

_WAY = 8
_STEPS = 16


@dataclass(frozen=True, slots=True)
class Range:
    """The largest modulus of what a call wrote, by its most telling tensor; infinite where that is not finite.

    `bits` is how many doublings are left to the largest number of its type.
    """

    call: str
    step: int | None
    tensor: str
    dtype: str
    largest: float
    bits: float | None


@dataclass(frozen=True, slots=True)
class FirstNan:
    """A call that read finite numbers and wrote others.

    `kind` is that of the worst; `nan` and `inf` count elements of `tensor`, None where the dump does not; `reads` are
    what it read, `way` the calls before it along the largest numbers, the nearest last; `steps` the same call in the
    steps before.
    """

    call: str
    step: int | None
    rank: int | None
    module: str
    tensor: str
    kind: Literal["nan", "inf"]
    nan: int | None
    inf: int | None
    reads: tuple[Range, ...]
    way: tuple[Range, ...]
    steps: tuple[Range, ...] = ()
    stack: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NanReport:
    """`origins` in the order in which they came, those of one step by rank; `vanished` are calls that read NaN or Inf
    and wrote finite numbers alone; `calls` were looked at.  `incomplete` is the first dump of them that has no end."""

    path: str
    calls: int
    origins: tuple[FirstNan, ...]
    vanished: tuple[str, ...] = ()
    incomplete: CutShort | None = None


@dataclass(slots=True)
class _Rank:
    """What is known of one rank while its calls go by."""

    location: DumpLocation
    dump: Dump
    watch: NanWatch = field(default_factory=lambda: NanWatch())
    origin: CallRecord | None = None


def first_nan(path: Path) -> NanReport:
    """Look through the dumps at `path`, step by step, up to the first step in which a call went wrong.

    Raises DumpError, and IncomparableError where a dump holds digests alone.
    """
    history: dict[tuple[str, int | None], list[Range]] = {}
    calls = 0
    incomplete: CutShort | None = None
    for step, locations in _by_step(find_dumps(path)):
        ranks = [_Rank(location, read_dump(location.path)) for location in locations]
        for rank in ranks:
            if rank.dump.mode == "md5":
                raise IncomparableError(f"{rank.dump.path}: holds digests, no numbers. Record statistics or tensors.")
        exchanges = _Exchanges(rank.dump for rank in ranks)
        for rank in ranks:
            _look_through(rank, exchanges)
            calls += len(rank.dump.calls)
            incomplete = incomplete or rank.dump.incomplete
        found = sorted((rank for rank in ranks if rank.origin is not None), key=_order)
        if found:
            origins = tuple(_told(rank, step, history) for rank in found)
            vanished = tuple(name for rank in ranks for name in rank.watch.vanished)
            return NanReport(str(path), calls, origins, vanished, incomplete)
        for rank in ranks:
            for call in rank.dump.calls:
                ranges = history.setdefault((call.name, rank.location.rank), [])
                ranges.append(_range(call, step, _writes(call)))
                del ranges[:-_STEPS]
    return NanReport(str(path), calls, (), incomplete=incomplete)


def _by_step(locations: Iterable[DumpLocation]) -> Iterator[tuple[int | None, list[DumpLocation]]]:
    groups: dict[int | None, list[DumpLocation]] = {}
    for location in locations:
        groups.setdefault(location.step, []).append(location)
    yield from groups.items()


def _order(rank: _Rank) -> int:
    assert rank.origin is not None
    return rank.origin.index


def _reads(call: CallRecord) -> Iterator[tuple[str, TensorRecord]]:
    for group in (call.inputs, call.parameters):
        yield from ((a.name, a.leaf) for a in group if isinstance(a.leaf, TensorRecord))


def _writes(call: CallRecord) -> Iterator[tuple[str, TensorRecord]]:
    for group in (call.outputs, call.written):
        yield from ((a.name, a.leaf) for a in group if isinstance(a.leaf, TensorRecord))


def _has_nan(tensor: TensorRecord) -> bool:
    return bool(tensor.nan) or any(end is not None and math.isnan(end) for end in (tensor.max, tensor.min))


def _has_inf(tensor: TensorRecord) -> bool:
    return bool(tensor.inf) or any(end is not None and math.isinf(end) for end in (tensor.max, tensor.min))


def _is_bad(tensors: Iterable[tuple[str, TensorRecord]]) -> bool:
    return any(_has_nan(tensor) or _has_inf(tensor) for _, tensor in tensors)


class NanWatch:
    """Looks at the calls of one rank in order.  An Inf that was asked for is `meant`, by value; `vanished` are calls
    that read NaN or Inf and wrote none."""

    def __init__(self) -> None:
        self.meant: set[int] = set()
        self.vanished: list[str] = []

    def look(self, call: CallRecord) -> bool:
        """Did the call read finite numbers, and write NaN or Inf?"""
        if operators.is_uninitialised(parse(call.name).api):
            return False
        read = [tensor for _, tensor in _reads(call)]
        wrote = [tensor for _, tensor in _writes(call)]
        infinite = [tensor for tensor in read if _has_inf(tensor)]
        is_bad = any(_has_nan(tensor) for tensor in read) or any(t.value not in self.meant for t in infinite)
        if not _is_bad(("", tensor) for tensor in wrote):
            if is_bad and wrote and _depends_on_values(call):
                self.vanished.append(call.name)
            return False
        if not any(_has_nan(tensor) for tensor in wrote) and not is_bad and (infinite or _asks_for_inf(call)):
            self.meant |= {tensor.value for tensor in wrote if tensor.value is not None}
            return False
        return not is_bad


class _Exchanges:
    """Into which collectives and messages of a step some rank gave NaN or Inf, by what the call says of it and else by
    its name; then what another rank receives is not of its making."""

    def __init__(self, ranks: Iterable[Dump]) -> None:
        given = [call for rank in ranks for call in rank.calls if _is_bad(_reads(call))]
        self._names = {call.name for call in given if not call.collectives}
        self._collectives = {key for call in given for key in _collectives(call)}

    def gave(self, call: CallRecord) -> bool:
        if call.collectives:
            return not self._collectives.isdisjoint(_collectives(call))
        return parse(call.name).prefix == "Distributed" and call.name in self._names


def _collectives(call: CallRecord) -> Iterator[tuple[str, tuple[int, ...], int]]:
    """What tells each from all others of the step: a message is one with what its receiver calls it."""
    return ((each.group, each.ranks, each.order) for each in call.collectives)


def _look_through(rank: _Rank, exchanges: _Exchanges) -> None:
    for call in rank.dump.calls:
        if rank.watch.look(call) and rank.origin is None and not exchanges.gave(call):
            rank.origin = call


def _depends_on_values(call: CallRecord) -> bool:
    """Is it a forward call that looks at more than the shape of what it reads?"""
    name = parse(call.name)
    shape_alone = operators.overwrites(name.api) or name.api.endswith("_like") or name.api.startswith("new_")
    return name.direction == FORWARD and not shape_alone


def _asks_for_inf(call: CallRecord) -> bool:
    """Is one of its plain arguments infinite, as the value of a mask is?"""
    values = (a.leaf.value for a in call.inputs if isinstance(a.leaf, ScalarRecord))
    return any(isinstance(value, float) and math.isinf(value) for value in values)


def _modulus(tensor: TensorRecord) -> float:
    if _has_nan(tensor) or _has_inf(tensor):
        return math.inf
    return max((abs(float(end)) for end in (tensor.max, tensor.min) if end is not None), default=0.0)


def _range(call: CallRecord, step: int | None, tensors: Iterable[tuple[str, TensorRecord]]) -> Range:
    return max(
        (_of_tensor(call.name, step, name, tensor) for name, tensor in tensors if operators.is_floating(tensor.dtype)),
        key=lambda found: found.largest,
        default=Range(call.name, step, "", "", 0.0, None),
    )


def _of_tensor(call: str, step: int | None, name: str, tensor: TensorRecord) -> Range:
    largest, most = _modulus(tensor), LARGEST.get(tensor.dtype)
    bits = math.log2(most / largest) if most is not None and 0 < largest < math.inf else None
    return Range(call, step, name, tensor.dtype, largest, bits)


def _told(rank: _Rank, step: int | None, history: Mapping[tuple[str, int | None], list[Range]]) -> FirstNan:
    call = rank.origin
    assert call is not None
    wrote = [(name, tensor) for name, tensor in _writes(call) if _has_nan(tensor) or _has_inf(tensor)]
    name, tensor = max(wrote, key=lambda pair: _has_nan(pair[1]))
    owner = rank.dump.owners.get(call.name)
    return FirstNan(
        call=call.name,
        step=step,
        rank=rank.location.rank,
        module=parse(owner).path if owner else "",
        tensor=name,
        kind="nan" if _has_nan(tensor) else "inf",
        nan=tensor.nan or (None if tensor.inf is None else 0),
        inf=tensor.inf or (None if tensor.nan is None else 0),
        reads=tuple(
            _of_tensor(call.name, step, place, each)
            for place, each in _reads(call)
            if operators.is_floating(each.dtype)
        ),
        way=tuple(_way(rank.dump, call, step)),
        steps=tuple(history.get((call.name, rank.location.rank), ())),
        stack=rank.dump.stacks.get(call.name, ()),
    )


def _way(dump: Dump, last: CallRecord, step: int | None) -> list[Range]:
    """Back from `last` along the largest number that each call read, to the call that wrote it; the nearest last."""
    makers: dict[int, CallRecord] = {}
    for call in dump.calls[: last.index]:
        for _, tensor in _writes(call):
            if tensor.value is not None:
                makers.setdefault(tensor.value, call)
    found: list[Range] = []
    call, seen = last, {last.name}
    while len(found) < _WAY:
        read = [t for _, t in _reads(call) if t.value in makers and operators.is_floating(t.dtype)]
        largest = max(read, key=_modulus, default=None)
        if largest is None or largest.value is None:
            break
        call = makers[largest.value]
        if call.name in seen:
            break
        seen.add(call.name)
        found.append(_range(call, step, _writes(call)))
    return found[::-1]
