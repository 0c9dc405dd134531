"""What the page's script is given of the elements of tensors."""

from __future__ import annotations

import json
import math
from base64 import b64decode
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from acc_compare import compare
from acc_compare.model import Finding
from acc_compare.report.html.panels import packed_panels
from acc_compare.report.written import read_result

SAMPLES = Path(__file__).resolve().parents[4] / "sample_dumps"


@pytest.fixture(scope="module")
def finding() -> Finding:
    return compare(SAMPLES / "real_data", SAMPLES / "bench_tensor").overall


def test_a_page_has_the_panels_of_its_finding(opened: Callable[..., Any], finding: Finding) -> None:
    panels = opened(finding).data()["panels"]
    assert [panel["name"] for panel in panels] == [panel.name for panel in finding.panels]
    assert finding.panels[0].map is not None
    assert b64decode(panels[0]["map"]["levels"]) == finding.panels[0].map.levels


def test_numbers_that_json_has_not_are_text(finding: Finding) -> None:
    worst = replace(finding.panels[0].worst[0], npu=math.nan, bench=-math.inf)
    (packed,) = packed_panels([replace(finding.panels[0], worst=(worst,))])
    assert (packed["worst"][0]["npu"], packed["worst"][0]["bench"]) == ("nan", "-inf")
    json.dumps(packed, allow_nan=False)


def test_a_panel_takes_a_few_kilobytes(finding: Finding) -> None:
    assert max(len(json.dumps(panel)) for panel in packed_panels(finding.panels)) < 8_000


def test_a_written_result_keeps_them(tmp_path: Path, finding: Finding) -> None:
    comparison = compare(SAMPLES / "real_data", SAMPLES / "bench_tensor")
    comparison.write(tmp_path, formats=("csv",))
    assert read_result(tmp_path).overall.panels == finding.panels
