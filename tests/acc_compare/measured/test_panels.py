"""Which tensors get a panel, and how much is looked at."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from acc_compare import compare
from acc_compare.measured import panels
from acc_compare.measured.panels import panels_of
from acc_compare.model import Finding
from dump.format.layout import find_dumps

SAMPLES = Path(__file__).resolve().parents[3] / "sample_dumps"
SIDES = tuple(find_dumps(SAMPLES / name)[0].path for name in ("real_data", "bench_tensor"))


@pytest.fixture(scope="module")
def finding() -> Finding:
    return compare(SAMPLES / "real_data", SAMPLES / "bench_tensor").overall


def test_what_a_suspect_is_accused_for_comes_first_then_what_it_read(finding: Finding) -> None:
    suspect = finding.suspects[0]
    names = [panel.name for panel in finding.panels]
    assert names[0] == f"{suspect.name}.{suspect.tensor}"
    assert f"{suspect.name}.input.0" in names[1:]
    assert finding.panels[0].different == 32


def test_the_number_is_bounded(finding: Finding, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(panels, "MOST", 1)
    assert [panel.name for panel in panels_of(finding, *SIDES)] == [finding.panels[0].name]


def test_so_are_the_elements(finding: Finding, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(panels, "ELEMENTS", finding.panels[0].elements - 1)
    assert panels_of(finding, *SIDES) == ()


def test_the_furthest_off_follow(finding: Finding, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(panels, "OTHERS", 1)
    (found,) = panels_of(replace(finding, suspects=()), *SIDES)
    assert found.name == f"{finding.suspects[0].name}.output.0"


def test_statistics_have_no_elements_to_look_at() -> None:
    assert compare(SAMPLES / "gelu_in_bfloat16", SAMPLES / "bench_statistics").overall.panels == ()
