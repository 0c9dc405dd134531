"""Experts of which modules alone were recorded, found by their weights.

At level L0 no exchange of tokens says where the experts of a rank are, and the same expert has one name on a rank that
holds it alone and another beside all others.  Its weights are the same on both sides: what ranks hold otherwise under
one name, or some of them alone, and the other side under other names, are experts.  Those of all ranks are laid one
behind the other on every rank, each under the name that the bench has for the same weights, and their parameters in
the optimizer likewise.  Tokens may come in any order: of what has a row for each, the sketch is left out.  Where
several ranks hold one expert, so many groups of ranks hold all of them, and each rank has those of its group.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile
from typing import TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from acc_compare.align.paths import plain_path
from acc_compare.combined import are_alike
from acc_compare.expert_updates import are_updated_alike, with_experts, without
from acc_compare.experts import Unrolled
from acc_compare.metrics.sketches import sketch_vector
from acc_compare.stages import renamed
from dump.format.names import FORWARD, parse
from dump.format.schema import SKETCH_BUCKETS, Argument, CallRecord, Dump, TensorRecord

Side: TypeAlias = "Mapping[int, Dump]"
Paths: TypeAlias = "dict[str, dict[int, dict[str, TensorRecord]]]"
"""The weights of each module, by its path, rank and their name."""
Vector: TypeAlias = "npt.NDArray[np.float64]"
Place: TypeAlias = "tuple[int, str]"
"""A rank, and the path of a module there."""

Expert: TypeAlias = "frozenset[Place]"
"""Where the replicas of an expert are."""

_CLEARLY = 0.5
"""Share of the distance of the next nearest weights up to which the nearest are taken to be the same, as they are
before and after a step."""

_REPLICAS = 0.1
"""Relative difference up to which weights of several ranks are replicas, whatever their optimizers did to them."""

_ROWS = 512
"""Weights that are held against all others at a time."""


@dataclass(frozen=True, slots=True)
class _Expert:
    """One expert as a side holds it: where its replicas are, and how it is called on both sides: under a path, as one
    of several there by `number`."""

    places: Sequence[Place]
    path: str
    number: int


@dataclass(slots=True)
class _Laid:
    """The experts of a side in order, and what becomes of their names; `calls` is how many calls of one module a step
    has at most, `held` are the dumps with the parameters of experts."""

    side: Side
    experts: Sequence[_Expert]
    calls: int
    orders: dict[Place, int] = field(default_factory=dict)
    held: dict[int, tuple[Dump, dict[int, str]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.orders.update({place: order for order, expert in enumerate(self.experts) for place in expert.places})
        self.held.update({rank: (dump, dict(self._parameters(rank))) for rank, dump in self.side.items()})

    def _parameters(self, rank: int) -> Iterator[tuple[int, str]]:
        for call in self.side[rank].calls:
            known = parse(call.name)
            within = self.within(rank, known.path) if known.direction == FORWARD and known.is_module else None
            for argument in call.parameters if within is not None else ():
                if isinstance(argument.leaf, TensorRecord) and argument.leaf.value is not None and within is not None:
                    name = within[1] + argument.name.removeprefix("parameters")
                    number = self.experts[within[0]].number
                    yield argument.leaf.value, f"{name}@{number}" if number else name

    def groups(self) -> list[list[int]]:
        """The ranks by groups that hold each expert once; none where some are held by more ranks than others."""
        count = {len(expert.places) for expert in self.experts}
        if len(count) != 1:
            return []
        groups: list[set[int]] = [set() for _ in range(*count)]
        for expert in self.experts:
            for group, (rank, _) in zip(groups, expert.places, strict=True):
                group.add(rank)
        is_parted = sum(map(len, groups)) == len(self.side) == len(set().union(*groups))
        return [sorted(group) for group in groups] if is_parted else []

    def within(self, rank: int, path: str) -> tuple[int, str] | None:
        """The number of the expert that a module is part of, and the module's path on both sides."""
        parts = path.split(".")
        above = (".".join(parts[:number]) for number in range(1, len(parts) + 1))
        root = next((each for each in above if (rank, each) in self.orders), None)
        if root is None:
            return None
        order = self.orders[rank, root]
        return order, self.experts[order].path + path[len(root) :]

    def of(self, rank: int, path: str) -> int | None:
        """The number of the expert that a module is part of."""
        found = self.within(rank, path)
        return None if found is None else found[0]

    def called(self, rank: int, name: str) -> str:
        """The name of a call, or of one that another lies in."""
        known = parse(name)
        found = self.within(rank, known.path) if known.is_module else None
        if found is None:
            return name
        number = self.experts[found[0]].number
        return str(replace(known, path=found[1], number=known.number + number * self.calls))


