"""The table without colours, for programs: csv and parquet.

Of each column every cell is looked at once (`encoded`); rows go by in parts.
`NPU_Stack_Info` stands in the first row of its call.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np

from acc_compare.model import Row
from acc_compare.report.atomic_write import new_file
from acc_compare.report.columns import ABSENT, NAMES, STACK_COLUMN, Cell, Column, as_cell
from acc_compare.report.encoded import Encoded, EncodedTable, encode
from acc_compare.report.safe_text import looks_like_formula, visible
from acc_compare.row_names import split_names
from dump.format.errors import ConfigError

PART = 8192
"""Rows of a part."""

_MOST_TEXTS = 100_000
_LONG = 200
_EXACT = 2**53
_NUMBERS = frozenset((float, int, type(None)))
_FLAGS = {True: "True", False: "False", None: ABSENT}
_FORMULA_STARTS = frozenset("=+-@")
_numbers_to_json = msgspec.json.Encoder().encode


def write_csv(table: EncodedTable, path: Path) -> None:
    """All rows as UTF-8 csv, the columns of the workbook, numbers in full precision.

    A text that a spreadsheet would compute on opening gets an apostrophe in front.

    Raises:
        OutputError: `path` exists or cannot be written.
    """
    texts = _Texts()
    columns = [(texts.of(read.cells, column), read.codes) for column, read in _first_stacks(table)]
    with new_file(path) as draft, draft.open("w", encoding="utf-8", newline="") as stream:
        stream.write(",".join(texts.field(column.name) for column in table.columns) + "\n")
        for start in range(0, len(table.rows), PART):
            parts = [once[codes[start : start + PART]].tolist() for once, codes in columns]
            stream.write("\n".join(map(",".join, zip(*parts, strict=True))))
            stream.write("\n")


def write_parquet(table: EncodedTable, path: Path) -> None:
    """All rows as parquet: columns of numbers are float64 and those of flags bool, null where a cell does not
    apply; the rest is text.

    Raises:
        OutputError: `path` exists or cannot be written.
        ConfigError: pyarrow is not installed.
    """
    require_pyarrow()
    arrow = importlib.import_module("pyarrow")
    parquet = importlib.import_module("pyarrow.parquet")
    kinds = {"text": arrow.string(), "flag": arrow.bool_()}
    schema = arrow.schema([(column.name, kinds.get(column.style, arrow.float64())) for column in table.columns])
    columns = [
        _arrays(read, column, arrow, field.type)
        for (column, read), field in zip(_first_stacks(table), schema, strict=True)
    ]
    with new_file(path) as draft, parquet.ParquetWriter(str(draft), schema) as writer:
        for start in range(0, len(table.rows), PART):
            parts = [array(slice(start, start + PART)) for array in columns]
            writer.write_batch(arrow.record_batch(parts, schema=schema))


def _arrays(read: Encoded, column: Column, arrow: Any, kind: Any) -> Callable[[slice], Any]:
    """What makes the array of some rows of a column: of all its cells at once, or, where hardly two are equal, of those
    of these rows alone, since all names in one array take as much memory as the rows that have them."""
    if column.name in NAMES:
        return lambda part: _array(_typed(read.cells[part], column), arrow, kind)
    once, index = _array(_typed(read.cells, column), arrow, kind), arrow.int32()

    def taken(part: slice) -> Any:
        codes = read.codes[part]
        return once.take(arrow.Array.from_buffers(index, len(codes), [None, arrow.py_buffer(codes)]))

    return taken


def _array(values: Sequence[object], arrow: Any, kind: Any) -> Any:
    """What `arrow.array` makes of texts, or of numbers or flags with gaps; that imports pandas whatever it is given,
    which takes half a second and 50 MB."""
    if kind == arrow.string():
        texts = [text.encode() for text in cast("Sequence[str]", values)]
        ends = np.zeros(len(texts) + 1, dtype=np.int32)
        np.cumsum(list(map(len, texts)), out=ends[1:])
        parts: list[Any] = [None, ends, b"".join(texts)]
    else:
        known = np.array([value is not None for value in values], dtype=bool)
        is_flag = kind == arrow.bool_()
        cells = _bits(np.array(values, dtype=bool)) if is_flag else np.array(values, dtype=np.float64)
        parts = [None if known.all() else _bits(known), cells]
    buffers = [None if part is None else arrow.py_buffer(part) for part in parts]
    return arrow.Array.from_buffers(kind, len(values), buffers)


def _bits(flags: np.ndarray[Any, np.dtype[np.bool_]]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.packbits(flags, bitorder="little")


def write_whole_table(table: EncodedTable, path: Path, formats: Collection[str] = ()) -> Path:
    """All rows beside `path`, and where: as csv where that is one of `formats` and parquet is not, or where pyarrow is
    not installed; else as parquet, a fifteenth as large.

    Raises OutputError as `write_csv`.
    """
    wants_csv = "csv" in formats and "parquet" not in formats
    suffix, write = (".csv", write_csv) if wants_csv or not has_pyarrow() else (".parquet", write_parquet)
    write(table, whole := path.with_suffix(suffix))
    return whole


def require_pyarrow() -> None:
    """Raise ConfigError where pyarrow, which parquet needs, is not installed."""
    if not has_pyarrow():
        raise ConfigError("--format parquet needs pyarrow, which is not installed: pip install pyarrow")


def has_pyarrow() -> bool:
    try:
        return importlib.util.find_spec("pyarrow") is not None
    except ValueError:  # a module of that name was put aside by hand
        return False


def _first_stacks(table: EncodedTable) -> Iterator[tuple[Column, Encoded]]:
    """The columns, with the stack of each call at the first of its rows: at every row it would be nine tenths of the
    file."""
    for column, read in table:
        yield column, encode(_stacks(table.rows)) if column.name == STACK_COLUMN else read


def _stacks(rows: Sequence[Row]) -> list[str | None]:
    calls = [call for call, _ in split_names(row.npu_name or row.bench_name for row in rows)]
    before = [None, *calls[:-1]]
    return [
        (row.stack or None) if call != other else None for row, call, other in zip(rows, calls, before, strict=True)
    ]


class _Texts:
    """The fields of a csv; it remembers what was made of texts."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}

    def of(self, values: Sequence[object], column: Column) -> np.ndarray[Any, np.dtype[np.object_]]:
        """The fields of one column's cells."""
        if column.style == "text":
            texts = self._words(values)
        elif column.style == "flag":
            texts = [_FLAGS.get(value) or self._other(value) for value in values]  # type: ignore[call-overload]
        else:
            texts = self._numbers(values)
        return np.array(texts, dtype=object)

    def _words(self, values: Sequence[object]) -> Sequence[str]:
        if {str}.issuperset(map(type, values)):
            texts = cast("Sequence[str]", values)
            joined = "".join(texts)
            plain = joined.isprintable() and "," not in joined and '"' not in joined
            if plain and _FORMULA_STARTS.isdisjoint([text[:1] for text in texts]):
                return texts
        if len(self._texts) > _MOST_TEXTS:
            self._texts.clear()
        known = self._texts.get
        return [(known(value) if type(value) is str else None) or self._other(value) for value in values]

    def _numbers(self, values: Sequence[object]) -> Sequence[str]:
        """Shortest digits that give the same float64 again, as JSON writes them; what JSON has no number for, and what
        is no number, by its own name."""
        kinds = set(map(type, values))
        if kinds <= {type(None)}:
            return [ABSENT] * len(values)
        numbers = values if kinds <= _NUMBERS else [v if type(v) in _NUMBERS else None for v in values]
        try:
            texts = _numbers_to_json(numbers).decode("ascii")[1:-1].split(",")
        except OverflowError:  # an integer beyond 64 bits
            return [self._other(value) for value in values]
        if kinds == {float} and "null" not in texts:
            return texts
        return [
            text if text != "null" else ABSENT if value is None else self._other(value)
            for text, value in zip(texts, values, strict=True)
        ]

    def _other(self, value: object) -> str:
        if value is None:
            return ABSENT
        cell = as_cell(value)
        return self.field(cell) if isinstance(cell, str) else str(cell)

    def field(self, text: str) -> str:
        """A text as one field."""
        shown = self._texts[text] = _quoted(_harmless(text))
        return shown


