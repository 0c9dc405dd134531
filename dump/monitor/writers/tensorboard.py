"""TensorBoard event files in the run's folder, one scalar for each number, under msprobe's tags."""

from __future__ import annotations

import importlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...format.errors import ConfigError
from ..rows import columns
from .base import Layout, Rows, register


class EventFile:
    """One event file in a folder.  Raises ConfigError where the package tensorboard is missing."""

    def __init__(self, folder: Path) -> None:
        try:
            writer = importlib.import_module("tensorboard.summary.writer.event_file_writer")
            self._event = importlib.import_module("tensorboard.compat.proto.event_pb2").Event
            self._summary = importlib.import_module("tensorboard.compat.proto.summary_pb2")
        except ImportError as error:
            raise ConfigError(
                "format 'tensorboard': the package tensorboard is missing. pip install tensorboard."
            ) from error
        self._writer = writer.EventFileWriter(str(folder))

    def scalar(self, tag: str, value: float, step: int) -> None:
        self._add(self._summary.Summary.Value(tag=tag, simple_value=value), step)

    def histogram(self, tag: str, counts: Sequence[int], *, low: float, high: float, step: int) -> None:
        """Counts over equal bins from `low` to `high`."""
        width = (high - low) / len(counts)
        histo = self._summary.HistogramProto(
            min=low,
            max=high,
            num=sum(counts),
            bucket_limit=[low + width * (index + 1) for index in range(len(counts))],
            bucket=counts,
        )
        self._add(self._summary.Summary.Value(tag=tag, histo=histo), step)

    def _add(self, value: Any, step: int) -> None:
        summary = self._summary.Summary(value=[value])
        self._writer.add_event(self._event(wall_time=time.time(), step=step, summary=summary))

    def flush(self) -> None:
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


class TensorBoardWriter:
    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._events = EventFile(layout.folder)

    def write(self, step: int, rows: Rows) -> None:
        for kind, members in rows.items():
            for row in members:
                tag = row.label.tag(self._layout.rank)
                for column, value in zip(columns(kind, self._layout.ops), row.values, strict=True):
                    if column == "histogram" and isinstance(value, str):
                        counts = [int(count) for count in value.split()]
                        self._events.histogram(f"{tag}_{column}", counts, low=-1.0, high=1.0, step=step)
                    elif isinstance(value, (int, float)):
                        self._events.scalar(f"{tag}_{column}", float(value), step)
        self._events.flush()

    def close(self) -> None:
        self._events.close()


register("tensorboard", TensorBoardWriter)
