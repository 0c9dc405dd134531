"""Progress on a terminal: bars with rates and time left, for work of more than two seconds."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import ProgressColumn, TaskID

PATIENCE = 2.0
"""Seconds of work that need no bar."""

_LABELS = {"steps": "steps and ranks", "calls": "calls", "bytes": "tensors", "reports": "writing reports"}


class Bars:
    """Told of work done, shows it on `stream` once it has taken `PATIENCE`; silent where that is no terminal.

    Called with what is done (`steps`, `calls`, `bytes`, `reports`), how much of it, and of how much; of how much is 0
    where nobody knows.
    """

    def __init__(self, stream: TextIO, *, patience: float = PATIENCE) -> None:
        self._stream, self._patience = stream, patience
        self._begun = time.monotonic()
        self._bars: RichProgress | None = None
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Bars:
        self._begun = time.monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars is not None:
            self._bars.stop()

    def __call__(self, what: str, done: int, total: int) -> None:
        if not self._stream.isatty():
            return
        if self._bars is None:
            if time.monotonic() - self._begun < self._patience:
                return
            self._bars = _make(self._stream)
            self._bars.start()
        if what not in self._tasks:
            self._tasks[what] = self._bars.add_task(_LABELS.get(what, what), total=total or None, unit=what)
        self._bars.update(self._tasks[what], completed=done, total=total or None)


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
    if unit == "bytes":
        return f"{done / 1e9:.1f} of {total / 1e9:.1f} GB{rate}"
    return f"{done:,.0f} of {total:,.0f}{rate}"


def _quantity(unit: str, speed: float) -> str:
    if unit == "bytes":
        return f"{speed / 1e9:.1f} GB"
    return f"{speed:,.0f}" if speed >= 10 else f"{speed:.1f}"
