"""The csv files that monitored runs have left, ours and msprobe's, for those that turn them into something else."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from ..format.errors import ConfigError, DumpNotFound
from ..format.monitor_files import KINDS, NAME, STEP, STEP_FILE
from .output import RunFolder, find_runs, read_timestamp

KIND_NAMES = tuple(kind.name for kind in KINDS)


def runs_between(root: Path, first: str | None, last: str | None) -> list[RunFolder]:
    """The runs below `root` that began between two timestamps.

    Raises ConfigError for what is no timestamp, DumpNotFound where there is no run.
    """
    for stamp in (first, last):
        if stamp is not None and read_timestamp(stamp) is None:
            raise ConfigError(f"expected a timestamp such as Dec03_21-34-40, found '{stamp}'.")
    runs = find_runs(root, first, last)
    if not runs:
        raise DumpNotFound(f"{root}: no monitored run here (folders such as Nov22_13-26-22-rank0). Name their parent.")
    return runs


def files_of(run: RunFolder, kind: str) -> list[tuple[int, int, Path]]:
    """The files of one kind with their first and last steps, in order."""
    found = []
    for path in run.path.glob(f"{kind}_*.csv"):
        match = STEP_FILE.fullmatch(path.name)
        if match is not None and path.name == f"{kind}_{match[2]}-{match[3]}.csv":
            found.append((int(match[2]), int(match[3]), path))
    return sorted(found)


def lines_of(path: Path) -> Iterator[list[str]]:
    """The header and the rows; a last line without an end, of a run that was killed, is passed over.

    Raises ConfigError where it is no file of a monitored run.
    """
    with path.open(encoding="utf-8", newline="") as file:
        lines = csv.reader(line for line in file if line.endswith("\n"))
        header = next(lines, [])
        if NAME not in header or STEP not in header:
            raise ConfigError(f"{path}: is not a file of a monitored run (no columns name and step).")
        yield header
        yield from (cells for cells in lines if len(cells) == len(header))


def number(text: str) -> float | None:
    """What a cell holds, if it is a number."""
    try:
        return float(text)
    except ValueError:
        return None
