"""Steps and ranks side by side, as the page's script reads them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from acc_compare import Comparison, compare
from acc_compare.report.html.profiles import PLACE, pack_profiles
from acc_compare.report.written import write_pages

SAMPLES = Path(__file__).resolve().parents[4] / "sample_dumps"
GELU = "Functional.gelu.1.forward"


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    """Two steps of two ranks; the second step of rank 1 is at fault."""
    root = tmp_path_factory.mktemp("several")
    for step in (0, 1):
        for rank in (0, 1):
            sample = "gelu_in_bfloat16" if step and rank else "healthy"
            place = Path(f"step{step}") / f"rank{rank}"
            shutil.copytree(SAMPLES / sample / "step0" / "rank0", root / "npu" / place)
            shutil.copytree(SAMPLES / "bench_statistics" / "step0" / "rank0", root / "gpu" / place)
    return compare(root / "npu", root / "gpu", keep_rows=False)


def test_steps_of_a_rank_stand_side_by_side(opened: Callable[..., Any], several: Comparison) -> None:
    page = opened(several.overall, parts=several.findings)
    places = page.cells(PLACE)
    assert list(dict.fromkeys(places)) == ["step 0, rank 0", "step 1, rank 0", "step 0, rank 1", "step 1, rank 1"]
    assert len(places) == 4 * 114
    (suspect,) = page.data()["suspects"]
    assert (suspect["call"], suspect["place"]) == (GELU, "step 1, rank 1")


def test_what_is_like_a_suspect_is_marked_in_its_own_step_and_rank(
    opened: Callable[..., Any], several: Comparison
) -> None:
    *healthy, faulty = several.findings
    again = replace(faulty.suspects[0], step=0, rank=1, others=("Functional.gelu.0.forward",))
    parts = [*healthy[:2], replace(healthy[2], suspects=(again,)), faulty]
    alike = [(each["call"], each["place"]) for each in opened(several.overall, parts=parts).data()["alike"]]
    assert alike == [
        (GELU, "step 0, rank 1"),
        ("Functional.gelu.0.forward", "step 0, rank 1"),
        (GELU, "step 1, rank 1"),
    ]


def test_a_suspect_leads_to_its_own_step_and_rank(several: Comparison) -> None:
    table = pack_profiles(several.findings, several.suspects, "en")
    assert table.places == {GELU: 3 * 114 + several.findings[3].profile.calls.index(GELU)}  # type: ignore[union-attr]


def test_a_cell_of_the_map_leads_to_what_is_said_of_its_pair(opened: Callable[..., Any], several: Comparison) -> None:
    page = opened(several.overall, parts=several.findings)
    hrefs = [attributes["href"] for attributes, _ in page.all("a") if "pair-" in str(attributes["href"])]
    assert hrefs == ["#pair-step1_rank1"]
    assert [attributes["id"] for attributes, _ in page.all("details", class_="pair different")] == ["pair-step1_rank1"]


def test_the_page_is_made_again_without_the_dumps(
    taken_apart: Callable[[Path], Any], several: Comparison, tmp_path: Path
) -> None:
    several.write(tmp_path, timestamp="20260102030405", formats=("csv",), each=False)
    page = taken_apart(write_pages(tmp_path, lang="zh")[0])
    assert len(page.cells(PLACE)) == 4 * 114


def test_findings_without_a_profile_have_no_rows(several: Comparison) -> None:
    assert pack_profiles([replace(finding, profile=None) for finding in several.findings], (), "en").rows == 0
