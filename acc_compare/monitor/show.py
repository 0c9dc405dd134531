"""The last step of a monitored run as a table, worst rows first; and again whenever a step comes in."""

from __future__ import annotations

import io
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from acc_compare.monitor.rows import OPS
from acc_compare.monitor.runs import MonitoredRun, RankFiles, open_run
from acc_compare.monitor.tables import StepRange, Table, label, read_table
from acc_compare.report.i18n import quantity
from acc_compare.report.safe_text import one_line
from dump.format.errors import ConfigError, DumpNotFound

_BEFORE = 20
_FIRST_CHOICE = ("grad_reduced", "grad_unreduced", "param_updated", "actv")


@dataclass(frozen=True, slots=True)
class Shown:
    """One row: its numbers by op, how its norm compares with the median of the steps before (None where there are
    none), and whether it holds NaN or Inf."""

    rank: int
    name: str
    values: dict[str, float]
    change: float | None
    is_bad: bool


@dataclass(frozen=True, slots=True)
class LastStep:
    """The rows to print, worst first, and of how many they are."""

    path: Path
    kind: str
    step: int
    rows: tuple[Shown, ...]
    series: int
    bad: int
    ranks: int


def latest(output: Path, *, kind: str = "", rank: int | None = None, top: int = 10) -> LastStep:
    """The last step that every rank has finished, against the 20 recorded steps before it.

    Raises DumpNotFound, DumpCorrupt, DumpError; ConfigError for a kind or rank that is not there.
    """
    run = open_run(output)
    ranks = [files for files in run.ranks if rank is None or files.rank == rank]
    if not ranks:
        raise ConfigError(f"--rank: {output} has no rank {rank}; it has {', '.join(str(r.rank) for r in run.ranks)}")
    kind = _chosen(run, kind)
    tables = [(files.rank, _tail(files, kind)) for files in ranks if kind in files.kinds]
    tables = [(number, table) for number, table in tables if len(table.steps)]
    if not tables:
        raise DumpNotFound(f"{output}: no step of {kind} is finished yet.")
    step = min(int(table.steps[-1]) for _, table in tables)
    rows = [row for number, table in tables for row in _rows(table, step, number)]
    rows.sort(key=lambda row: (not row.is_bad, -abs(math.log(row.change)) if row.change else 0.0))
    return LastStep(output, kind, step, tuple(rows[:top]), len(rows), sum(row.is_bad for row in rows), len(tables))


def _chosen(run: MonitoredRun, kind: str) -> str:
    known = list(dict.fromkeys(name for files in run.ranks for name in files.kinds))
    if kind and kind not in known:
        raise ConfigError(f"--kind: {run.path} has no {kind!r}; it has {', '.join(known)}")
    return kind or next((name for name in _FIRST_CHOICE if name in known), known[0])


def _tail(files: RankFiles, kind: str) -> Table:
    """The last finished steps; of many files only those that can hold them."""
    of_kind = files.of_kind(kind)
    last = max(file.last for file in of_kind)
    late = sorted({file.first for file in of_kind})[-_BEFORE - 1 :]
    return read_table(files, kind, steps=StepRange(late[0], last))


def _rows(table: Table, step: int, rank: int) -> list[Shown]:
    place = int(np.searchsorted(table.steps, step))
    if place >= len(table.steps) or table.steps[place] != step:
        return []
    size_op = "norm" if "norm" in table.values else next(iter(table.values), "")
    found = []
    for row in np.flatnonzero(table.seen[:, place]):
        values = {op: float(numbers[row, place]) for op, numbers in table.values.items()}
        bad = any(value > 0 if op == "nans" else not math.isfinite(value) for op, value in values.items())
        before = np.abs(table.values[size_op][row, max(0, place - _BEFORE) : place]) if size_op else np.zeros(0)
        before = before[np.isfinite(before)]
        usual = float(np.median(before)) if len(before) else 0.0
        now = abs(values.get(size_op, 0.0))
        change = now / usual if usual > 0 and now > 0 and math.isfinite(now) else None
        known = table.tensors.dtypes.get(table.keys[row][1], "")
        if bad and not known and any(table.tensors.dtypes.values()):
            continue  # a row without a tensor
        found.append(Shown(rank, label(table.keys[row]), values, change, bad))
    return found


def render(last: LastStep) -> str:
    """The table as text, as wide as the terminal."""
    from rich.console import Console
    from rich.table import Table as Grid
    from rich.text import Text

    ops = [op for op in OPS if any(op in row.values for row in last.rows)]
    grid = Grid(box=None, pad_edge=False, header_style="bold")
    if last.ranks > 1:
        grid.add_column("rank", justify="right")
    grid.add_column("name", overflow="fold", ratio=1)
    for op in ops:
        grid.add_column(op, justify="right", no_wrap=True)
    grid.add_column("against before", justify="right", no_wrap=True)
    for row in last.rows:
        style = "bold red" if row.is_bad else ""
        cells = [str(row.rank)] * (last.ranks > 1) + [one_line(row.name)]
        cells += [_number(row.values.get(op, math.nan)) for op in ops]
        cells.append("NaN or Inf" if row.is_bad else "" if row.change is None else f"{quantity(row.change)} times")
        grid.add_row(*(Text(cell, style=style) for cell in cells))
    stream = io.StringIO()
    console = Console(file=stream, width=_width(), highlight=False)
    bad = f", {last.bad:,} with NaN or Inf" if last.bad else ""
    console.print(Text(f"step {last.step}, {last.kind}: {len(last.rows):,} of {last.series:,} series{bad}"))
    console.print(grid)
    return stream.getvalue()


def _width() -> int:
    try:
        return max(60, os.get_terminal_size().columns)
    except OSError:
        return 120


def _number(value: float) -> str:
    return str(value) if not math.isfinite(value) else quantity(value)


def follow_run(
    output: Path,
    *,
    kind: str,
    rank: int | None,
    top: int,
    interval: float,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Print each last step as it comes in, until interrupted; a run that has not begun yet is waited for."""
    seen = -1
    waiting = False
    try:
        while True:
            try:
                last = latest(output, kind=kind, rank=rank, top=top)
            except DumpNotFound as error:
                if not waiting:
                    print(f"waiting: {error}", flush=True)
                waiting = True
            else:
                if last.step != seen:
                    print(render(last), flush=True)
                    seen = last.step
            sleep(interval)
    except KeyboardInterrupt:
        return
