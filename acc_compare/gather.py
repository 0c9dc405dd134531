"""The dumps of several nodes in one folder: each node records its ranks on a disk of its own.

A rank's folder appears under its name whole or not at all, and what is there already is left as it is, so that a
gathering that was broken off is begun again by the same command.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dump.format.errors import IncomparableError, OutputError
from dump.format.layout import DumpLocation, find_dumps
from dump.format.paths import from_home
from dump.format.reader import header_of, parts_of
from dump.format.remote import RemotePath

_BLOCK = 1 << 22
_UNFINISHED = ".unfinished"


@dataclass(frozen=True, slots=True)
class GatheredStep:
    """The ranks that a step has in the folder now, and those of its job that it lacks."""

    step: int | None
    ranks: tuple[int, ...]
    missing: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Gathered:
    """What was copied, and what the folder holds."""

    dumps: int
    size: int
    steps: tuple[GatheredStep, ...]


def gather(sources: Sequence[Path], out: Path) -> Gathered:
    """Copy the dumps below `sources` into `out`/step<N>/rank<R>.

    Raises DumpNotFound, DumpCorrupt, OutputError, and IncomparableError where two sources hold another record of the
    same rank and step, or ranks of jobs of different sizes.
    """
    out = from_home(out)
    if isinstance(out, RemotePath):
        raise OutputError(f"{out}: dumps are gathered on a disk. Give a folder of this machine.")
    places: dict[Path, DumpLocation] = {}
    for location in (found for source in sources for found in find_dumps(source)):
        target = out / f"step{location.step or 0}" / _leaf(location)
        other = places.setdefault(target, location)
        if other is not location and not _are_equal(other.path, location.path):
            raise IncomparableError(f"{other.path} and {location.path} are two records of the same rank and step.")
    copied = size = 0
    for target, location in places.items():
        if target.exists() and target.resolve() == location.path.resolve():
            continue
        if target.exists():
            if not _are_equal(target, location.path):
                raise IncomparableError(f"{target} is another record of the rank and step in {location.path}.")
            continue
        copied += 1
        size += _copied_whole(location.path, target)
    return Gathered(copied, size, _steps(out))


def _leaf(location: DumpLocation) -> str:
    if location.rank is not None:
        return f"rank{location.rank}"
    return "rank" if location.pid is None else f"proc{location.pid}"


def _copied_whole(source: Path, target: Path) -> int:
    """The bytes that were copied."""
    draft = target.with_name(f".{target.name}{_UNFINISHED}")
    try:
        shutil.rmtree(draft, ignore_errors=True)
        size = 0
        for file, name in _files(source):
            place = draft / name
            place.parent.mkdir(parents=True, exist_ok=True)
            with file.open("rb") as read, place.open("wb") as written:
                shutil.copyfileobj(read, written, _BLOCK)
                size += written.tell()
        os.replace(draft, target)
    except OSError as error:
        shutil.rmtree(draft, ignore_errors=True)
        raise OutputError(f"{target}: {source} cannot be copied there ({error}).") from error
    return size


def _files(folder: Path) -> Iterator[tuple[Path, str]]:
    """The regular files of one dump, and their names in it; links are not followed out of it."""
    for child in sorted(folder.iterdir()) if folder.is_dir() else [folder]:
        if child.is_symlink():
            continue
        if child.is_dir():
            yield from ((file, f"{child.name}/{name}") for file, name in _files(child))
        elif child.is_file():
            yield child, child.name


def _are_equal(one: Path, two: Path) -> bool:
    """Do two folders hold files of the same names and bytes?"""
    ours, theirs = ({name: file for file, name in _files(side)} for side in (one, two))
    return ours.keys() == theirs.keys() and all(_same_bytes(ours[name], theirs[name]) for name in ours)


def _same_bytes(one: Path, two: Path) -> bool:
    with one.open("rb") as ours, two.open("rb") as theirs:
        while True:
            parts = ours.read(_BLOCK), theirs.read(_BLOCK)
            if parts[0] != parts[1]:
                return False
            if not parts[0]:
                return True


def _steps(out: Path) -> tuple[GatheredStep, ...]:
    """Raises IncomparableError where a step holds ranks of several jobs."""
    found: dict[int | None, list[DumpLocation]] = {}
    for location in find_dumps(out):
        found.setdefault(location.step, []).append(location)
    steps = []
    for step, locations in found.items():
        sizes = {location.path: _world_size(location.path) for location in locations}
        known = sorted({size for size in sizes.values() if size is not None})
        if len(known) > 1:
            raise IncomparableError(f"{out}: step {step} holds ranks of a job of {known[0]} and of one of {known[-1]}.")
        ranks = tuple(sorted(location.rank for location in locations if location.rank is not None))
        missing = tuple(sorted(set(range(known[0] if known else 0)) - set(ranks)))
        steps.append(GatheredStep(step, ranks, missing))
    return tuple(steps)


def _world_size(path: Path) -> int | None:
    source, parts = parts_of(path)
    return header_of(parts.header, source).world_size
