"""Which files a monitored run left: folders by rank, csv files by kind.  Written by TrainerMon or by msprobe's."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from dump.format.errors import DumpNotFound
from dump.format.monitor_files import META_FILE, MONTHS, RUN_FOLDER, STEP_FILE
from dump.format.paths import from_home

_LONGEST_META = 1 << 20


@dataclass(frozen=True, slots=True)
class StepFile:
    """One csv: the kind of its rows, and the steps that its name gives it."""

    path: Path
    kind: str
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class RankFiles:
    """The files of one rank in the order in which a later row counts over an earlier one, and their folders."""

    rank: int
    folders: tuple[Path, ...]
    files: tuple[StepFile, ...]

    def of_kind(self, kind: str) -> tuple[StepFile, ...]:
        return tuple(file for file in self.files if file.kind == kind)

    @property
    def kinds(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(file.kind for file in self.files))


@dataclass(frozen=True, slots=True)
class MonitoredRun:
    """One run: its ranks, and what was said about folders that were left out."""

    path: Path
    ranks: tuple[RankFiles, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Start:
    began: tuple[int, ...]
    rank: int
    path: Path
    files: tuple[StepFile, ...]


def open_run(path: Path) -> MonitoredRun:
    """The run in `path`: a monitor_output folder, or one of the rank folders in it.

    Where a rank was started several times, the last start counts, and before it those that it went on from: a start
    whose first step is not the first of all continues an earlier one.

    Raises:
        DumpNotFound: there is no such folder, or no csv file of a monitor in it.
    """
    path = from_home(path)
    if not path.is_dir():
        raise DumpNotFound(f"{path}: expected a folder that a monitor wrote, found {_what(path)}.")
    own = tuple(_files(path))
    if own:
        return MonitoredRun(
            path, (RankFiles(_rank_of(path.resolve().name), (path,), own),), _simulated(path, folders=(path,))
        )
    starts = sorted(_starts(path), key=lambda start: (start.began, start.path.name))
    ranks, left_out = [], []
    for rank in sorted({start.rank for start in starts}):
        of_rank = [start for start in starts if start.rank == rank]
        chain = _chain(of_rank)
        left_out += [start.path.name for start in of_rank if start not in chain]
        files = tuple(file for start in chain for file in start.files)
        ranks.append(RankFiles(rank, tuple(start.path for start in chain), files))
    if not ranks:
        raise DumpNotFound(
            f"{path}: expected csv files such as Nov22_13-26-22-rank0/grad_reduced_0-0.csv, found none."
            f"{_other_format(path)}"
        )
    notes: tuple[str, ...] = ()
    if left_out:
        shown = ", ".join(left_out[:3]) + (", ..." if len(left_out) > 3 else "")
        notes = (f"{path} holds earlier runs too, which are left out: {shown}. Give a rank folder to choose one.",)
    notes += _simulated(path, folders=[folder for rank in ranks for folder in rank.folders])
    return MonitoredRun(path, tuple(ranks), notes)


def _simulated(path: Path, *, folders: Iterable[Path]) -> tuple[str, ...]:
    """A note where any of `folders` is of a simulated NPU."""
    if any(_is_simulated(folder) for folder in folders):
        return (f"{path} is of a simulated NPU: CPU kernels, no hardware.",)
    return ()


def _is_simulated(folder: Path) -> bool:
    """Does the folder's monitor.json say so?  msprobe writes none; one that cannot be read says nothing."""
    path = folder / META_FILE
    try:
        if path.is_symlink() or path.stat().st_size > _LONGEST_META:
            return False
        name = json.loads(path.read_bytes()).get("device_name")
    except (OSError, ValueError, AttributeError, RecursionError):
        return False
    return isinstance(name, str) and "simulated" in name.lower()


def _what(path: Path) -> str:
    return "a file" if path.is_file() else "nothing there"


def _rank_of(name: str) -> int:
    match = RUN_FOLDER.fullmatch(name)
    return int(match[6]) if match else 0


def _starts(root: Path) -> Iterator[_Start]:
    for path in root.iterdir():
        match = RUN_FOLDER.fullmatch(path.name)
        if match is None or match[1] not in MONTHS or path.is_symlink() or not path.is_dir():
            continue
        files = tuple(_files(path))
        if files:
            day, hour, minute, second, rank = (int(part) for part in match.groups()[1:6])
            again = int(match[7]) if match[7] and match[7].isdigit() and len(match[7]) < 6 else 1
            yield _Start((MONTHS.index(match[1]), day, hour, minute, second, again), rank, path, files)


def _files(folder: Path) -> Iterator[StepFile]:
    """The csv files of a rank folder by kind and first step; links are left alone, they may lead anywhere."""
    found = []
    for path in folder.iterdir():
        match = STEP_FILE.fullmatch(path.name)
        if match is not None and path.is_file() and not path.is_symlink():
            found.append(StepFile(path, match[1], int(match[2]), int(match[3])))
    yield from sorted(found, key=lambda file: (file.kind, file.first, file.last))


def _chain(starts: list[_Start]) -> list[_Start]:
    """The last start and those that it goes on from, in the order of time."""
    chain = [starts[-1]]
    for start in reversed(starts[:-1]):
        if _first_step(chain[0]) <= _first_step(start):
            break
        chain.insert(0, start)
    return chain


def _first_step(start: _Start) -> int:
    return min(file.first for file in start.files)


def _other_format(path: Path) -> str:
    for pattern, name in (("*-rank*/*.parquet", "parquet"), ("*-rank*/**/events.out.tfevents*", "tensorboard")):
        if next(path.glob(pattern), None) is not None:
            return f' It holds {name} files; comparing reads csv ("format": "csv").'
    return ""
