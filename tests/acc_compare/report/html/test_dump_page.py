"""Pages of one dump: what they say first, and what they give to the script."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from acc_compare.report.html.dump_page import write_dump_pages

SAMPLES = Path(__file__).resolve().parents[4] / "sample_dumps"
Apart = Callable[[Path], Any]


def texts(page: Any, tag: str, **wanted: str) -> list[str]:
    return [text for _, text in page.all(tag, **wanted)]


def test_the_call_that_made_nan_is_named_and_linked(taken_apart: Apart, tmp_path: Path) -> None:
    (path,) = write_dump_pages(SAMPLES / "nan_in_layer_norm", tmp_path, stamp="1")
    assert path.name == "graph_1.html"
    page = taken_apart(path)
    assert texts(page, "span", class_="badge") == ["NaN/INF"]
    ((link, name),) = page.all("a", class_="goto")
    assert name == "Functional.layer_norm.2.forward"
    place = int(str(link["href"]).removeprefix("#row=")) - 1
    assert page.cells("Name")[place] == name
    (suspect,) = page.data()["suspects"]
    assert (suspect["call"], suspect["tensor"]) == (name, "output.0")


def test_a_finite_dump_accuses_nothing(taken_apart: Apart, tmp_path: Path) -> None:
    (path,) = write_dump_pages(SAMPLES / "healthy", tmp_path, stamp="1")
    page = taken_apart(path)
    assert texts(page, "span", class_="badge") == ["FINITE"]
    assert page.all("a", class_="goto") == []
    assert page.data()["suspects"] == []


def test_elements_are_shown_where_the_dump_has_them(taken_apart: Apart, tmp_path: Path) -> None:
    for sample, expected in (("real_data", True), ("md5", False)):
        (path,) = write_dump_pages(SAMPLES / sample, tmp_path, stamp=sample)
        panels = taken_apart(path).data()["panels"]
        assert bool(panels) == expected
        assert all(panel["bench_dtype"] == "" for panel in panels)


def test_several_ranks_and_steps_have_a_page_each(taken_apart: Apart, tmp_path: Path) -> None:
    for step, rank, sample in ((0, 0, "healthy"), (0, 1, "nan_in_layer_norm"), (1, 0, "healthy")):
        shutil.copytree(SAMPLES / sample / "step0" / "rank0", tmp_path / "dump" / f"step{step}" / f"rank{rank}")
    over, *pages = write_dump_pages(tmp_path / "dump", tmp_path, stamp="1")
    assert [path.name for path in pages] == [
        "graph_step0_rank0_1.html",
        "graph_step0_rank1_1.html",
        "graph_step1_rank0_1.html",
    ]
    page = taken_apart(over)
    links = {attributes["href"]: text for attributes, text in page.all("a") if str(attributes["href"]).endswith("html")}
    assert set(links) == {path.name for path in pages}
    assert "NaN" in links["graph_step0_rank1_1.html"]
    assert texts(page, "td", class_="none") == ["–"]


@pytest.mark.parametrize("cut", [0.5, 0.9])
def test_a_dump_that_is_still_being_written(taken_apart: Apart, tmp_path: Path, cut: float) -> None:
    shutil.copytree(SAMPLES / "healthy", tmp_path / "dump")
    file = tmp_path / "dump" / "step0" / "rank0" / "dump.json"
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * cut)])
    (path,) = write_dump_pages(tmp_path / "dump", tmp_path, stamp="1")
    page = taken_apart(path)
    assert texts(page, "span", class_="badge") == ["CUT SHORT"]
    assert 0 < page.data()["rows"] < 503


def test_words_of_a_comparison_do_not_stand_on_it(taken_apart: Apart, tmp_path: Path) -> None:
    (path,) = write_dump_pages(SAMPLES / "healthy", tmp_path, stamp="1", lang="zh")
    words = taken_apart(path).data()["words"]
    assert words["plot.suspect"] == "产生 NaN 或 Inf"
