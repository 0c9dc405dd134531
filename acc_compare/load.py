"""Open both sides and pair their steps and ranks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from acc_compare.messages import Message, Value, listed, say
from dump.format.errors import IncomparableError
from dump.format.layout import DumpLocation, find_dumps
from dump.format.schema import Dump, Mode


@dataclass(frozen=True, slots=True)
class PlacedPair:
    """Two dumps of the same step and rank.  Processes that know no rank are numbered where a step has several."""

    npu: DumpLocation
    bench: DumpLocation
    rank: int | None = None

    @property
    def step(self) -> int | None:
        return self.npu.step


@dataclass(frozen=True, slots=True)
class PlacedWorlds:
    """One step of two jobs of different numbers of ranks: the dumps of either side by rank."""

    npu: Mapping[int, DumpLocation]
    bench: Mapping[int, DumpLocation]
    step: int | None = None


def pair_worlds(npu: Path, bench: Path, *, as_many: bool = False) -> tuple[PlacedWorlds, ...]:
    """The steps that two jobs share, where one ran on more ranks than the other, or with `as_many` both on as many;
    none where it is the other way round, or a side does not know its ranks.  Raises DumpNotFound."""
    sides = [_by_step(find_dumps(side)) for side in (npu, bench)]
    sizes = [max((len(ranks) for ranks in side.values()), default=0) for side in sides]
    if (sizes[0] == sizes[1]) != as_many or any(
        rank is None for side in sides for ranks in side.values() for rank in ranks
    ):
        return ()
    return tuple(
        PlacedWorlds(_known(sides[0][step]), _known(sides[1][step]), step) for step in sides[0] if step in sides[1]
    )


def _by_step(side: Sequence[DumpLocation]) -> dict[int | None, dict[int | None, DumpLocation]]:
    """A process that is alone in its step and knows no rank is the only rank of its job."""
    found: dict[int | None, dict[int | None, DumpLocation]] = {}
    for location in side:
        found.setdefault(location.step, {})[location.rank] = location
    return {step: {0: ranks[None]} if ranks.keys() == {None} else ranks for step, ranks in found.items()}


def _known(ranks: Mapping[int | None, DumpLocation]) -> dict[int, DumpLocation]:
    return {rank: location for rank, location in ranks.items() if rank is not None}


def pair_locations(npu: Path, bench: Path) -> tuple[tuple[PlacedPair, ...], tuple[Message, ...]]:
    """The pairs below two paths, and messages about what has no partner.

    A single dump is compared with a single dump whatever their steps.  Raises DumpNotFound, and IncomparableError
    where no step or rank is on both sides or the numbers of ranks differ.
    """
    ours, theirs = find_dumps(npu), find_dumps(bench)
    itself = (say("note.itself"),) if {at.path.resolve() for at in ours} & {at.path.resolve() for at in theirs} else ()
    if len(ours) == 1 and len(theirs) == 1:
        return (PlacedPair(ours[0], theirs[0], ours[0].rank),), itself
    by_place = {_place(location, theirs): location for location in theirs}
    pairs, notes = [], list(itself)
    ranks = [len({_place(location, side)[1] for location in side}) for side in (ours, theirs)]
    for location in ours:
        place = _place(location, ours)
        partner = by_place.pop(place, None)
        if partner is None:
            notes.append(say("note.npu_only", place=_place_of(location)))
        else:
            known = location.rank is not None or ranks[0] > 1
            pairs.append(PlacedPair(location, partner, place[1] if known else None))
    notes += [say("note.bench_only", place=_place_of(location)) for location in by_place.values()]
    if ranks[0] != ranks[1]:
        raise IncomparableError(
            f"{npu} holds {ranks[0]} ranks, {bench} holds {ranks[1]}. Compare one rank with one rank by giving their"
            " folders, or record both sides with the same number of ranks."
        )
    if not pairs:
        raise IncomparableError(
            f"{npu} and {bench} have no step in common ({_steps(ours)} against {_steps(theirs)}). Give one dump folder"
            " of each side to compare them all the same."
        )
    return tuple(pairs), tuple(notes)


def _place(location: DumpLocation, side: Sequence[DumpLocation]) -> tuple[int | None, int]:
    """(step, rank); processes that know no rank are numbered in the order of their ids within their step."""
    if location.rank is not None:
        return (location.step, location.rank)
    same = sorted(other.pid or 0 for other in side if other.step == location.step and other.rank is None)
    return (location.step, same.index(location.pid or 0))


def _place_of(location: DumpLocation) -> Value:
    known = (("step", location.step), ("rank", location.rank), ("process", location.pid))
    places = [say(f"place.{name}", number=number) for name, number in known if number is not None]
    return listed(places) if places else str(location.path)


def _steps(side: Sequence[DumpLocation]) -> str:
    steps = sorted({location.step for location in side if location.step is not None})
    return f"steps {steps[0]} to {steps[-1]}" if len(steps) > 1 else f"step {steps[0]}" if steps else "no step"


def is_other_world(npu: Dump, bench: Dump) -> bool:
    """Do both sides know how many ranks ran, and was it not the same number?"""
    ours, theirs = npu.header.world_size, bench.header.world_size
    return ours is not None and theirs is not None and ours != theirs


def refuse_other_world(npu: Dump, bench: Dump) -> None:
    """Raise IncomparableError where both sides know how many ranks ran, and it is not the same number: then each rank
    had other data, or another part of the model."""
    ours, theirs = npu.header.world_size, bench.header.world_size
    if is_other_world(npu, bench):
        raise IncomparableError(
            f"{npu.path} was recorded by one of {ours} ranks, {bench.path} by one of {theirs}: ranks of the same number"
            " had other data. Record both sides with the same number of ranks, or compare one rank with one rank by"
            " giving their folders."
        )


def mode_of(npu: Dump, bench: Dump) -> Mode:
    """The one mode of both dumps.  Raises IncomparableError where they differ, or where their digests or
    sketches are of different kinds."""
    if npu.mode != bench.mode:
        raise IncomparableError(
            f"{npu.path} was recorded as {_words(npu)}, {bench.path} as {_words(bench)}. Record both sides"
            " with the same task and summary mode."
        )
    if npu.mode == "md5" and npu.header.hash != bench.header.hash:
        raise IncomparableError(
            f"{npu.path} holds {npu.header.hash} digests, {bench.path} holds {bench.header.hash}: they cannot be"
            ' compared. Record one side again with "hash" set to the other\'s in config.json.'
        )
    sketches = (npu.header.sketch, bench.header.sketch)
    if npu.mode == "statistics" and None not in sketches and sketches[0] != sketches[1]:
        raise IncomparableError(
            f"{npu.path} holds sketches of version {sketches[0]}, {bench.path} of version {sketches[1]}: their signs"
            " are not the same. Record both sides with one version of this package."
        )
    return npu.mode


def _words(dump: Dump) -> str:
    return {"tensor": "task tensor", "md5": "MD5", "statistics": "statistics"}[dump.mode]
