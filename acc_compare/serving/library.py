"""The runs below a folder, and the state of each: it changes whenever a dump of it is written to."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from dump.format.errors import DumpError, DumpNotFound
from dump.format.layout import DEBUG_FILE, DUMP_FILE, DumpLocation, find_dumps, holds_dump

DEEPEST = 4
"""Folders below the root in which runs are looked for."""

MOST_FOLDERS = 5_000
MOST_RUNS = 200


@dataclass(frozen=True, slots=True)
class Run:
    """One dump folder: its path below the root, and the steps and ranks that it has now.  `key` names it in
    addresses."""

    name: str
    path: Path
    locations: tuple[DumpLocation, ...]

    @property
    def key(self) -> str:
        return hashlib.sha256(self.name.encode("utf-8", "surrogateescape")).hexdigest()[:12]

    @property
    def state(self) -> str:
        return state_of(self.locations)


def runs(root: Path) -> list[Run]:
    """The runs at or below `root`, by name.  Raises DumpNotFound where `root` is no folder."""
    if not root.is_dir():
        raise DumpNotFound(f"{root}: no such folder. Give a folder of dumps.")
    found = []
    for folder in _folders(root):
        try:
            locations = find_dumps(folder)
        except DumpError:
            continue
        name = folder.relative_to(root).as_posix()
        found.append(Run(root.resolve().name if name == "." else name, folder, locations))
        if len(found) == MOST_RUNS:
            break
    return sorted(found, key=lambda run: run.name)


def state_of(locations: Iterable[DumpLocation]) -> str:
    """A digest of the size and the time of every file of records."""
    told = hashlib.sha256()
    for location in locations:
        for name in (DUMP_FILE, DEBUG_FILE):
            file = location.path / name if location.path.is_dir() else location.path
            try:
                status = file.stat()
            except OSError:
                continue
            told.update(f"{file}\0{status.st_size}\0{status.st_mtime_ns}\n".encode("utf-8", "surrogateescape"))
    return told.hexdigest()[:16]


def _folders(root: Path) -> Iterator[Path]:
    """Folders that look like a run; nothing is looked for inside of one, and links are not followed."""
    left, seen = [(root, 0)], 0
    while left and seen < MOST_FOLDERS:
        folder, depth = left.pop()
        seen += 1
        try:
            with os.scandir(folder) as entries:
                inside = sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
        except OSError:
            continue
        if holds_dump(folder) or any(name.startswith("step") and name[4:].isdigit() for name in inside):
            yield folder
        elif depth < DEEPEST:
            left.extend((folder / name, depth + 1) for name in reversed(inside))
