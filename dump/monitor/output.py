"""Where a run's files go: the folder's name, its monitor.json, and the folder of an earlier run to go on in."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ..format.errors import OutputError
from ..format.monitor_files import MONTHS, RUN_FOLDER, STAMP
from ..format.paths import from_here

OUTPUT_VARIABLE = "MONITOR_OUTPUT_DIR"
DEFAULT_OUTPUT = "./monitor_output"

Stamp = tuple[int, int, int, int, int]


@dataclass(frozen=True, slots=True)
class RunFolder:
    """A folder that a monitored run has written: when it began (month, day, hour, minute, second), and its rank."""

    path: Path
    began: Stamp
    rank: int


def output_root() -> Path:
    """$MONITOR_OUTPUT_DIR, or ./monitor_output, of the present working folder, which a script may leave."""
    return from_here(os.environ.get(OUTPUT_VARIABLE) or DEFAULT_OUTPUT)


def timestamp(moment: datetime) -> str:
    """`Nov22_13-26-22`, with English months whatever the locale."""
    return f"{MONTHS[moment.month - 1]}{moment:%d_%H-%M-%S}"


def read_timestamp(text: str) -> Stamp | None:
    """Month, day, hour, minute and second of a timestamp, to order by; None where it is none."""
    match = re.fullmatch(STAMP, text, re.ASCII)
    if match is None or match[1] not in MONTHS:
        return None
    day, hour, minute, second = (int(part) for part in match.groups()[1:])
    return (MONTHS.index(match[1]) + 1, day, hour, minute, second)


def find_runs(root: Path, first: str | None = None, last: str | None = None) -> list[RunFolder]:
    """The run folders below `root` that began between two timestamps, both included, in order of time and rank."""
    begin = read_timestamp(first) if first else None
    end = read_timestamp(last) if last else None
    found = []
    for path in root.iterdir() if root.is_dir() else ():
        match = RUN_FOLDER.fullmatch(path.name)
        began = read_timestamp(path.name.partition("-rank")[0]) if match else None
        if match is None or began is None or not path.is_dir():
            continue
        if (begin is None or began >= begin) and (end is None or began <= end):
            found.append(RunFolder(path, began, int(match[6])))
    return sorted(found, key=lambda run: (run.began, run.rank, run.path.name))


def make_folder(root: Path, rank: int, *, append: tuple[str, ...] = ()) -> Path:
    """A new folder for this run, or with `append` (two timestamps) the last one of this rank from between them.

    Raises OutputError where none can be made.
    """
    if append:
        earlier = [run for run in find_runs(root, *append) if run.rank == rank]
        if earlier:
            return earlier[-1].path
    name = f"{timestamp(datetime.now())}-rank{rank}"
    number = 1
    while True:
        folder = root / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError as error:
            if not folder.exists():  # a file stands where a parent folder should
                raise OutputError(f"{root}: cannot be made ({error.strerror}). Set {OUTPUT_VARIABLE}.") from error
            number += 1
        except OSError as error:
            raise OutputError(f"{folder}: cannot be made ({error.strerror}). Set {OUTPUT_VARIABLE}.") from error


def write_json(path: Path, content: Mapping[str, object], *, indent: int | None = None) -> None:
    """Write a whole file, so that a reader sees the old or the new one.  Raises OutputError."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps(content, indent=indent, ensure_ascii=False) + "\n", encoding="utf-8")
        os.replace(partial, path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror}).") from error