def unrolled_by_weights(npu: Side, bench: Side) -> tuple[Unrolled, Unrolled] | None:
    """Both sides as if every rank ran all experts; None where no modules are known to be such."""
    if any(dump.header.level != "L0" for side in (npu, bench) for dump in side.values()):
        return None
    held = _weights(npu), _weights(bench)
    dealt = [
        {path for path, ranks in own.items() if _is_dealt(ranks, len(side))}
        for own, side in zip(held, (npu, bench), strict=True)
    ]
    if not (dealt[0] or dealt[1]):
        return None
    pairs = [
        each
        for each in _same_weights(held[0], held[1])
        if any(path in own for places, own in zip(each, dealt, strict=True) for _, path in places)
    ]
    experts = _paired(pairs, (npu, bench))
    if experts is None:
        return None
    calls = 1 + max(parse(call.name).number for side in (npu, bench) for dump in side.values() for call in dump.calls)
    sides = [_Laid(side, found, calls) for side, found in zip((npu, bench), experts, strict=True)]
    updated = are_updated_alike(sides[0].held, sides[1].held)
    ours, theirs = (_unrolled(side, updated=updated) for side in sides)
    return (ours, theirs) if ours is not None and theirs is not None else None


def _weights(side: Side) -> Paths:
    """Whole weights of which the sketch tells more than the elements."""
    found: Paths = {}
    for rank, dump in side.items():
        for call in dump.calls:
            known = parse(call.name)
            if known.direction != FORWARD:
                continue
            for argument in call.parameters:
                leaf = argument.leaf
                if isinstance(leaf, TensorRecord) and _tells(leaf):
                    found.setdefault(known.path, {}).setdefault(rank, {}).setdefault(argument.name, leaf)
    return found


def _tells(leaf: TensorRecord) -> bool:
    is_whole = leaf.layout is None and leaf.partition is None
    is_sketched = leaf.sketch is not None and leaf.numel > SKETCH_BUCKETS and bool(leaf.norm)
    return is_whole and is_sketched and bool(np.all(np.isfinite(sketch_vector(leaf.sketch or b""))))


def _is_dealt(ranks: Mapping[int, Mapping[str, TensorRecord]], world_size: int) -> bool:
    """Do some ranks alone hold these weights, or do they hold other ones?"""
    first, *others = ranks.values()
    return len(ranks) < world_size or any(
        name in each and not are_alike([weight, each[name]]) for name, weight in first.items() for each in others
    )


def _same_weights(npu: Paths, bench: Paths) -> list[tuple[Expert, Expert]]:
    """Where the two sides hold the same weights, as far as no rank has these twice."""
    sides = [_by_kind(own) for own in (npu, bench)]
    found = []
    for kind, mine in sides[0].items():
        their = sides[1].get(kind, [])
        if not (mine and their):
            continue
        one, two = (np.stack([vector for _, vector in each]) for each in (mine, their))
        nearest, back = _nearest(one, two), _nearest(two, one)
        found += [(mine[i][0], their[j][0]) for i, j in enumerate(nearest) if j >= 0 and back[j] == i]
    return found


def _by_kind(own: Paths) -> dict[tuple[str, tuple[int, ...]], list[tuple[Expert, Vector]]]:
    """The weights by name and shape, those of replicas once."""
    held: dict[tuple[str, tuple[int, ...]], dict[bytes, list[Place]]] = defaultdict(lambda: defaultdict(list))
    for path, ranks in own.items():
        for rank, named in ranks.items():
            for name, weight in named.items():
                held[name, weight.shape][weight.sketch or b""].append((rank, path))
    return {kind: list(_replicas(places)) for kind, places in held.items()}


def _replicas(places: Mapping[bytes, Sequence[Place]]) -> Iterator[tuple[Expert, Vector]]:
    """Where each weight is, with the sketch of one of them."""
    vectors = np.stack([sketch_vector(sketch) for sketch in places])
    alike: dict[int, list[Place]] = defaultdict(list)
    for start in range(0, len(vectors), _ROWS):
        apart = _apart(vectors[start : start + _ROWS], vectors)
        near = apart <= _REPLICAS**2 * np.square(vectors[start : start + _ROWS]).sum(axis=1)[:, None]
        for first, held in zip(near.argmax(axis=1).tolist(), list(places.values())[start : start + _ROWS], strict=True):
            alike[first] += held
    for first, found in alike.items():
        if len({rank for rank, _ in found}) == len(found):
            yield frozenset(found), vectors[first]


