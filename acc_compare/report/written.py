"""A result that was written, read again: the advisor's JSON, and the best of the tables beside it."""

from __future__ import annotations

import contextlib
import csv
import itertools
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from acc_compare.model import Finding
from acc_compare.report.advisor import advisor_text
from acc_compare.report.columns import ABSENT, COLUMNS, NAMES, Column
from acc_compare.report.formatting import stem_of
from acc_compare.report.html.page import wanted_places, write_page
from acc_compare.report.html.table import PackedTable, pack_cells
from acc_compare.report.i18n import known_language
from acc_compare.report.messages import Lang
from acc_compare.report.plain_tables import has_pyarrow
from acc_compare.report.record import from_record
from acc_compare.report.safe_text import looks_like_formula
from acc_compare.report.write import FOLDER
from dump.format.errors import AccError, ResultError

_PREFIXES = ("advisor", "compare_result", "overview")
_WORDS: dict[str, object] = {"True": True, "False": False, ABSENT: None}
_LARGEST_FIELD = 1 << 24
"""Characters of one field of a csv; a stack is far below."""


@dataclass(frozen=True, slots=True)
class WrittenResult:
    """One run's files: `stamp` is what their names end in, `overall` the finding of all, `parts` those of each step and
    rank where there are several, and `tables` the best table of each by `step0_rank1`, or "" for the only one."""

    folder: Path
    stamp: str
    overall: Finding
    parts: tuple[Finding, ...]
    tables: dict[str, Path]


def write_pages(result: Path, out: Path | None = None, *, lang: str = "en") -> tuple[Path, ...]:
    """Write the page of a written result, and of several steps or ranks the page of each that has a table.

    `result` is a folder of results, of which the newest is taken, or one file of a result.  The pages go beside it, or
    into the folder `out`, under names that no page there has.  Returns them, the one over all first.

    Raises ResultError, ConfigError, OutputError.
    """
    language = known_language(lang)
    written = read_result(result)
    folder = out if out is not None else written.folder
    first = f"{'overview' if written.parts else 'compare_result'}_{written.stamp}"
    stems = {stem: _joined("compare_result", stem, written.stamp) for stem in written.tables}
    tail = _free_tail(folder, [first, *(stems.values() if written.parts else ())])
    named = {stem: f"{base}{tail}.html" for stem, base in stems.items()}
    if not written.parts:
        path = folder / f"{first}{tail}.html"
        table = _table(written.tables[""], written.overall, language) if "" in written.tables else None
        write_page(written.overall, path, lang=language, table=table)
        return (path,)
    paths = [folder / f"{first}{tail}.html"]
    write_page(written.overall, paths[0], lang=language, parts=written.parts, pages=named)
    for part in written.parts:
        stem = stem_of(part)
        if stem in written.tables:
            paths.append(folder / named[stem])
            write_page(part, paths[-1], lang=language, table=_table(written.tables[stem], part, language))
    return tuple(paths)


def _free_tail(folder: Path, bases: Sequence[str]) -> str:
    """ "" or the first of `_1`, `_2`, ... with which there is no page yet: the comparison has written one."""
    tails = itertools.chain([""], (f"_{number}" for number in itertools.count(1)))
    return next(tail for tail in tails if not any((folder / f"{base}{tail}.html").exists() for base in bases))


