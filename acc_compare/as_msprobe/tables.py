"""A finding as the table that a version of msprobe writes: its columns, their order and its way to write a cell.

Which columns there are stands in layouts.json, as they were seen in what the versions wrote.
"""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from functools import cache, lru_cache, partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from acc_compare.model import Finding, Row
from acc_compare.report.columns import ABSENT, COLUMNS, STACK_COLUMN, Cell, Column, as_cell
from acc_compare.report.safe_text import looks_like_formula, visible
from dump.format.errors import ConfigError, OutputError
from dump.format.schema import Leaf, ScalarRecord, TensorRecord

from . import shares
from .distances import OF_ONE_ELEMENT, Relative, Version, distance_cell
from .plain_values import PlainCells, cells_of
from .results import NAN, TableRow, judge_call, judge_row

if TYPE_CHECKING:
    from openpyxl import Workbook

VERSIONS: tuple[Version, ...] = ("8.3.3", "26.2.0")

_LAYOUTS = Path(__file__).with_name("layouts.json")
_WRITTEN = r"\.(?:forward|backward)(?:\.\d+)?\.written\."
_UNREAD: dict[Version, re.Pattern[str]] = {
    "26.2.0": re.compile(_WRITTEN),
    "8.3.3": re.compile(rf"{_WRITTEN}|\.parameters_grad\.\d+\."),
}
"""What a version does not read: arguments that a call changed, and gradients of parameters under the newer's name."""

_FRAME = re.compile(r"\n(?=File )")
"""Where the next frame of a stack begins: msprobe lists frames, the line of code in one with its place,
and has none of a backward call."""

_OF_CALL = re.compile(r"(.+?\.(?:forward|backward|parameters_grad)(?:\.\d+)?)\.")
_OF_SAVED = re.compile(
    r"Saved\.(?P<name>.+)\.(?P<number>\d+)\.(?P<way>forward\.output|backward\.input)\.(?P<index>\d+)(?P<rest>.*)",
    re.DOTALL,
)
_JUDGING = ("Result", "Err_message", "Accuracy Reached or Not")
_INFINITE = ("inf", "-inf")
_FIELDS = {"Max": "max", "Min": "min", "Mean": "mean", "L2norm": "norm", "Norm": "norm"}


@cache
def columns(version: Version, mode: str) -> tuple[str, ...]:
    """The names of the columns, in order.  Raises ConfigError for a mode that has none."""
    layouts = json.loads(_LAYOUTS.read_text(encoding="utf-8"))
    try:
        return tuple(layouts[version][mode])
    except KeyError:
        raise ConfigError(f"msprobe {version} has no table for mode {mode!r}") from None


def lines(
    finding: Finding, version: Version, *, with_stacks: bool = True, as_saved: bool = False
) -> Iterator[list[Cell]]:
    """The head of the table and its rows, cell by cell.  Of what the bench side has alone msprobe writes none.

    With `as_saved` it is that of two debug.json, which have names of their own and no stacks.
    """
    names = [name for name in columns(version, finding.mode) if with_stacks or name != STACK_COLUMN]
    yield list(names)
    places = finding.npu_path, finding.bench_path
    relative = lru_cache(maxsize=1)(
        partial(shares.of_files, places, own_dtype=version == "8.3.3")
    )  # of the row at hand
    readers = {name: _reader(name, finding.mode, version, relative) for name in names if name not in _JUDGING}
    read = (row for row in finding.rows if row.npu_name and not _UNREAD[version].search(row.npu_name))
    for _, rows in groupby(read, key=_call):
        call = [TableRow(row, {name: cell(row) for name, cell in readers.items()}) for row in rows]
        if as_saved:
            _name_as_saved(call)
        for each in call if as_saved else call[1:]:
            if STACK_COLUMN in each.cells:
                each.cells[STACK_COLUMN] = ABSENT
        if version == "26.2.0":
            judge_call(call, finding.mode)
        else:
            for each in call:
                judge_row(each, finding.mode)
        for each in call:
            yield [each.cells[name] for name in names]


def _name_as_saved(call: Sequence[TableRow]) -> None:
    """Give the rows of a value that was saved the names that it has in debug.json."""
    for side in ("NPU Name", "Bench Name"):
        found = [_OF_SAVED.fullmatch(str(each.cells[side])) for each in call]
        is_alone = all(match is None or match["index"] == "0" for match in found)
        for each, match in zip(call, found, strict=True):
            if match is not None:
                name = f"{match['name']}{'_grad' if match['way'] == 'backward.input' else ''}.{match['number']}.debug"
                each.cells[side] = f"{name}{'' if is_alone else '.' + match['index']}{match['rest']}"


def _call(row: Row) -> str:
    """The call that a row is of."""
    found = _OF_CALL.match(row.npu_name)
    return found[1] if found else row.npu_name