def _apart(ours: Vector, theirs: Vector) -> Vector:
    """The squares of the distances of all of the ones from all of the others."""
    sizes = [np.square(each).sum(axis=1) for each in (ours, theirs)]
    apart: Vector = np.maximum(sizes[0][:, None] + sizes[1] - 2 * ours @ theirs.T, 0.0)
    return apart


def _nearest(ours: Vector, theirs: Vector) -> list[int]:
    """Which of `theirs` each of ours is, -1 where none is much nearer than all others, or than nothing."""
    found: list[int] = []
    for start in range(0, len(ours), _ROWS):
        rows = ours[start : start + _ROWS]
        own, apart = np.square(rows).sum(axis=1), _apart(rows, theirs)
        best = apart.argmin(axis=1)
        least = apart[np.arange(len(rows)), best]
        apart[np.arange(len(rows)), best] = own
        is_clear = least <= _CLEARLY**2 * apart.min(axis=1)
        found += np.where(is_clear, best, -1).tolist()
    return found


def _paired(
    pairs: Sequence[tuple[Expert, Expert]], sides: tuple[Side, Side]
) -> tuple[list[_Expert], list[_Expert]] | None:
    """The experts of both sides, each pair in the same place; None where there are none, or not one for one."""
    roots = _roots(pairs, sides)
    known = [each for each in pairs if all(path in own for p, own in zip(each, roots, strict=True) for _, path in p)]
    experts: dict[Expert, Expert] = {}
    for mine, their in _finest({(_at(mine, roots[0]), _at(their, roots[1])) for mine, their in known}):
        if experts.setdefault(mine, their) != their:
            return None
    held = [Counter(place for expert in each for place in expert) for each in (experts, experts.values())]
    everywhere = [
        Counter({(r, root): 1 for root in set(own.values()) for r in _ranks_of(side)[root]})
        for own, side in zip(roots, sides, strict=True)
    ]
    if not experts or held != everywhere:
        return None
    count: dict[str, int] = defaultdict(int)
    found: tuple[list[_Expert], list[_Expert]] = ([], [])
    for (first, *others), places in sorted((sorted(their), sorted(mine)) for mine, their in experts.items()):
        path = first[1]
        for side, held_by in zip(found, (places, [first, *others]), strict=True):
            side.append(_Expert(held_by, path, count[path]))
        count[path] += 1
    return found


def _at(places: Expert, roots: Mapping[str, str]) -> Expert:
    return frozenset((rank, roots[path]) for rank, path in places)


def _finest(pairs: Collection[tuple[Expert, Expert]]) -> list[tuple[Expert, Expert]]:
    """Those pairs of which no part is a pair: scales begin with one number in all experts."""
    return [(mine, their) for mine, their in pairs if not any(one < mine or other < their for one, other in pairs)]


def _roots(pairs: Sequence[tuple[Expert, Expert]], sides: tuple[Side, Side]) -> tuple[dict[str, str], dict[str, str]]:
    """The experts that modules are part of, by path on either side: what is left of paths that go by other names on the
    other side without what they have in common at their end; of a path that is the same, the outermost module that the
    same ranks alone call."""
    groups: dict[tuple[int, str], set[tuple[int, str]]] = {}
    for places in pairs:
        known = {(side, path) for side, each in enumerate(places) for _, path in each}
        group = known.union(*(groups.get(each, ()) for each in known))
        groups.update(dict.fromkeys(group, group))
    found: tuple[dict[str, str], dict[str, str]] = ({}, {})
    called = [_ranks_of(side) for side in sides]
    for (side, path), group in groups.items():
        common = _common([each for _, each in group])
        if len({plain_path(each) for _, each in group}) == 1:
            alone = [(own, each) for own, each in group if len(called[own][each]) < len(sides[own])]
            if not alone:
                continue
            common = min(_within(each, called[own]) for own, each in alone)
        found[side][path] = ".".join(path.split(".")[: -common or None])
    return found


