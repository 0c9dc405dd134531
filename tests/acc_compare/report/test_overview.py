from __future__ import annotations

import dataclasses
import math

import pytest
from openpyxl import load_workbook

from acc_compare.messages import listed
from acc_compare.report.overview import write_overview
from acc_compare.report.overview_text import overview_text
from acc_compare.report.styles import STRONG_TINTS
from dump.format.errors import OutputError


def findings(build):
    """Two steps of two ranks, one pair missing; the first differs."""
    suspect = build.suspect(name="=Functional.gelu.2.forward")
    bad = build.finding(suspects=(suspect,), step=0, rank=0, worst_excess=5300.0)
    good = dataclasses.replace(build.same(), worst_excess=0.4)
    return [
        dataclasses.replace(bad, verdict="different"),
        dataclasses.replace(good, step=0, rank=1),
        dataclasses.replace(good, step=1, rank=0, verdict="incomplete", worst_excess=None),
    ]


def test_the_grid_has_the_worst_excess_of_each_pair(build, tmp_path):
    write_overview(findings(build), tmp_path / "a.xlsx")
    sheet = load_workbook(tmp_path / "a.xlsx")["Overview"]
    grid = [[cell.value for cell in line] for line in sheet["A1:C3"]]
    assert grid == [["Worst excess", "step 0", "step 1"], ["rank 0", 5300, "-"], ["rank 1", 0.4, None]]
    colours = [sheet[at].fill.start_color.rgb for at in ("B2", "B3", "C2")]
    assert colours == ["FF" + STRONG_TINTS[tint] for tint in ("error", "pass", "warning")]


def test_settings_that_differ_are_told_once_below_the_grid(build, tmp_path):
    told = [
        dataclasses.replace(finding, settings=(listed(["=HF32 here"]),), npu_device="npu (SimulatedNPU)")
        for finding in findings(build)
    ]
    for number, pair in enumerate((findings(build), told)):
        write_overview(pair, tmp_path / f"{number}.xlsx")
        lines = [cell.value for cell in load_workbook(tmp_path / f"{number}.xlsx")["Overview"]["A"]]
        assert lines.count("Settings differ. =HF32 here") == number
        assert lines.count("The NPU side ran on npu (SimulatedNPU).") == number


def test_each_pair_has_a_line(build, tmp_path):
    write_overview(findings(build), tmp_path / "a.xlsx")
    sheet = load_workbook(tmp_path / "a.xlsx")["Pairs"]
    lines = [[cell.value for cell in line[:7]] for line in sheet.iter_rows(min_row=2)]
    assert lines[0] == [0, 0, "different", 5300, "=Functional.gelu.2.forward", "operator", 1]
    assert [line[:4] for line in lines[1:]] == [[0, 1, "same", 0.4], [1, 0, "incomplete", "-"]]
    assert not [cell for line in sheet for cell in line if cell.data_type == "f"]


def test_an_overview_is_not_overwritten(build, tmp_path):
    (tmp_path / "a.xlsx").write_text("mine")
    with pytest.raises(OutputError, match="exists already"):
        write_overview(findings(build), tmp_path / "a.xlsx")


def test_as_text(build):
    assert overview_text(findings(build)).splitlines() == [
        "Worst excess, rank by step (! differs, ? incomplete)",
        "                step 0      step 1",
        "  rank 0       5,300 !         - ?",
        "  rank 1           0.4           -",
        "  step 0, rank 0: first suspect =Functional.gelu.2.forward (operator)",
    ]


def test_as_text_without_ranks(build):
    alone = [dataclasses.replace(finding, rank=None) for finding in findings(build) if finding.rank == 0]
    assert overview_text(alone).splitlines() == [
        "Worst excess by step (! differs, ? incomplete)",
        "                step 0      step 1",
        "               5,300 !         - ?",
        "  step 0: first suspect =Functional.gelu.2.forward (operator)",
    ]


def test_many_ranks_are_counted_not_all_told(build):
    infinite = dataclasses.replace(findings(build)[0], worst_excess=math.inf)
    text = overview_text([dataclasses.replace(infinite, rank=rank) for rank in range(25)])
    assert text.count("inf !") == 20
    assert "and 5 more pairs, in the workbook" in text
    assert "and 5 more pairs with suspects, in the workbook" in text
