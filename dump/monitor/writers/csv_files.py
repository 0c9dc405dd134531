"""csv: the rows of a step are appended in one write to the file of their kind and steps (docs/monitor.md)."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Sequence
from pathlib import Path

from ...format.errors import OutputError
from ...format.monitor_files import MICRO_STEP, NAME, STAGE, STEP, Kind
from ..rows import Row, Value, columns
from .base import Layout, Rows, register

_LONGEST_HEADER = 4096


class CsvWriter:
    """No file stays open between steps: a fork inherits none, and a kill at any moment finds whole steps."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._checked: dict[Kind, Path] = {}

    def write(self, step: int, rows: Rows) -> None:
        for kind, members in rows.items():
            if not members:
                continue
            path = self._layout.file(kind, step, ".csv")
            header = self._header(kind, members[0])
            text = self._text(members, step)
            try:
                if self._checked.get(kind) != path:
                    text = text if _goes_on(path, header) else header + text
                    self._checked[kind] = path
                with path.open("ab", buffering=0) as file:
                    file.write(text.encode("utf-8"))
            except OSError as error:
                raise OutputError(f"{path}: cannot be written ({error.strerror}).") from error

    def close(self) -> None:
        pass

    def _header(self, kind: Kind, first: Row) -> str:
        micro = () if first.label.micro_step is None else (MICRO_STEP,)
        return ",".join((STAGE, NAME, STEP, *micro, *columns(kind, self._layout.ops))) + "\n"

    def _text(self, rows: Sequence[Row], step: int) -> str:
        buffer = io.StringIO()
        lines = csv.writer(buffer, lineterminator="\n")
        ndigits = self._layout.ndigits
        for row in rows:
            label = row.label
            micro = () if label.micro_step is None else (label.micro_step,)
            values = [rounded(value, ndigits) for value in row.values] if ndigits else row.values
            lines.writerow((label.vpp_stage, label.name, step, *micro, *values))
        return buffer.getvalue()


def _goes_on(path: Path, header: str) -> bool:
    """Is there a file with this header to go on in?  A last line without an end, of a run that was killed, is cut off.

    Raises OutputError where there is one with other columns.
    """
    if not path.exists():
        return False
    with path.open("r+b") as file:
        found = file.readline(_LONGEST_HEADER)
        if not found:
            return False
        if found.decode("utf-8", "replace") != header:
            raise OutputError(f"{path}: has other columns than this run's. Leave append_output empty, or move it away.")
        end = file.seek(0, os.SEEK_END)
        tail_from = max(0, end - 65536)
        file.seek(tail_from)
        last = file.read().rfind(b"\n")
        file.truncate(tail_from + last + 1)
    return True


def rounded(value: Value, ndigits: int) -> Value:
    """`ndigits` digits after the point from 1 on, after the first digit below it; 0 leaves the value alone."""
    if not ndigits or not isinstance(value, float) or not math.isfinite(value):
        return value
    return round(value, ndigits) if abs(value) >= 1 else float(f"{value:.{ndigits}e}")


register("csv", CsvWriter)