def _ranks_of(side: Side) -> dict[str, set[int]]:
    """The ranks that call each module, by its path."""
    found: dict[str, set[int]] = defaultdict(set)
    for rank, dump in side.items():
        for call in dump.calls:
            known = parse(call.name)
            if known.is_module:
                found[known.path].add(rank)
    return found


def _within(path: str, called: Mapping[str, set[int]]) -> int:
    """How many parts of a path name what lies in the outermost module that the same ranks call."""
    parts = path.split(".")
    above = (number for number in range(len(parts)) if called.get(".".join(parts[:number])) == called[path])
    return len(parts) - next(above, len(parts))


def _common(paths: Iterable[str]) -> int:
    """How many parts paths end with alike."""
    ends = zip(*(reversed(path.split(".")) for path in paths), strict=False)
    return sum(1 for _ in takewhile(lambda parts: len(set(parts)) == 1, ends))


_Parts: TypeAlias = "tuple[list[CallRecord], dict[int, list[tuple[int, CallRecord]]]]"


def _parted(laid: _Laid, rank: int) -> _Parts:
    """The calls of a rank outside of its experts, and by the number of those before them its experts' with which."""
    outside: list[CallRecord] = []
    inside: dict[int, list[tuple[int, CallRecord]]] = defaultdict(list)
    for call in laid.side[rank].calls:
        known = parse(call.name)
        found = laid.of(rank, known.path) if known.is_module else None
        if found is None:
            outside.append(call)
        else:
            inside[len(outside)].append((found, call))
    return outside, inside


def _unrolled(laid: _Laid, *, updated: bool) -> Unrolled | None:
    """None where ranks make other calls outside of experts, or are in no groups; with what optimizers do to experts
    where they are `updated` alike on both sides."""
    parts = {rank: _parted(laid, rank) for rank in laid.side}
    groups = laid.groups()
    if not groups or len({tuple(call.name for call in outside) for outside, _ in parts.values()}) > 1:
        return None
    ranks: dict[str, dict[int, None]] = defaultdict(dict)
    recorded: dict[str, str] = {}
    dumps = {}
    group_of = {rank: group for group in groups for rank in group}
    for rank in laid.side:
        group = group_of[rank]
        calls, modules, stacks = [], {}, {}
        held = {each: laid.held[each] for each in group}
        for index, (whose, call) in enumerate(_ordered(rank, group, parts)):
            dump, name = laid.side[whose], laid.called(whose, call.name)
            is_expert = laid.of(whose, parse(call.name).path) is not None
            told = _without_order(call) if is_expert else without(call, laid.held[rank][1])
            told = renamed(told, name, index, (whose, dump), {})
            calls.append(with_experts(told, held) if updated else told)
            owner = dump.owners.get(call.name)
            modules[name] = laid.called(whose, owner) if owner is not None else None
            if call.name in dump.stacks:
                stacks[name] = dump.stacks[call.name]
            if is_expert:
                ranks[name][whose] = None
                recorded[name] = call.name
        dumps[rank] = replace(laid.side[rank], calls=tuple(calls), owners=modules, stacks=stacks)
    owners: dict[str, dict[int, None]] = defaultdict(dict)
    for rank, (_, named) in laid.held.items() if updated else ():
        for name in named.values():
            owners[name][rank] = None
    held_by, updated_by = ({name: tuple(each) for name, each in known.items()} for known in (ranks, owners))
    return Unrolled(dumps, held_by, recorded, updated_by, groups)


def _ordered(rank: int, group: Sequence[int], parts: Mapping[int, _Parts]) -> Iterator[tuple[int, CallRecord]]:
    """The calls of a rank outside of experts, and in their places those of the experts of its group, each with the rank
    that made it."""
    outside = parts[rank][0]
    for place in range(len(outside) + 1):
        experts = [(order, r, call) for r in group for order, call in parts[r][1].get(place, ())]
        yield from ((whose, call) for _, whose, call in sorted(experts, key=lambda each: each[0]))
        yield from ((rank, call) for call in outside[place : place + 1])


def _without_order(call: CallRecord) -> CallRecord:
    """A call of an expert whose tensors have a row for each token, in any order."""

    def told(argument: Argument) -> Argument:
        leaf = argument.leaf
        if not isinstance(leaf, TensorRecord) or argument.name.startswith("parameters"):
            return argument
        return Argument(argument.name, msgspec.structs.replace(leaf, sketch=None, waves=None, md5=None))

    return call.mapped(told)
