"""What the pages that benchmarks write have in common: their tables, and the machine that they were run on."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Sequence


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown; a cell may hold any text."""
    return "\n".join("| " + " | ".join(map(cell, line)) + " |" for line in [heads, ["---"] * len(heads), *rows])


def cell(text: str) -> str:
    """`text` on one line, its bars no ends of cells."""
    return " ".join(text.replace("|", "\\|").split())


def processor() -> str:
    """The model of this machine's processor, else its architecture."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.partition(":")[2].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.machine()
