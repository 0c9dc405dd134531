"""Progress on a terminal: bars with rates and time left, for work of more than two seconds."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import ProgressColumn, TaskID

PATIENCE = 2.0
"""Seconds of work that need no bar."""

_LABELS = {
    "steps": "steps and ranks",
    "dumps": "reading dumps",
    "calls": "measuring calls",
    "bytes": "measuring tensors",
    "bytes read": "reading",
    "judging": "judging",
    "reports": "writing reports",
}


class Bars:
    """Told of work done, shows it on `stream` once it has taken `patience` seconds; silent where that is no terminal.

    Called with what is done (a key of `_LABELS`), how much of it, and of how much; of how much is 0 where nobody knows.
    A thread waits for the time to come: the work may tell nothing for long.
    """

    def __init__(self, stream: TextIO, *, patience: float = PATIENCE) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._told: dict[str, tuple[int, int]] = {}
        self._tasks: dict[str, TaskID] = {}
        self._bars: RichProgress | None = None
        self._timer = threading.Timer(patience, self._show)
        self._timer.daemon = True

    def __enter__(self) -> Bars:
        if self._stream.isatty():
            self._timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        if self._timer.is_alive():
            self._timer.join()
        if self._bars is not None:
            self._bars.stop()

    def __call__(self, what: str, done: int, total: int) -> None:
        with self._lock:
            self._told[what] = (done, total)
            if self._bars is not None:
                self._update(self._bars, what)

    def _show(self) -> None:
        bars = _make(self._stream)
        with self._lock:
            self._bars = bars
            bars.start()
            for what in self._told:
                self._update(bars, what)

    def _update(self, bars: RichProgress, what: str) -> None:
        done, total = self._told[what]
        if what not in self._tasks:
            self._tasks[what] = bars.add_task(_LABELS.get(what, what), total=total or None, unit=what)
        bars.update(self._tasks[what], completed=done, total=total or None)


def _make(stream: TextIO) -> RichProgress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns: tuple[ProgressColumn, ...] = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        _amount_column(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=Console(file=stream), transient=True)


def _amount_column() -> ProgressColumn:
    from rich.progress import ProgressColumn, Task
    from rich.text import Text

    class Amount(ProgressColumn):
        """How much of how much, and how much a second."""

        def render(self, task: Task) -> Text:
            return Text(amount(task.fields["unit"], task.completed, task.total, task.speed))

    return Amount()


def amount(unit: str, done: float, total: float | None, speed: float | None) -> str:
    """`1.2 of 6.8 GB, 2.1 GB/s` or `500 of 88,320 calls, 21,000/s`; empty where there is nothing to count."""
    if total is None:
        return ""
    rate = f", {_quantity(unit, speed)}/s" if speed else ""
    if unit.startswith("bytes"):
        return f"{done / 1e9:.1f} of {total / 1e9:.1f} GB{rate}"
    return f"{done:,.0f} of {total:,.0f}{rate}"


def _quantity(unit: str, speed: float) -> str:
    if unit.startswith("bytes"):
        return f"{speed / 1e9:.1f} GB"
    return f"{speed:,.0f}" if speed >= 10 else f"{speed:.1f}"
