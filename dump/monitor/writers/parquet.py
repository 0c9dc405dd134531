"""parquet: the csv's columns with types.  A file is written anew at each step of its interval, and swapped in whole."""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...format.errors import ConfigError, OutputError
from ...format.monitor_files import MICRO_STEP, NAME, STAGE, STEP, Kind
from ..rows import Row, columns
from .base import Layout, Rows, register

_TEXTS = ("sketch", "histogram", "shape", "dtype")


class ParquetWriter:
    """Raises ConfigError where the package pyarrow is missing."""

    def __init__(self, layout: Layout) -> None:
        try:
            self._arrow: Any = importlib.import_module("pyarrow")
            self._parquet: Any = importlib.import_module("pyarrow.parquet")
        except ImportError as error:
            raise ConfigError("format 'parquet': the package pyarrow is missing. pip install pyarrow.") from error
        self._layout = layout
        self._open: dict[Kind, tuple[Path, Any]] = {}

    def write(self, step: int, rows: Rows) -> None:
        for kind, members in rows.items():
            if not members:
                continue
            path = self._layout.file(kind, step, ".parquet")
            try:
                before = self._before(kind, path)
                table = self._table(kind, members, step)
                whole = table if before is None else self._arrow.concat_tables([before, table])
                partial = path.with_name(f".{path.name}.{os.getpid()}")
                self._parquet.write_table(whole, partial)
                os.replace(partial, path)
            except (OSError, self._arrow.ArrowInvalid) as error:
                raise OutputError(f"{path}: cannot be written ({str(error).splitlines()[0]}).") from error
            self._open[kind] = (path, whole)

    def close(self) -> None:
        self._open.clear()

    def _before(self, kind: Kind, path: Path) -> Any:
        """The rows that the interval's file has already; None for a new file."""
        opened = self._open.get(kind)
        if opened is not None and opened[0] == path:
            return opened[1]
        return self._parquet.read_table(path) if path.exists() else None

    def _table(self, kind: Kind, rows: Sequence[Row], step: int) -> Any:
        arrow = self._arrow
        found: dict[str, Any] = {
            STAGE: arrow.array([row.label.vpp_stage for row in rows], arrow.int32()),
            NAME: arrow.array([row.label.name for row in rows], arrow.string()),
            STEP: arrow.array([step] * len(rows), arrow.int64()),
        }
        if rows[0].label.micro_step is not None:
            found[MICRO_STEP] = arrow.array([row.label.micro_step for row in rows], arrow.int32())
        for index, column in enumerate(columns(kind, self._layout.ops)):
            values = [row.values[index] for row in rows]
            if column in _TEXTS:
                found[column] = arrow.array(values, arrow.string())
            else:
                numbers = [float(value) if isinstance(value, (int, float)) else None for value in values]
                found[column] = arrow.array(numbers, arrow.float64(), from_pandas=False)
        return arrow.table(found)


register("parquet", ParquetWriter)
