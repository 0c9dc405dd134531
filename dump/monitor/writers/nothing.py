"""`"format": "api"`: nothing is written; the script asks TrainerMon for the numbers."""

from __future__ import annotations

from .base import Layout, Rows, register


class NothingWriter:
    def __init__(self, layout: Layout) -> None:
        pass

    def write(self, step: int, rows: Rows) -> None:
        pass

    def close(self) -> None:
        pass


register("api", NothingWriter)