def _quoted(text: str) -> str:
    """RFC 4180: a field with a comma, a quote or a line's end stands in quotes, and its own quotes are doubled."""
    if "," in text or '"' in text or "\n" in text or "\r" in text:
        return '"' + text.replace('"', '""') + '"'
    return text


def _harmless(text: str) -> str:
    shown = visible(text)
    return f"'{shown}" if looks_like_formula(shown) and shown != "-inf" else shown


def _typed(values: Sequence[object], column: Column) -> Sequence[object]:
    if column.style == "text":
        if {str}.issuperset(map(type, values)) and "".join(cast("Sequence[str]", values)).isprintable():
            return values
        return [
            ABSENT if value is None else _shown(value if type(value) is str else str(as_cell(value)))
            for value in values
        ]
    if column.style == "flag":
        return [value if isinstance(value, bool) else None for value in values]
    if {float, type(None)}.issuperset(map(type, values)):
        return values
    return [
        value if type(value) is float else _number(as_cell(value)) if value is not None else None for value in values
    ]


def _shown(text: str) -> str:
    return _long_shown(text) if len(text) > _LONG else visible(text)


_long_shown = lru_cache(maxsize=1024)(visible)  # stacks: few, long, and each call has its own copy


def _number(cell: Cell) -> float | None:
    """The cell as a number: 'nan' and 'inf' are numbers again, '0.5%' is 0.5, other text is None."""
    if type(cell) is int and -_EXACT <= cell <= _EXACT:
        return float(cell)
    try:
        return float(cell.removesuffix("%") if isinstance(cell, str) else cell)
    except (ValueError, OverflowError):
        return None
