"""The rows of a finding as packed columns, from a comparison's rows or from a table that was written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from acc_compare.model import Finding, Meeting, Row
from acc_compare.report.columns import ABSENT, NAMES, Column
from acc_compare.report.encoded import EncodedTable
from acc_compare.report.html.packing import pack, pack_column
from acc_compare.report.i18n import text
from acc_compare.report.messages import Lang
from acc_compare.report.messages import columns as columns_in_words
from acc_compare.row_names import split_names
from dump.format.schema import TensorRecord

VALUE = "@value"
"""A column that is not shown: equal numbers are one value of the NPU side."""


@dataclass(frozen=True, slots=True)
class PackedColumn:
    """One column of the page: its heading, how its numbers are shown, what it means, and its cells as a block.  `parts`
    names are taken apart: the first block is the call, the second the argument."""

    name: str
    style: str
    explanation: str
    ours: bool
    blocks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PackedTable:
    """All rows of one finding, the place of a row by its name, how many rows have each result, and the collectives that
    rows name by number."""

    rows: int
    columns: tuple[PackedColumn, ...]
    places: dict[str, int]
    results: dict[str, int]
    meetings: tuple[Meeting, ...] = ()


def pack_rows(
    finding: Finding, lang: Lang, wanted: Iterable[str] = (), *, table: EncodedTable | None = None
) -> PackedTable:
    """The rows of `finding`, from its `table` where that was made; of the names `wanted` the result knows their places.
    Raises ConfigError."""
    rows = finding.rows
    packed = []
    names: tuple[Sequence[object], tuple[str, ...]] = ((), ())  # of the side before, often those of this one
    for column, read in table if table is not None else EncodedTable(finding):
        words = explained(column, finding.mode, lang)
        if column.name in NAMES:
            values = [read.cells[place] for place in read.codes.tolist()]
            names = names if names[0] == values else (values, _names(values))
            blocks = names[1]
        elif column.name == "Err_Message" and lang != "en":
            blocks = (pack(list(_messages(rows, lang))),)
        else:
            blocks = (pack_column(read),)
        packed.append(PackedColumn(column.name, column.style, words, column.ours, blocks))
    values_read = [row.npu.value if isinstance(row.npu, TensorRecord) else None for row in rows]
    if any(value is not None for value in values_read):
        packed.append(PackedColumn(VALUE, "hidden", "", False, (pack(values_read),)))
    places = places_of([row.npu_name or row.bench_name for row in rows], wanted)
    return PackedTable(len(rows), tuple(packed), places, dict(Counter(row.outcome for row in rows)))


def explained(column: Column, mode: str, lang: Lang) -> str:
    """What a column means; of a metric that somebody registered, in English."""
    if lang == "en":
        return column.explanation
    known = {**columns_in_words.CHINESE, **(columns_in_words.OF_STATISTICS if mode == "statistics" else {})}
    return known.get(column.name, column.explanation)


def pack_cells(
    columns: Sequence[Column],
    cells: Sequence[Sequence[object]],
    wanted: Iterable[str],
    *,
    mode: str = "statistics",
    lang: Lang = "en",
) -> PackedTable:
    """A table that was read from a file: `cells[i]` are those of `columns[i]`, None or 'N/A' where there is nothing."""
    absent = [[None if cell == ABSENT else cell for cell in column] for column in cells]
    by_name = {column.name: values for column, values in zip(columns, absent, strict=True)}
    names = [str(ours or theirs or "") for ours, theirs in zip(*(by_name[name] for name in NAMES), strict=True)]
    packed = tuple(
        _packed(column, values, explained(column, mode, lang)) for column, values in zip(columns, absent, strict=True)
    )
    results = Counter(map(str, by_name["Result"]))
    return PackedTable(len(names), packed, places_of(names, wanted), dict(results))


def places_of(names: Sequence[str], wanted: Iterable[str]) -> dict[str, int]:
    """Where each of `wanted` first stands, a row's name or that of a call."""
    left = set(wanted)
    found: dict[str, int] = {}
    if left:
        for place, (name, (call, _)) in enumerate(zip(names, split_names(names), strict=True)):
            for key in (name, call):
                if key in left and key not in found:
                    found[key] = place
    return found


def _packed(column: Column, values: Sequence[object], explanation: str) -> PackedColumn:
    blocks = _names(values) if column.name in NAMES else (pack(values),)
    return PackedColumn(column.name, column.style, explanation, column.ours, blocks)


def _names(values: Sequence[object]) -> tuple[str, ...]:
    """Two blocks: the call of each name, and its argument."""
    parts = list(split_names([value if isinstance(value, str) else "" for value in values]))
    return tuple(pack([part[half] or None for part in parts]) for half in (0, 1))


def _messages(rows: Sequence[Row], lang: Lang) -> Iterator[str]:
    return ("；".join(text(part, lang) for part in row.err_message) if row.err_message else "" for row in rows)
