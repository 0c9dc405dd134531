"""The csv files of monitored runs as TensorBoard events: `python -m dump.monitor csv2tb monitor_output`."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from ..config_keys import nearest
from ..format.errors import ConfigError, OutputError
from ..format.monitor_files import MICRO_STEP, NAME, NOT_NUMBERS, STAGE, STEP
from ..format.paths import from_home
from .output import RunFolder, timestamp
from .writers.tensorboard import EventFile
from .written import KIND_NAMES, files_of, lines_of, number, runs_between

Progress = Callable[[RunFolder, str], None]


def csv2tensorboard_by_step(
    monitor_path: str | Path,
    time_start: str | None = None,
    time_end: str | None = None,
    process_num: int = 1,
    data_type_list: Sequence[str] | None = None,
    output_dirpath: str | Path | None = None,
) -> Path:
    """Turn every run below `monitor_path` that began between two timestamps into `rank{n}/{kind}` event folders.

    Returns the folder that holds them, a new `{now}-csv2tensorboard_by_step` unless one is named.  A scalar's tag is
    `vp{stage}:{name}/{op}`, with `:micro{n}` after the name where there are micro steps.  Raises ConfigError,
    DumpNotFound where there is no run, OutputError where the target folder holds something.
    """
    root = from_home(monitor_path)
    kinds = list(data_type_list or KIND_NAMES)
    for kind in kinds:
        if kind not in KIND_NAMES:
            raise ConfigError(f"'{kind}' is no kind of file.{nearest(kind, KIND_NAMES)}")
    if process_num < 1:
        raise ConfigError(f"expected at least one process, found {process_num}.")
    runs = runs_between(root, time_start, time_end)
    name = f"{timestamp(datetime.now())}-csv2tensorboard_by_step"
    target = from_home(output_dirpath) if output_dirpath is not None else root / name
    if target.exists() and any(target.iterdir()):
        raise OutputError(f"{target}: is not empty. Name another folder, or move it away.")
    work = [(run, target / _folder_name(run, runs), kinds) for run in runs]
    if process_num == 1 or len(work) == 1:
        for item in work:
            _convert(*item)
    else:
        with multiprocessing.get_context("spawn").Pool(min(process_num, len(work))) as pool:
            pool.starmap(_convert, work)
    return target


def _folder_name(run: RunFolder, runs: Sequence[RunFolder]) -> str:
    """`rank0`; where a rank was started more than once, `rank0-Nov22_13-26-22`."""
    alone = sum(other.rank == run.rank for other in runs) == 1
    return f"rank{run.rank}" if alone else f"rank{run.rank}-{run.path.name}"


def _convert(run: RunFolder, target: Path, kinds: Sequence[str]) -> None:
    for kind in kinds:
        files = files_of(run, kind)
        if not files:
            continue
        events = EventFile(target / kind)
        for _, _, path in files:
            _add(path, events)
        events.close()


def _add(path: Path, events: EventFile) -> None:
    """Every number of one file."""
    lines = lines_of(path)
    header = next(lines)
    ops = [(index, column) for index, column in enumerate(header) if column not in NOT_NUMBERS]
    stage, name, step = (header.index(column) for column in (STAGE, NAME, STEP))
    micro = header.index(MICRO_STEP) if MICRO_STEP in header else None
    for cells in lines:
        place = f"vp{cells[stage]}:{cells[name]}" + ("" if micro is None else f":micro{cells[micro]}")
        for index, op in ops:
            value = number(cells[index])
            if value is not None:
                events.scalar(f"{place}/{op}", value, int(cells[step]))
