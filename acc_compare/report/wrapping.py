"""Lines of a page: as wide as a terminal shows them, where a Chinese character takes two columns and needs no space."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence

from acc_compare.report.safe_text import one_line

WIDTH = 100

# A line may begin with none of the first and end with none of the second (W3C, "Requirements for Chinese Text Layout").
_CLOSING = "，。；：、？！）」』》"
_OPENING = "（「『《"


def columns(text: str) -> int:
    """How many columns a terminal needs for `text` (Unicode annex 11: W and F take two, combining marks none)."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )


def padded(text: str, width: int) -> str:
    """`text` with spaces after it, `width` columns wide."""
    return text + " " * (width - columns(text))


def wrap(text: str, *, lead: str = "", indent: int = 0, width: int = WIDTH) -> list[str]:
    """`text` at most `width` columns wide, the first line after `lead`, the others indented; long words stay whole."""
    line, lines = lead or " " * indent, []
    is_empty = True
    for space, piece in _pieces(one_line(text)):
        if not is_empty and columns(line) + len(space) + columns(piece) > width:
            lines.append(line)
            line, is_empty, space = " " * indent, True, ""
        line += ("" if is_empty else space) + piece
        is_empty = False
    return [*lines, line] if not is_empty else lines


def _pieces(text: str) -> Iterator[tuple[str, str]]:
    """Each part of `text` that must stay together, with the space before it."""
    for match in re.finditer(r"(\s*)(\S+)", text):
        space = match[1]
        for part in _unbroken(match[2]):
            yield space, part
            space = ""


def _unbroken(word: str) -> Iterator[str]:
    """A word as it is; one with wide characters cut between them, but for punctuation that belongs to a neighbour."""
    held, was_wide = "", False
    for char in word:
        is_wide = unicodedata.east_asian_width(char) in "WF"
        breaks = held and (is_wide or was_wide) and char not in _CLOSING and held[-1] not in _OPENING
        if breaks:
            yield held
            held = ""
        held, was_wide = held + char, is_wide
    if held:
        yield held


def table(lines: Sequence[Sequence[str]]) -> list[str]:
    """Lines of cells under each other: the first column to the left, all others to the right."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return [
        "  ".join(
            cell.ljust(width) if not column else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
