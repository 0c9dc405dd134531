"""The table without colours, for programs: csv and parquet.

A table of a long run has ten million cells, and asking for each by a call of its own takes longer than the whole
comparison.  So rows go by in parts, each part column by column: numbers are written by one call for a column's part,
and of texts, which repeat, each is looked at once.  `NPU_Stack_Info` stands in the first row of its call.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, cast

import msgspec

from acc_compare.model import Finding, Row
from acc_compare.report.atomic_write import new_file
from acc_compare.report.columns import ABSENT, STACK_COLUMN, Cell, Column, as_cell, columns_of, read_columns
from acc_compare.report.safe_text import looks_like_formula, visible
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


class _Sink(Protocol):
    """Takes a table part by part: `values[i]` are the raw cells of column i."""

    def add(self, values: Sequence[Sequence[object]]) -> None: ...


def write_csv(finding: Finding, path: Path) -> None:
    """All rows as UTF-8 csv, the columns of the workbook, numbers in full precision.

    A text that a spreadsheet would compute on opening gets an apostrophe in front.

    Raises:
        OutputError: `path` exists or cannot be written.
        ConfigError: the finding's mode is unknown.
    """
    columns = columns_of(finding)
    with _csv_sink(path, columns) as sink:
        _pour(finding.rows, columns, (sink,))


def write_parquet(finding: Finding, path: Path) -> None:
    """All rows as parquet: columns of numbers are float64 and those of flags bool, null where a cell does not
    apply; the rest is text.

    Raises:
        OutputError: `path` exists or cannot be written.
        ConfigError: pyarrow is not installed, or the finding's mode is unknown.
    """
    require_pyarrow()
    columns = columns_of(finding)
    with _parquet_sink(path, columns) as sink:
        _pour(finding.rows, columns, (sink,))


def write_whole_table(finding: Finding, path: Path) -> tuple[Path, ...]:
    """All rows as `path` with the suffix .csv and, where pyarrow is installed, .parquet, in one pass.

    Returns the files written, csv first.  Raises OutputError, ConfigError as `write_csv`.
    """
    columns = columns_of(finding)
    written = [path.with_suffix(".csv")]
    with contextlib.ExitStack() as stack:
        sinks: list[_Sink] = [stack.enter_context(_csv_sink(written[0], columns))]
        if has_pyarrow():
            written.append(path.with_suffix(".parquet"))
            sinks.append(stack.enter_context(_parquet_sink(written[1], columns)))
        _pour(finding.rows, columns, sinks)
    return tuple(written)


def require_pyarrow() -> None:
    """Raise ConfigError where pyarrow, which parquet needs, is not installed."""
    if not has_pyarrow():
        raise ConfigError("--format parquet needs pyarrow, which is not installed: pip install pyarrow")


def has_pyarrow() -> bool:
    try:
        return importlib.util.find_spec("pyarrow") is not None
    except ValueError:  # a module of that name was put aside by hand
        return False


def _pour(rows: Iterable[Row], columns: Sequence[Column], sinks: Sequence[_Sink]) -> None:
    left = iter(rows)
    last: Row | None = None
    while part := list(islice(left, PART)):
        values = [
            _stacks(part, last) if column.name == STACK_COLUMN else cells
            for column, cells in zip(columns, read_columns(part, columns), strict=True)
        ]
        last = part[-1]
        for sink in sinks:
            sink.add(values)


def _stacks(part: Sequence[Row], before: Row | None) -> list[str | None]:
    """The stack of each call, at the first of its rows: at every row it would be nine tenths of the file."""
    previous = [before, *part[:-1]]
    return [
        (row.stack or None) if other is None or row.stack is not other.stack else None
        for row, other in zip(part, previous, strict=True)
    ]


class _CsvSink:
    def __init__(self, stream: Any, columns: Sequence[Column]) -> None:
        self._stream, self._columns = stream, columns
        self._texts: dict[str, str] = {}
        stream.write(",".join(self._text(column.name) for column in columns) + "\n")

    def add(self, values: Sequence[Sequence[object]]) -> None:
        lines = map(",".join, zip(*map(self._column, values, self._columns), strict=True))
        self._stream.write("\n".join(lines))
        self._stream.write("\n")

    def _column(self, values: Sequence[object], column: Column) -> Sequence[str]:
        if column.style == "text":
            return self._words(values)
        if column.style == "flag":
            return [_FLAGS.get(value) or self._other(value) for value in values]  # type: ignore[call-overload]
        return self._numbers(values)

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
        if kinds == {type(None)}:
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
        return self._text(cell) if isinstance(cell, str) else str(cell)

    def _text(self, text: str) -> str:
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


@contextlib.contextmanager
def _csv_sink(path: Path, columns: Sequence[Column]) -> Iterator[_CsvSink]:
    with new_file(path) as draft, draft.open("w", encoding="utf-8", newline="") as stream:
        yield _CsvSink(stream, columns)


class _ParquetSink:
    def __init__(self, arrow: Any, writer: Any, columns: Sequence[Column]) -> None:
        self._arrow, self._writer, self._columns = arrow, writer, columns

    def add(self, values: Sequence[Sequence[object]]) -> None:
        schema = self._writer.schema
        arrays = [
            self._arrow.array(_typed(each, column), type=field.type)
            for each, column, field in zip(values, self._columns, schema, strict=True)
        ]
        self._writer.write_batch(self._arrow.record_batch(arrays, schema=schema))


@contextlib.contextmanager
def _parquet_sink(path: Path, columns: Sequence[Column]) -> Iterator[_ParquetSink]:
    arrow = importlib.import_module("pyarrow")
    parquet = importlib.import_module("pyarrow.parquet")
    kinds = {"text": arrow.string(), "flag": arrow.bool_()}
    schema = arrow.schema([(column.name, kinds.get(column.style, arrow.float64())) for column in columns])
    with new_file(path) as draft, parquet.ParquetWriter(str(draft), schema) as writer:
        yield _ParquetSink(arrow, writer, columns)


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