def write_csv(
    finding: Finding, path: Path, version: Version, *, with_stacks: bool = True, as_saved: bool = False
) -> None:
    """The table as csv.  Raises OutputError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            table = lines(finding, version, with_stacks=with_stacks, as_saved=as_saved)
            writer.writerows(map(_shown, _spaced(table) if version == "26.2.0" else table))
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror}).") from error


def write_xlsx(
    finding: Finding, path: Path, version: Version, *, with_stacks: bool = True, as_saved: bool = False
) -> None:
    """The table as a workbook of one sheet.  Raises OutputError."""
    from openpyxl import Workbook

    book = Workbook(write_only=True)
    sheet = book.create_sheet("Sheet1")
    for line in lines(finding, version, with_stacks=with_stacks, as_saved=as_saved):
        sheet.append([cell[:_LONGEST_IN_EXCEL] if isinstance(cell, str) else cell for cell in _shown(line)])
    save(book, path)


def save(book: Workbook, path: Path) -> None:
    """Write a workbook where nothing is yet.  Raises OutputError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            raise OutputError(f"{path}: exists already. Give another output path.")
        book.save(path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror}).") from error


_LONGEST_IN_EXCEL = 32_767


def _shown(line: Sequence[Cell]) -> list[Cell]:
    """Cells that neither a terminal nor a spreadsheet takes for more than text."""
    return [harmless(cell) if isinstance(cell, str) else cell for cell in line]


def _spaced(table: Iterator[list[Cell]]) -> Iterator[list[Cell]]:
    """With the space that 26.2.0 sets before infinite numbers in csv, which Excel takes for names otherwise.

    Differences of statistics are texts of its own, without.
    """
    head = next(table)
    yield head
    numbers = (*columns("26.2.0", "statistics")[16:24], *(OF_ONE_ELEMENT if "MaxAbsErr" in head else ()))
    spaced = {index for index, name in enumerate(head) if name in numbers}
    for line in table:
        yield [f" {cell}" if index in spaced and cell in _INFINITE else cell for index, cell in enumerate(line)]


def harmless(cell: str) -> str:
    """Text that neither a terminal nor a spreadsheet takes for more than text."""
    seen = "\n".join(map(visible, cell.split("\n")))
    return f"'{seen}" if looks_like_formula(seen) and seen.strip() not in _INFINITE else seen


def _reader(name: str, mode: str, version: Version, relative: Relative) -> Callable[[Row], Cell]:
    """What gives the cell of a column; of arguments that are no tensors msprobe says things of its own."""
    if name == STACK_COLUMN:
        return lambda row: str(_FRAME.split(row.stack)) if row.stack and ".backward." not in row.npu_name else ABSENT
    if name in _READERS:
        return partial(_READERS[name], version=version, mode=mode)
    column = _ours(name, mode)
    if name.endswith("Name"):
        return lambda row: _name(str(as_cell(column.read(row))))
    if name.endswith(("Dtype", "Tensor Shape")):
        return lambda row: _kind(row, name, as_cell(column.read(row)), version)
    if name.endswith("MD5"):
        return lambda row: plain.digest if (plain := _plain(row, name)) else as_cell(column.read(row))
    if name in columns(version, "statistics")[16:24]:
        return lambda row: _statistic(row, name, column)
    if column.of == "metrics" and mode == "tensor":
        return lambda row: distance_cell(row, column, relative)
    if column.of == "metrics":
        return lambda row: _metric(row, column, version)
    return lambda row: as_cell(column.read(row))


@cache
def _ours(name: str, mode: str) -> Column:
    return next(column for column in COLUMNS[mode] if column.name == name)


def _name(name: str) -> str:
    """Gradients of parameters belong to a record of their own, whose name says so already."""
    head, dot, last = name.rpartition(".parameters_grad.")
    return f"{head}.{last}" if dot and ".parameters_grad." in f"{head}." else name


def _sided(row: Row, column: str) -> tuple[str, Leaf]:
    """The argument that a column is about: its name, "" where the side lacks the call, and what was recorded."""
    return (row.npu_name, row.npu) if column.startswith("NPU") else (row.bench_name, row.bench)


def _plain(row: Row, column: str) -> PlainCells | None:
    """What there is to say where the argument is no tensor."""
    name, leaf = _sided(row, column)
    return cells_of(leaf, name) if isinstance(leaf, ScalarRecord) else None


def _kind(row: Row, column: str, found: Cell, version: Version) -> Cell:
    """Dtype or shape."""
    plain = _plain(row, column)
    if plain is not None:
        return plain.dtype if column.endswith("Dtype") else plain.shape
    name, leaf = _sided(row, column)
    return "None" if name and leaf is None and version == "8.3.3" else found


