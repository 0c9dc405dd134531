"""Where the results of a comparison go: `OUT/accuracy_compare/`, each run's files under its time."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from acc_compare.model import Finding
from acc_compare.report.advisor import advisor_json, advisor_text
from acc_compare.report.atomic_write import new_file
from acc_compare.report.encoded import EncodedTable
from acc_compare.report.formatting import stem_of
from acc_compare.report.html.page import write_page
from acc_compare.report.i18n import known_language
from acc_compare.report.messages import Lang
from acc_compare.report.plain_tables import require_pyarrow, write_csv, write_parquet
from dump.format.errors import ConfigError

FOLDER = "accuracy_compare"
DEFAULT_FORMATS = ("xlsx", "html")


@dataclass(frozen=True, slots=True)
class ReportPaths:
    """The files written: the tables in the order of the formats, the advisor's two, and of several steps or ranks the
    overviews: the workbook first, then the page where there is one."""

    tables: tuple[Path, ...]
    advisor_text: Path
    advisor_json: Path
    overviews: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class TableFormat:
    """One way to write all rows.  `write` takes the finding, the path and what else was chosen, and gives back the
    files it made; `check` raises ConfigError where the format cannot be had here, before anything is written."""

    suffix: str
    write: Callable[[Finding, Path, ReportChoice], tuple[Path, ...]]
    check: Callable[[], None] | None = None


@dataclass(frozen=True, slots=True)
class ReportChoice:
    """The language of sentences, all formats that are written of a finding, and its table, which they share."""

    lang: Lang
    formats: frozenset[str]
    table: EncodedTable


_FORMATS: dict[str, TableFormat] = {}


def register_format(name: str, table_format: TableFormat) -> None:
    """Make `--format name` known.

    Raises:
        ValueError: the name is taken.
    """
    if name in _FORMATS:
        raise ValueError(f"the table format {name!r} is registered already")
    _FORMATS[name] = table_format


def known_formats() -> tuple[str, ...]:
    """The names that `formats` takes, in the order in which their files are written."""
    return tuple(_FORMATS)


def write_reports(
    finding: Finding,
    out_dir: Path,
    *,
    timestamp: str,
    formats: Sequence[str] = DEFAULT_FORMATS,
    stem: str = "",
    lang: str = "en",
) -> ReportPaths:
    """Write one finding's tables and advisor into `out_dir/accuracy_compare/`.

    The files are `compare_result_{timestamp}.*` and `advisor_{timestamp}.txt` and `.json`, with `stem` (such
    as `step0_rank1`) before the time where there is one.  Where any of them exists, all get `_1`, `_2`, ...
    after it.  The advisor's text and the page are in `lang`, everything else in English.

    Raises:
        ConfigError: an unknown format or language, or one that needs a package that is not installed.
        OutputError: the folder cannot be written.
    """
    return _write(
        [(stem, finding)], finding, out_dir, timestamp=timestamp, formats=formats, advisor_stem=stem, lang=lang
    )


def write_many_reports(
    findings: Sequence[Finding],
    overall: Finding,
    out_dir: Path,
    *,
    timestamp: str,
    formats: Sequence[str] = DEFAULT_FORMATS,
    lang: str = "en",
    each: bool = True,
) -> ReportPaths:
    """Write one advisor and `overview_{timestamp}.xlsx` over all findings, the page `overview_{timestamp}.html` where
    html is one of the formats, and, where `each` says so, the tables of each finding, named for its step and rank.

    Raises:
        ValueError: two findings are of the same step and rank.
        ConfigError, OutputError: as `write_reports`.
    """
    parts = [(stem_of(finding), finding) for finding in findings]
    if len({stem for stem, _ in parts}) < len(parts):
        raise ValueError("two findings of one step and rank would share a file")
    tables = parts if each else []
    paths = _write(
        tables,
        overall,
        out_dir,
        timestamp=timestamp,
        formats=formats,
        advisor_stem="",
        lang=lang,
        beside=("overview",),
        over=findings,
    )
    from acc_compare.report.overview import write_overview  # openpyxl takes a fifth of a second

    base = paths.advisor_text.with_name(paths.advisor_text.name.replace("advisor", "overview", 1))
    overviews = [base.with_suffix(".xlsx")]
    write_overview(findings, overviews[0])
    if "html" in formats:
        overviews.append(base.with_suffix(".html"))
        pages = [path.name for path in paths.tables if path.suffix == ".html"]
        by_stem = dict(zip((stem for stem, _ in tables), pages, strict=True)) if pages else {}
        write_page(overall, overviews[1], lang=known_language(lang), parts=findings, pages=by_stem)
    return replace(paths, overviews=tuple(overviews))


def _write(
    parts: Sequence[tuple[str, Finding]],
    overall: Finding,
    out_dir: Path,
    *,
    timestamp: str,
    formats: Sequence[str],
    advisor_stem: str,
    lang: str,
    beside: Sequence[str] = (),
    over: Sequence[Finding] = (),
) -> ReportPaths:
    chosen, language = _chosen(formats), known_language(lang)
    folder = out_dir / FOLDER
    bases = [_base("compare_result", stem, timestamp) for stem, _ in parts]
    advisor = _base("advisor", advisor_stem, timestamp)
    tail = _free_tail(folder, [*bases, advisor, *(_base(kind, "", timestamp) for kind in beside)])
    tables: list[Path] = []
    for base, (_, finding) in zip(bases, parts, strict=True):
        choice = ReportChoice(language, frozenset(formats), EncodedTable(finding))
        for table_format in chosen:
            path = folder / f"{base}{tail}{table_format.suffix}"
            if path not in tables:  # a workbook that overflowed has written one of them
                tables.extend(table_format.write(finding, path, choice))
    text = _place(folder / f"{advisor}{tail}.txt", advisor_text(overall, lang=language).encode("utf-8", "replace"))
    document = _place(folder / f"{advisor}{tail}.json", advisor_json(overall, over))
    return ReportPaths(tuple(tables), text, document)


def _base(kind: str, stem: str, timestamp: str) -> str:
    return "_".join(part for part in (kind, stem, timestamp) if part)


def _free_tail(folder: Path, bases: Sequence[str]) -> str:
    """ "" or the first of `_1`, `_2`, ... with which no file of this run exists yet, whatever the format."""
    suffixes = {".txt", ".json", *(table_format.suffix for table_format in _FORMATS.values())}
    tails = itertools.chain([""], (f"_{number}" for number in itertools.count(1)))
    return next(
        tail
        for tail in tails
        if not any(os.path.lexists(folder / f"{base}{tail}{suffix}") for base in bases for suffix in suffixes)
    )


def _place(path: Path, content: bytes) -> Path:
    with new_file(path) as draft:
        draft.write_bytes(content)
    return path


def _chosen(formats: Sequence[str]) -> list[TableFormat]:
    unknown = [name for name in formats if name not in _FORMATS]
    if unknown:
        raise ConfigError(f"unknown format {unknown[0]!r}; known formats: {', '.join(_FORMATS)}")
    chosen = [table_format for name, table_format in _FORMATS.items() if name in formats]
    for table_format in chosen:
        if table_format.check:
            table_format.check()
    return chosen


def _xlsx(finding: Finding, path: Path, choice: ReportChoice) -> tuple[Path, ...]:
    from acc_compare.report.workbook import write_workbook  # openpyxl takes a fifth of a second

    page = path.with_suffix(".html").name if "html" in choice.formats else None
    return write_workbook(finding, path, page=page, table=choice.table, formats=choice.formats)


def _csv(finding: Finding, path: Path, choice: ReportChoice) -> tuple[Path, ...]:
    write_csv(choice.table, path)
    return (path,)


def _parquet(finding: Finding, path: Path, choice: ReportChoice) -> tuple[Path, ...]:
    write_parquet(choice.table, path)
    return (path,)


def _html(finding: Finding, path: Path, choice: ReportChoice) -> tuple[Path, ...]:
    write_page(finding, path, lang=choice.lang, table=choice.table)
    return (path,)


# xlsx comes first: a workbook that overflows writes parquet or csv itself.
register_format("xlsx", TableFormat(".xlsx", _xlsx))
register_format("csv", TableFormat(".csv", _csv))
register_format("parquet", TableFormat(".parquet", _parquet, require_pyarrow))
register_format("html", TableFormat(".html", _html))