def read_result(result: Path) -> WrittenResult:
    """The result that `result` is, or the newest in it.  Raises ResultError."""
    advisor = _advisor_of(result)
    try:
        document = msgspec.json.decode(advisor.read_bytes())
        record = document.get("record") if isinstance(document, dict) else None
        overall, parts = from_record(record)
        for finding in (overall, *parts):
            advisor_text(finding)  # every sentence can be said
    except OSError as error:
        raise ResultError(f"cannot read {advisor}: {error.strerror or error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ResultError(f"{advisor} is no JSON that acc compare wrote: {error}") from error
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise ResultError(f"{advisor} says something that this version has no words for: {error}") from error
    except ResultError as error:
        raise ResultError(f"{advisor}: {error}") from error
    stamp = advisor.stem.removeprefix("advisor_")
    stems = [stem_of(part) for part in parts] or [""]
    found = {stem: _best(advisor.parent / _joined("compare_result", stem, stamp)) for stem in stems}
    return WrittenResult(
        advisor.parent, stamp, overall, parts, {s: path for s, path in found.items() if path is not None}
    )


def _advisor_of(result: Path) -> Path:
    if result.is_dir():
        folder = result / FOLDER if (result / FOLDER).is_dir() else result
        found = sorted(folder.glob("advisor_*.json"), key=lambda path: (path.stat().st_mtime_ns, path.name))
        if not found:
            raise ResultError(f"no advisor_*.json lies in {result}; give the folder that acc compare wrote")
        return found[-1]
    if not result.exists():
        raise ResultError(f"{result} does not exist; give a folder of results, or a file in it")
    for prefix in _PREFIXES:
        if result.name.startswith(f"{prefix}_"):
            stamp = result.stem.removeprefix(f"{prefix}_")
            for advisor in (f"advisor_{stamp}.json", f"advisor_{stamp.rpartition('_')[2]}.json"):
                if (result.parent / advisor).is_file():
                    return result.parent / advisor
    raise ResultError(f"{result} is no file of a result, or its advisor_*.json does not lie beside it")


def _best(base: Path) -> Path | None:
    """The table with the most in it: a workbook may hold a part of the rows, and parquet has numbers alone where some
    cells of a column are words."""
    for suffix in (".csv", ".parquet", ".xlsx"):
        path = base.with_name(base.name + suffix)
        if path.is_file() and (suffix != ".parquet" or has_pyarrow()):
            return path
    return None


def _joined(*parts: str) -> str:
    return "_".join(part for part in parts if part)


def _table(path: Path, finding: Finding, lang: Lang = "en") -> PackedTable:
    """A table packed for a page in `lang`.  Raises ResultError."""
    read = {".parquet": _read_parquet, ".csv": _read_csv, ".xlsx": _read_workbook}[path.suffix]
    try:
        heads, cells = read(path)
    except AccError:
        raise
    except Exception as error:  # three readers of foreign make, each with errors of its own
        raise ResultError(f"cannot read the table {path}: {error}") from error
    if not set(NAMES) <= set(heads) or "Result" not in heads:
        raise ResultError(f"{path} is no table of a comparison: it lacks the columns {', '.join((*NAMES, 'Result'))}")
    known = {column.name: column for column in COLUMNS[finding.mode]}
    columns = [known.get(head) or Column(head, lambda row: None, "text", 13, "", ours=True) for head in heads]
    return pack_cells(
        columns,
        [list(map(_reader(column), each)) for column, each in zip(columns, cells, strict=True)],
        wanted_places(finding),
        mode=finding.mode,
        lang=lang,
    )


def _read_csv(path: Path) -> tuple[list[str], list[Sequence[object]]]:
    with path.open(encoding="utf-8", newline="") as stream, _long_fields():
        lines = csv.reader(stream)
        heads = next(lines, [])
        return heads, [column[1:] for column in zip(heads, *lines, strict=True)]


@contextlib.contextmanager
def _long_fields() -> Iterator[None]:
    before = csv.field_size_limit(min(_LARGEST_FIELD, sys.maxsize))
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _read_parquet(path: Path) -> tuple[list[str], list[Sequence[object]]]:
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(path)
    return list(table.column_names), [column.to_pylist() for column in table.columns]


def _read_workbook(path: Path) -> tuple[list[str], list[Sequence[object]]]:
    from openpyxl import load_workbook

    book = load_workbook(path, read_only=True)
    try:
        sheet = book["Compare"]
        sheet.reset_dimensions()  # those it tells are of the header alone
        # A cell that does not apply is N/A; an empty one is an empty text.
        lines = (["" if cell is None else cell for cell in line] for line in sheet.iter_rows(values_only=True))
        heads = [str(cell) for cell in next(lines, ())]
        return heads, [column[1:] for column in zip(heads, *lines, strict=True)]
    finally:
        book.close()


def _reader(column: Column) -> Any:
    """A function that makes a cell of `column` again of what a table has for it."""
    if column.style == "text":
        return _text
    return _flag if column.style == "flag" else _number


def _text(cell: object) -> object:
    if cell is None or cell == ABSENT:
        return None
    shown = str(cell)
    # A csv guards what a spreadsheet would compute with an apostrophe.
    return shown[1:] if shown.startswith("'") and looks_like_formula(shown[1:]) else shown


def _flag(cell: object) -> object:
    return _WORDS.get(cell, cell) if isinstance(cell, str) else cell


def _number(cell: object) -> object:
    if not isinstance(cell, str):
        return cell
    if cell in _WORDS:
        return _WORDS[cell]
    try:
        return int(cell) if cell.lstrip("-").isdecimal() and len(cell) < 17 else float(cell)
    except ValueError:
        return cell