def _statistic(row: Row, column: str, ours: Column) -> Cell:
    """msprobe writes None where it computes none."""
    if not _sided(row, column)[0]:
        return ABSENT
    plain = _plain(row, column)
    if plain is not None:
        return plain.statistic
    value = ours.read(row)
    if isinstance(value, float) and math.isnan(value):
        return NAN
    return "None" if value is None else as_cell(value)


def _metric(row: Row, column: Column, version: Version) -> Cell:
    both_scalar = isinstance(row.npu, ScalarRecord) and isinstance(row.bench, ScalarRecord)
    matched = bool(row.npu_name and row.bench_name)
    npu, bench = (_number(leaf, column) for leaf in (row.npu, row.bench))
    if npu is not None and bench is not None and not _are_finite(npu, bench):
        return _apart_nonfinite(npu, bench, version, relative=column.style == "percent")
    value = column.read(row)
    if both_scalar:
        value = _apart(row.npu, row.bench, version, relative=column.style == "percent")
    if value is None and matched and None in (npu, bench) and _has_neither(row, column):
        return 0 if version == "26.2.0" else ABSENT
    if column.style != "percent":
        return as_cell(value)
    if npu is not None and bench == 0:  # a share of nothing
        return ABSENT if version == "8.3.3" else 0 if npu == 0 else "inf"
    return _percent(value, version)


def _has_neither(row: Row, column: Column) -> bool:
    """Has neither side the statistic that is to be compared?"""
    field = _field(column)
    return getattr(row.npu, field, None) is None and getattr(row.bench, field, None) is None


def _field(column: Column) -> str:
    """The statistic that a column of distances is about."""
    return next(field for start, field in _FIELDS.items() if column.name.startswith(start))


def _apart(npu: Leaf, bench: Leaf, version: Version, *, relative: bool) -> float | int | None:
    """How far two plain numbers are apart, the second way in percent of the bench's.

    Of values that are no numbers 26.2.0 says 0 where they are equal, 8.3.3 nothing, as of 0 against 0 in percent.
    """
    first, second = (leaf.value if isinstance(leaf, ScalarRecord) else None for leaf in (npu, bench))
    if first == second and version == "26.2.0":
        return 0
    numbers = [each for each in (first, second) if isinstance(each, (int, float)) and not isinstance(each, bool)]
    if len(numbers) < 2:
        return None
    apart = numbers[0] - numbers[1]
    if not relative:
        return apart
    return abs(apart / numbers[1]) * 100 if numbers[1] else None


def _number(leaf: Leaf, column: Column) -> float | None:
    """What a column of distances is about: a tensor's statistic, or the plain number itself."""
    if isinstance(leaf, ScalarRecord):
        value = None if isinstance(leaf.value, bool) or not isinstance(leaf.value, (int, float)) else leaf.value
    else:
        value = getattr(leaf, _field(column)) if isinstance(leaf, TensorRecord) else None
    return None if value is None else float(value)


def _are_finite(*numbers: float) -> bool:
    return all(map(math.isfinite, numbers))


def _apart_nonfinite(npu: float, bench: float, version: Version, *, relative: bool) -> Cell:
    """How far two numbers are apart of which one is NaN or infinite.

    26.2.0 goes by what the two are, 8.3.3 by what subtraction and division make of them.
    """
    if version == "26.2.0":
        if npu == bench or (math.isnan(npu) and math.isnan(bench)):
            return 0
        if math.isnan(npu) or math.isnan(bench):
            return NAN
        return str(npu if math.isinf(npu) else -bench)
    apart = npu - bench
    if math.isnan(apart):
        return NAN
    if not relative:
        return as_cell(apart)
    return f"{abs(apart / bench * 100)}%" if bench else ABSENT


def _same_grad(row: Row, *, version: Version, mode: str) -> Cell:
    """Arguments that are no tensors agree."""
    if not (row.npu_name and row.bench_name):
        return not isinstance(row.npu or row.bench, TensorRecord)
    found = _ours("Requires_grad Consistent", mode).read(row)
    return True if found is None and row.npu_name and row.bench_name else as_cell(found)


def _data_names(row: Row, *, version: Version, mode: str) -> Cell:
    """The files of both sides; -1 stands for none."""
    if not row.npu_name:
        return ABSENT
    sides = ((row.npu_name, row.npu), (row.bench_name, row.bench))
    return str([getattr(leaf, "data_name", None) or "-1" if name else ABSENT for name, leaf in sides])


def _percent(value: object, version: Version) -> Cell:
    """A relative difference: msprobe writes it as text with its sign, and 26.2.0 a plain 0 where there is none."""
    if not isinstance(value, (int, float)):
        return as_cell(value)
    return 0 if value == 0 and version == "26.2.0" else f"{float(value)}%"


_READERS: dict[str, Callable[..., Cell]] = {
    "Data_name": _data_names,
    "Requires_grad Consistent": _same_grad,
}
