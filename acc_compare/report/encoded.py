"""The cells of a column without their repetitions.

A table of a long run has ten million cells, but most rows repeat what a row before them has: one value is written by
one call and read by others.  So a column is its cells, each once, and for each row the place of its own among them;
whoever writes a table looks at the cells and leaves the rows to numpy.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from operator import attrgetter
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from acc_compare.model import Finding
from acc_compare.report.columns import NAMES, Column, PartOfRow, as_cell, columns_of

Codes: TypeAlias = "np.ndarray[Any, np.dtype[np.int32]]"

_PLAIN = frozenset((str, float, int, bool, type(None)))
_ONE_KEY = frozenset((float, int, bool))
"""Types whose values may be one key of a dictionary (1, 1.0 and True), but are not one cell."""


class Encoded(NamedTuple):
    """One column: row i has the raw cell `cells[codes[i]]`.  A cell may stand more than once among them."""

    cells: Sequence[object]
    codes: Codes


def encode(values: Sequence[object]) -> Encoded:
    """The column of the raw cells `values`, each cell once, in the order of their first appearance.

    >>> cells, codes = encode(["a", None, "a"])
    >>> cells, codes.tolist()
    (['a', None], [0, 1, 0])
    """
    kinds = set(map(type, values))
    if kinds <= _PLAIN and len(kinds & _ONE_KEY) <= 1:
        known = dict.fromkeys(values)
        return Encoded(list(known), _places(known, values))
    if not kinds <= _PLAIN:  # a list, say, is no key
        values = [value if type(value) in _PLAIN else as_cell(value) for value in values]
    keys = [(type(value), value) for value in values]
    distinct = dict.fromkeys(keys)
    return Encoded([value for _, value in distinct], _places(distinct, keys))


class EncodedTable:
    """The columns of a finding's rows, each read when it is first asked for and then kept for the next format.  What
    many columns look at and rows share, such as the record of a tensor, is looked at once for all these rows."""

    def __init__(self, finding: Finding) -> None:
        """Raises ConfigError: the finding's mode has no columns."""
        self.rows = finding.rows
        self.columns = columns_of(finding)
        self._read: list[Encoded] = []
        self._parts: dict[PartOfRow, Encoded] = {}

    def __iter__(self) -> Iterator[tuple[Column, Encoded]]:
        for number, column in enumerate(self.columns):
            if number == len(self._read):
                self._read.append(self._column(column))
            yield column, self._read[number]

    def _column(self, column: Column) -> Encoded:
        if column.of == "row":
            values = list(map(column.cell, self.rows))
            if column.name in NAMES:  # hardly two are equal
                return Encoded(values, np.arange(len(values), dtype=np.int32))
            return encode(values)
        if column.of not in self._parts:
            self._parts[column.of] = _by_identity(list(map(attrgetter(column.of), self.rows)))
        part = self._parts[column.of]
        values = list(map(column.cell, part.cells))
        if column.style not in ("text", "flag"):  # hardly two numbers are equal, and -0.0 is not to become 0.0
            return Encoded(values, part.codes)
        cells, codes = encode(values)
        return Encoded(cells, codes[part.codes])


def _by_identity(parts: Sequence[object]) -> Encoded:
    keys = list(map(id, parts))
    known = dict(zip(keys, parts, strict=True))
    return Encoded(list(known.values()), _places(known, keys))


def _places(known: dict[Any, Any], keys: Sequence[Hashable] | Sequence[object]) -> Codes:
    places = dict(zip(known, range(len(known)), strict=True))
    return np.fromiter(map(places.__getitem__, keys), dtype=np.int32, count=len(keys))
