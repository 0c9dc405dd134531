"""The csv files of monitored runs as a database of SQLite, by the tables that msprobe 8.3.3's `csv2db` makes.

monitoring_targets(target_id, target_name, vpp_stage, micro_step)    monitoring_metrics(metric_id, metric_name)
metric_stats(metric_id, stat_name)                                   global_stats(stat_name, stat_value)
metric_{metric_id}_step_{first}_{last}(rank, step, target_id, norm, min, ...)
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ..config_keys import nearest
from ..format.errors import ConfigError, OutputError
from ..format.monitor_files import MICRO_STEP, NAME, STAGE, STEP
from ..format.paths import from_home
from .output import RunFolder, timestamp
from .written import KIND_NAMES, files_of, lines_of, number, runs_between

DATABASE = "monitor_metrics.db"

_KINDS = (
    *("actv", "actv_grad", "exp_avg", "exp_avg_sq", "grad_unreduced", "grad_reduced"),
    *("param_origin", "param_updated", "other"),
)
_STATISTICS = ("norm", "min", "max", "zeros", "nans", "mean")
"""In the order of a table's columns."""

_FEWEST, _MOST = 10, 10_000_000
_DIMENSIONS = """
    create table monitoring_targets (target_id integer primary key autoincrement, target_name text not null,
        vpp_stage integer not null, micro_step integer not null default 0,
        unique (target_name, vpp_stage, micro_step));
    create table monitoring_metrics (metric_id integer primary key autoincrement, metric_name text unique not null);
    create table metric_stats (metric_id integer not null, stat_name text not null,
        primary key (metric_id, stat_name),
        foreign key (metric_id) references monitoring_metrics(metric_id)) without rowid;
    create table global_stats (stat_name text primary key, stat_value integer not null) without rowid;
"""

_Target = tuple[str, int, int]


@dataclass
class CSV2DBConfig:
    """What `csv2db` is asked for: the folder of the runs, the timestamps between which they began, kinds of files.

    The database lies in `output_dirpath`, a new `{now}-csv2db` beside the runs unless one is named; a table holds
    `step_partition` steps.  `process_num` has no effect.
    """

    monitor_path: str
    time_start: str | None = None
    time_end: str | None = None
    process_num: int = 1
    data_type_list: list[str] | None = None
    output_dirpath: str | None = None
    step_partition: int = 500


@dataclass(frozen=True, slots=True)
class _Kind:
    """One kind of file: its number and its statistics, and the files of each rank."""

    number: int
    name: str
    statistics: tuple[str, ...]
    files: tuple[tuple[int, Path], ...]


def csv2db(config: CSV2DBConfig) -> Path:
    """Write the database, in place of one that lies there; its path.  Where a rank has several runs the last counts.

    Raises ConfigError, DumpNotFound where there is no run, OutputError where it cannot be written.
    """
    _check(config)
    root = from_home(config.monitor_path)
    runs = {run.rank: run for run in runs_between(root, config.time_start, config.time_end)}
    name = f"{timestamp(datetime.now())}-csv2db"
    folder = from_home(config.output_dirpath) if config.output_dirpath is not None else root / name
    path = folder / DATABASE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        with closing(sqlite3.connect(path)) as database, database:
            _fill(database, list(runs.values()), config.data_type_list or _KINDS, config.step_partition)
    except (OSError, sqlite3.Error) as error:
        raise OutputError(f"{path}: cannot be written ({error}).") from error
    return path


def _check(config: CSV2DBConfig) -> None:
    for name, value, most in (
        ("process_num", config.process_num, 128),
        ("step_partition", config.step_partition, _MOST),
    ):
        least = _FEWEST if name == "step_partition" else 1
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise ConfigError(f"csv2db: {name}: expected a whole number from {least} to {most}, found {value!r}.")
    for kind in config.data_type_list or ():
        if kind not in KIND_NAMES:
            raise ConfigError(f"csv2db: '{kind}' is no kind of file.{nearest(str(kind), KIND_NAMES)}")


def _fill(database: sqlite3.Connection, runs: Sequence[RunFolder], kinds: Sequence[str], partition: int) -> None:
    database.executescript(_DIMENSIONS)
    found = [(name, [(run.rank, each) for run in runs for each in files_of(run, name)]) for name in kinds]
    present = [(name, files) for name, files in found if files]
    ends = [(first, last) for _, files in present for _, (first, last, _) in files]
    if not ends:
        raise ConfigError("csv2db: the runs have no file of these kinds.")
    first_step, last_step = min(first for first, _ in ends), max(last for _, last in ends)
    starts = range(first_step // partition * partition, last_step + 1, partition)
    facts = {
        "max_rank": max(run.rank for run in runs),
        "min_step": first_step,
        "max_step": last_step,
        "step_partition_size": partition,
    }
    database.executemany("insert into global_stats values (?, ?)", facts.items())
    targets: dict[_Target, int] = {}
    for number_, (name, files) in enumerate(present, start=1):
        places = tuple((rank, path) for rank, (_, _, path) in files)
        kind = _Kind(number_, name, _statistics(places), places)
        _make_tables(database, kind, starts, partition)
        for start in starts:
            rows = _rows(database, kind, targets, start, start + partition - 1)
            marks = ", ".join("?" * (3 + len(kind.statistics)))
            database.executemany(f"insert or replace into {_table(kind, start, partition)} values ({marks})", rows)


def _statistics(files: Sequence[tuple[int, Path]]) -> tuple[str, ...]:
    """Those that any of the files has."""
    heads = {column for _, path in files for column in next(lines_of(path))}
    return tuple(name for name in _STATISTICS if name in heads)


def _make_tables(database: sqlite3.Connection, kind: _Kind, starts: range, partition: int) -> None:
    database.execute("insert into monitoring_metrics values (?, ?)", (kind.number, kind.name))
    database.executemany("insert into metric_stats values (?, ?)", [(kind.number, name) for name in kind.statistics])
    columns = "".join(f"{name} real default NULL, " for name in kind.statistics)
    for start in starts:
        database.execute(
            f"create table {_table(kind, start, partition)} (rank integer not null,"
            f" step integer not null check (step between {start} and {start + partition - 1}),"
            f" target_id integer not null, {columns}primary key (rank, step, target_id),"
            " foreign key (target_id) references monitoring_targets(target_id)) without rowid"
        )


def _table(kind: _Kind, start: int, partition: int) -> str:
    return f"metric_{kind.number}_step_{start}_{start + partition - 1}"


def _rows(
    database: sqlite3.Connection, kind: _Kind, targets: dict[_Target, int], first: int, last: int
) -> Iterator[tuple[object, ...]]:
    """The rows of steps from `first` to `last`; what they are of is put into the table of targets."""
    for rank, path in kind.files:
        lines = lines_of(path)
        header = next(lines)
        places = {column: index for index, column in enumerate(header)}
        for cells in lines:
            try:
                step, stage = int(cells[places[STEP]]), int(cells[places[STAGE]])
                micro_step = int(cells[places[MICRO_STEP]]) if MICRO_STEP in places else 0
            except (KeyError, ValueError):
                continue
            if first <= step <= last:
                target = (cells[places[NAME]], stage, micro_step)
                if target not in targets:
                    targets[target] = len(targets) + 1
                    database.execute("insert into monitoring_targets values (?, ?, ?, ?)", (targets[target], *target))
                values = (number(cells[places[name]]) if name in places else None for name in kind.statistics)
                yield rank, step, targets[target], *values
