"""What a writer is, and what it is told of the run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ...format.monitor_files import Kind, step_file
from ..rows import Row

Rows = Mapping[Kind, Sequence[Row]]


@dataclass(frozen=True, slots=True)
class Layout:
    """The run's folder and rank, the columns that all kinds have, digits (0 for all), and steps to a file."""

    folder: Path
    rank: int
    ops: tuple[str, ...]
    ndigits: int = 0
    steps_per_file: int = 1

    def file(self, kind: Kind, step: int, suffix: str) -> Path:
        """`grad_reduced_5-9.csv` for step 7 of five to a file."""
        first = step // self.steps_per_file * self.steps_per_file
        return self.folder / step_file(kind.name, first, first + self.steps_per_file - 1, suffix=suffix)


class Writer(Protocol):
    """`write` returns when the step is in the file.  Both raise OutputError."""

    def write(self, step: int, rows: Rows) -> None: ...

    def close(self) -> None: ...


WRITERS: dict[str, Callable[[Layout], Writer]] = {}


def register(name: str, make: Callable[[Layout], Writer]) -> None:
    """Make a format known.  Raises ValueError at a name that is taken."""
    if name in WRITERS:
        raise ValueError(f"a format named {name!r} is registered already")
    WRITERS[name] = make
