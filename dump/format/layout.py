"""Which file lies where, and how the dumps below a path are found.

<root>/step<N>/{rank<R> | proc<PID>}/dump.json
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from dump.format.errors import DumpNotFound
from dump.format.monitor_files import RUN_FOLDER
from dump.format.paths import from_home

DUMP_FILE = "dump.json"
DEBUG_FILE = "debug.json"
"""What msprobe writes at level debug in place of dump.json (`debug_file`)."""

STACK_FILE = "stack.json"
STACK_JOURNAL = "stack.partial.jsonl"
CONSTRUCT_FILE = "construct.json"
TENSOR_FOLDER = "dump_tensor_data"

_STEP = re.compile(r"step(\d{1,18})", re.ASCII)
_RANK = re.compile(r"rank(\d{0,18})", re.ASCII)
_PROC = re.compile(r"proc(\d{1,18})", re.ASCII)
_ENTRIES_SEARCHED_FOR_A_HINT = 200


@dataclass(frozen=True, slots=True)
class DumpLocation:
    """Where one process's record of one step lies.

    `path` is the folder that holds `dump.json`, or the file itself where the user named one of another name.
    `step`, `rank` and `pid` are read off the folder names; None where those do not say.
    """

    path: Path
    step: int | None = None
    rank: int | None = None
    pid: int | None = None


def rank_folder(root: Path, *, step: int, rank: int | None, pid: int) -> Path:
    """The folder for one step of one process: `rank<R>` when the rank is known, else `proc<PID>`."""
    leaf = f"proc{pid}" if rank is None else f"rank{rank}"
    return root / f"step{step}" / leaf


def find_dumps(path: Path) -> tuple[DumpLocation, ...]:
    """The dumps at `path`, sorted by step, then rank, then process.

    `path` is a dump root, a step folder, a rank folder, a `dump.json`, or a JSON file of another name.
    Raises DumpNotFound where there is none, with what was found instead.
    """
    path = from_home(path)
    try:
        if not path.exists():
            raise DumpNotFound(f"{path}: no such file or folder. Give a dump folder or a {DUMP_FILE}.")
        found = _at_folder(path) if path.is_dir() else [_at_file(path)]
        if not found:
            raise DumpNotFound(_nothing_at(path))
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in the path
        raise DumpNotFound(f"{path}: cannot be looked at ({error}). Check its permissions.") from error
    return tuple(sorted(found, key=_order))


def _at_file(path: Path) -> DumpLocation:
    if path.suffix.lower() != ".json":
        raise DumpNotFound(f"{path}: expected a {DUMP_FILE} or a dump folder, found a file of another kind.")
    return _located(path.parent if path.name == DUMP_FILE else path)


def holds_dump(folder: Path) -> bool:
    """Does the folder hold what `reader.read_dump` reads?"""
    return (folder / DUMP_FILE).is_file() or (folder / DEBUG_FILE).is_file()


def _at_folder(path: Path) -> list[DumpLocation]:
    if holds_dump(path):
        return [_located(path)]
    found = [_located(child) for child in _rank_folders(path)]
    for step in path.iterdir():
        if _STEP.fullmatch(step.name) and step.is_dir():
            found += [_located(child) for child in _rank_folders(step)]
            if holds_dump(step):
                found.append(_located(step))
    return found


def _rank_folders(path: Path) -> list[Path]:
    return [
        child
        for child in path.iterdir()
        if (_RANK.fullmatch(child.name) or _PROC.fullmatch(child.name)) and holds_dump(child)
    ]


def _located(path: Path) -> DumpLocation:
    """`path` with the numbers that the nearest folder names of each kind give."""
    numbers: dict[str, int | None] = {"step": None, "rank": None, "pid": None}
    for name in reversed(Path(os.path.abspath(path)).parts[-3:]):
        for key, pattern in (("step", _STEP), ("rank", _RANK), ("pid", _PROC)):
            match = pattern.fullmatch(name)
            if match and match[1] and numbers[key] is None:
                numbers[key] = int(match[1])
    return DumpLocation(path, numbers["step"], numbers["rank"], numbers["pid"])


def _order(location: DumpLocation) -> tuple[int, int, int, str]:
    unknown = -1
    return (
        unknown if location.step is None else location.step,
        unknown if location.rank is None else location.rank,
        unknown if location.pid is None else location.pid,
        str(location.path),
    )


def _nothing_at(path: Path) -> str:
    """Why a folder holds no dump that can be read, and where one may lie."""
    for child in islice(sorted(path.iterdir()), _ENTRIES_SEARCHED_FOR_A_HINT):
        if child.is_dir() and any(child.glob(f"step*/*/{DUMP_FILE}")):
            return f"{path}: holds no step folder with a {DUMP_FILE}, but {child} does. Give that folder."
    if not any(path.iterdir()):
        return f"{path}: the folder is empty. Expected step<N>/rank<R>/{DUMP_FILE} below it."
    if any(RUN_FOLDER.fullmatch(name) for name in (path.name, *(child.name for child in path.iterdir()))):
        return f"{path}: holds a monitored run, and no dump. acc monitor compare and acc monitor show read those."
    return f"{path}: holds no dump. Expected {DUMP_FILE} in it, or step<N>/rank<R>/{DUMP_FILE} below it."
