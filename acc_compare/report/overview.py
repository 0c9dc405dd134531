"""Many steps and ranks in one workbook: a grid of rank and step, and a line for each pair of dumps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from openpyxl import Workbook
from openpyxl.styles import Alignment
from openpyxl.utils import get_column_letter
from openpyxl.worksheet.worksheet import Worksheet

from acc_compare.model import Finding, VerdictName
from acc_compare.report.atomic_write import new_file
from acc_compare.report.i18n import text
from acc_compare.report.overview_text import Grid, label, without_number
from acc_compare.report.styles import STRONG_TINTS, TINTS, Tint, fill, number_face
from acc_compare.report.summary_sheet import as_pages, head_cell, put

VERDICT_TINTS: dict[VerdictName, Tint] = {"same": "pass", "different": "error", "incomplete": "warning"}
_LINES: tuple[tuple[str, float], ...] = (
    ("Step", 8),
    ("Rank", 8),
    ("Verdict", 13),
    ("Worst excess", 14),
    ("First suspect", 52),
    ("Kind", 12),
    ("Suspects", 10),
    ("Calls", 10),
    ("Unmatched calls", 12),
    ("NPU dump", 50),
    ("Bench dump", 50),
)


def write_overview(findings: Sequence[Finding], path: Path) -> None:
    """An Excel file: sheet Overview is rank by step, the worst excess coloured by the verdict; Pairs has a line for
    each pair of dumps.  Raises OutputError where `path` exists or cannot be written."""
    book = Workbook()
    book.properties.creator = "acc compare"
    book.active.title = "Overview"
    _fill_grid(book.active, Grid.of(findings))
    _fill_below(book.active, findings)
    _fill_lines(book.create_sheet("Pairs"), findings)
    with new_file(path) as draft:
        book.save(draft)


def _fill_grid(sheet: Worksheet, grid: Grid) -> None:
    head_cell(sheet, "A1", "Worst excess")
    sheet.column_dimensions["A"].width = 14
    for column, step in enumerate(grid.steps, 2):
        letter = get_column_letter(column)
        head_cell(sheet, f"{letter}1", label("step", step), align="right")
        sheet.column_dimensions[letter].width = 12
    for line, rank in enumerate(grid.ranks, 2):
        put(sheet, f"A{line}", label("rank", rank), bold=True)
        for column, step in enumerate(grid.steps, 2):
            finding = grid.at.get((rank, step))
            if finding is not None:
                _put_excess(sheet, f"{get_column_letter(column)}{line}", finding)
    put(
        sheet,
        f"A{len(grid.ranks) + 3}",
        "Green: same. Red: different. Yellow: incomplete. The sheet Pairs has the rest.",
    )
    sheet[f"A{len(grid.ranks) + 3}"].alignment = Alignment(horizontal="left")
    sheet.freeze_panes = "B2"
    as_pages(sheet)


def _fill_below(sheet: Worksheet, findings: Sequence[Finding]) -> None:
    """Below the grid, each once: settings that differ between the sides, and devices that are no hardware."""
    sentences = [f"Settings differ. {text(setting)}" for finding in findings for setting in finding.settings]
    for finding in findings:
        sides = (("NPU", finding.npu_device), ("bench", finding.bench_device))
        sentences += [f"The {side} side ran on {device}." for side, device in sides if "simulated" in device.lower()]
    for line, sentence in enumerate(dict.fromkeys(sentences), sheet.max_row + 2):
        put(sheet, f"A{line}", sentence).alignment = Alignment(horizontal="left")


def _put_excess(sheet: Worksheet, at: str, finding: Finding) -> None:
    worst = finding.worst_excess
    finite = worst is not None and math.isfinite(worst)
    cell = put(sheet, at, worst if finite else without_number(finding))
    cell.fill = fill(STRONG_TINTS[VERDICT_TINTS[finding.verdict]])
    cell.alignment = Alignment(horizontal="right", indent=1)
    if worst is not None and finite:
        cell.number_format = number_face("factor", worst)


def _fill_lines(sheet: Worksheet, findings: Sequence[Finding]) -> None:
    for column, (name, width) in enumerate(_LINES, 1):
        letter = get_column_letter(column)
        head_cell(sheet, f"{letter}1", name)
        sheet.column_dimensions[letter].width = width
    for line, finding in enumerate(findings, 2):
        for column, value in enumerate(_values(finding), 1):
            cell = put(sheet, f"{get_column_letter(column)}{line}", value)
            cell.fill = fill(TINTS[VERDICT_TINTS[finding.verdict]])
        _put_excess(sheet, f"D{line}", finding)
    sheet.freeze_panes = "A2"
    sheet.print_title_rows = "1:1"
    as_pages(sheet)
    sheet.auto_filter.ref = f"A1:{get_column_letter(len(_LINES))}{len(findings) + 1}"


def _values(finding: Finding) -> tuple[object, ...]:
    first = finding.suspects[0] if finding.suspects else None
    coverage = finding.coverage
    return (
        finding.step,
        finding.rank,
        finding.verdict,
        None,
        first.name if first else None,
        first.kind if first else None,
        len(finding.suspects),
        coverage.calls,
        coverage.unmatched_npu + coverage.unmatched_bench,
        finding.npu_path,
        finding.bench_path,
    )
