"""Experts of which modules alone were recorded, found by their weights.

At level L0 no exchange of tokens says where the experts of a rank are, and the same expert has one name on a rank that
holds it alone and another beside all others.  Its weights are the same on both sides: what ranks hold otherwise under
one name, or some of them alone, and the other side under other names, are experts.  Those of all ranks are laid one
behind the other on every rank, each under the name that the bench has for the same weights, and their parameters in
the optimizer likewise.  Tokens may come in any order: of what has a row for each, the sketch is left out.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
Place: TypeAlias = "tuple[int, str]"
"""A rank, and the path of a module there."""

_CLEARLY = 0.5
"""Share of the distance of the next nearest weights up to which the nearest are taken to be the same, as they are
before and after a step."""

_ROWS = 512
"""Weights that are held against all others at a time."""


@dataclass(frozen=True, slots=True)
class _Expert:
    """One expert as a side holds it: where it is, and how it is called on both sides: under a path, as one of several
    there by `number`."""

    rank: int
    root: str
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
        self.orders.update({(expert.rank, expert.root): order for order, expert in enumerate(self.experts)})
        self.held.update({rank: (dump, dict(self._parameters(rank))) for rank, dump in self.side.items()})

    def _parameters(self, rank: int) -> Iterator[tuple[int, str]]:
        for call in self.side[rank].calls:
            known = parse(call.name)
            order = self.of(rank, known.path) if known.direction == FORWARD and known.is_module else None
            for argument in call.parameters if order is not None else ():
                if isinstance(argument.leaf, TensorRecord) and argument.leaf.value is not None:
                    expert = self.experts[order or 0]
                    name = expert.path + known.path[len(expert.root) :] + argument.name.removeprefix("parameters")
                    yield argument.leaf.value, f"{name}@{expert.number}" if expert.number else name

    def of(self, rank: int, path: str) -> int | None:
        """The number of the expert that a module is part of."""
        parts = path.split(".")
        above = (".".join(parts[:number]) for number in range(1, len(parts) + 1))
        return next((self.orders[rank, each] for each in above if (rank, each) in self.orders), None)

    def called(self, rank: int, name: str) -> str:
        """The name of a call, or of one that another lies in."""
        known = parse(name)
        found = self.of(rank, known.path) if known.is_module else None
        if found is None:
            return name
        expert = self.experts[found]
        path = expert.path + known.path[len(expert.root) :]
        return str(replace(known, path=path, number=known.number + expert.number * self.calls))


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
        (mine, their) for mine, their in _same_weights(held[0], held[1]) if mine[1] in dealt[0] or their[1] in dealt[1]
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


def _same_weights(npu: Paths, bench: Paths) -> list[tuple[Place, Place]]:
    """Where the two sides hold the same weights, as far as these are nowhere else."""
    sides = [_by_kind(own) for own in (npu, bench)]
    found = []
    for kind, mine in sides[0].items():
        their = sides[1].get(kind, [])
        if not their:
            continue
        one, two = (np.stack([vector for _, vector in each]) for each in (mine, their))
        nearest, back = _nearest(one, two), _nearest(two, one)
        found += [(mine[i][0], their[j][0]) for i, j in enumerate(nearest) if j >= 0 and back[j] == i]
    return found


def _by_kind(own: Paths) -> dict[tuple[str, tuple[int, ...]], list[tuple[Place, npt.NDArray[np.float64]]]]:
    """What one rank alone holds, by name and shape."""
    every = [
        (path, rank, name, weight)
        for path, ranks in own.items()
        for rank, named in ranks.items()
        for name, weight in named.items()
    ]
    held = Counter(weight.sketch for *_, weight in every)
    found = defaultdict(list)
    for path, rank, name, weight in every:
        if weight.sketch is not None and held[weight.sketch] == 1:
            found[name, weight.shape].append(((rank, path), sketch_vector(weight.sketch)))
    return found


def _nearest(ours: npt.NDArray[np.float64], theirs: npt.NDArray[np.float64]) -> list[int]:
    """Which of `theirs` each of ours is, -1 where none is much nearer than all others, or than nothing."""
    found: list[int] = []
    sizes = np.square(theirs).sum(axis=1)
    for start in range(0, len(ours), _ROWS):
        rows = ours[start : start + _ROWS]
        own = np.square(rows).sum(axis=1)
        apart = np.maximum(own[:, None] + sizes - 2 * rows @ theirs.T, 0.0)
        best = apart.argmin(axis=1)
        least = apart[np.arange(len(rows)), best]
        apart[np.arange(len(rows)), best] = own
        is_clear = least <= _CLEARLY**2 * apart.min(axis=1)
        found += np.where(is_clear, best, -1).tolist()
    return found


def _paired(
    pairs: Sequence[tuple[Place, Place]], sides: tuple[Side, Side]
) -> tuple[list[_Expert], list[_Expert]] | None:
    """The experts of both sides, each pair in the same place; None where there are none, or not one for one."""
    roots = _roots(pairs, sides)
    places: dict[Place, Place] = {}
    for (rank, path), (other, theirs) in pairs:
        if path in roots[0] and theirs in roots[1]:
            mine, their = (rank, roots[0][path]), (other, roots[1][theirs])
            if places.setdefault(mine, their) != their:
                return None
    found = set(places), set(places.values())
    everywhere = [
        {(r, root) for root in set(known.values()) for r in _ranks_of(side)[root]}
        for known, side in zip(roots, sides, strict=True)
    ]
    if not places or len(found[1]) < len(places) or list(found) != everywhere:
        return None
    count: dict[str, int] = defaultdict(int)
    experts: tuple[list[_Expert], list[_Expert]] = ([], [])
    for their, mine in sorted((their, mine) for mine, their in places.items()):
        number = count[their[1]]
        count[their[1]] += 1
        experts[0].append(_Expert(*mine, their[1], number))
        experts[1].append(_Expert(*their, their[1], number))
    return experts


def _roots(pairs: Sequence[tuple[Place, Place]], sides: tuple[Side, Side]) -> tuple[dict[str, str], dict[str, str]]:
    """The experts that modules are part of, by path on either side: what is left of paths that go by other names on the
    other side without what they have in common at their end; of a path that is the same, the outermost module that the
    same ranks alone call."""
    groups: dict[tuple[int, str], set[tuple[int, str]]] = {}
    for (_, path), (_, other) in pairs:
        group = groups.setdefault((0, path), {(0, path)}) | groups.setdefault((1, other), {(1, other)})
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


def _parted(laid: _Laid, rank: int) -> tuple[list[CallRecord], dict[int, list[tuple[int, CallRecord]]]]:
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
    """None where ranks make other calls outside of experts; with what optimizers do to these where they are `updated`
    alike on both sides."""
    parts = {rank: _parted(laid, rank) for rank in laid.side}
    if len({tuple(call.name for call in outside) for outside, _ in parts.values()}) > 1:
        return None
    ranks: dict[str, int] = {}
    recorded: dict[str, str] = {}
    dumps = {}
    for rank, (outside, _) in parts.items():
        ordered: list[tuple[int, CallRecord]] = []
        for place in range(len(outside) + 1):
            experts = [(order, r, call) for r, (_, inside) in parts.items() for order, call in inside.get(place, ())]
            ordered += [(whose, call) for _, whose, call in sorted(experts, key=lambda each: each[0])]
            ordered += [(rank, call) for call in outside[place : place + 1]]
        calls, owners, stacks = [], {}, {}
        for index, (whose, call) in enumerate(ordered):
            dump, name = laid.side[whose], laid.called(whose, call.name)
            is_expert = laid.of(whose, parse(call.name).path) is not None
            told = _without_order(call) if is_expert else without(call, laid.held[rank][1])
            told = renamed(told, name, index, (whose, dump), {})
            calls.append(with_experts(told, laid.held) if updated else told)
            owner = dump.owners.get(call.name)
            owners[name] = laid.called(whose, owner) if owner is not None else None
            if call.name in dump.stacks:
                stacks[name] = dump.stacks[call.name]
            if is_expert:
                ranks[name], recorded[name] = whose, call.name
        dumps[rank] = replace(laid.side[rank], calls=tuple(calls), owners=owners, stacks=stacks)
    of_parameters = {name: rank for rank, (_, named) in laid.held.items() for name in named.values()}
    return Unrolled(dumps, ranks, recorded, of_parameters if updated else {})


def _without_order(call: CallRecord) -> CallRecord:
    """A call of an expert whose tensors have a row for each token, in any order."""

    def told(argument: Argument) -> Argument:
        leaf = argument.leaf
        if not isinstance(leaf, TensorRecord) or argument.name.startswith("parameters"):
            return argument
        return Argument(argument.name, msgspec.structs.replace(leaf, sketch=None, waves=None, md5=None))

    return call.mapped(told)
