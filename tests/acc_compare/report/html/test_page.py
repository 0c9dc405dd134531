from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from acc_compare.report.html import page as page_module
from acc_compare.report.html.overview import heat
from acc_compare.report.messages import CATALOGUE
from dump.format.errors import OutputError

SOURCE = Path(page_module.__file__).parent / "source" / "src"
HOSTILE = '</script><script>alert(1)</script><img src=x onerror="alert(2)"><!--'


def test_the_verdict_comes_first_then_suspects_run_modules_and_rows(build: Any, opened: Callable[..., Any]) -> None:
    ids = opened(build.gelu(stacks=True)).ids()
    order = ["verdict", "suspects", "run", "modules", "rows", "data"]
    assert [name for name in ids if name in order] == order


def test_suspects_are_cards_with_what_the_advisor_says(build: Any, opened: Callable[..., Any]) -> None:
    page = opened(build.gelu(stacks=True))
    (card,) = page.all("article")
    assert card[0]["data-call"] == "Functional.gelu.2.forward"
    codes = [text for _, text in page.all("code")]
    assert "acc dump --task tensor --list Functional.gelu.2.forward -- python train.py" in codes
    assert any("model.py:58" in text for text in codes)
    assert len(page.all("button", class_="copy")) == 1
    (row,) = page.all("a", class_="goto")
    place = int(str(row[0]["href"]).removeprefix("#row=")) - 1
    assert page.cells("NPU Name")[place] == "Functional.gelu.2.forward"
    assert page.cells("NPU Name", 1)[place] == "output.0"


def test_nothing_is_fetched_and_nothing_but_the_bundle_runs(build: Any, opened: Callable[..., Any]) -> None:
    page = opened(build.gelu())
    ((policy, _),) = page.all("meta", **{"http-equiv": "Content-Security-Policy"})
    scripts = [text for attributes, text in page.all("script") if attributes.get("type") is None]
    styles = [text for _, text in page.all("style")]
    assert len(scripts) == len(styles) == 1
    for directive, content in (("script-src", scripts[0]), ("style-src", styles[0])):
        digest = b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}'" in str(policy["content"])
    assert str(policy["content"]).startswith("default-src 'none'; ")
    assert "unsafe" not in str(policy["content"])
    for name, attributes in page.elements:
        assert name not in ("link", "img", "iframe", "object", "embed", "base", "form")
        assert not {"src", "style"} & set(attributes)
        assert not [key for key in attributes if key.startswith("on")]
        assert str(attributes.get("href") or "#").startswith("#")


def test_names_of_a_dump_are_text(build: Any, opened: Callable[..., Any]) -> None:
    plain = opened(build.gelu(stacks=True))
    finding = build.gelu(stacks=True)
    (suspect,) = finding.suspects
    rows = tuple(
        type(row)(
            **{**{name: getattr(row, name) for name in row.__struct_fields__}, "module": HOSTILE, "stack": HOSTILE}
        )
        for row in finding.rows
    )
    hostile = replace(suspect, name=HOSTILE, module=HOSTILE, tensor=HOSTILE, stack=(HOSTILE,), others=(HOSTILE,))
    page = opened(replace(finding, suspects=(hostile,), rows=rows, npu_path=HOSTILE, bench_device=HOSTILE))
    assert page.all("img") == []
    scripts = [attributes.get("type") for attributes, _ in page.all("script")]
    assert scripts.count(None) == 1
    assert page.data()["suspects"][0]["call"] == HOSTILE
    assert set(page.cells("Module")) == {HOSTILE}
    assert [name for name, _ in plain.elements].count("article") == [name for name, _ in page.elements].count("article")


def test_a_thousand_calls_are_well_under_ten_megabytes(build: Any, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    page_module.write_page(build.gelu(size=4000, stacks=True), path)
    assert path.stat().st_size < 2e6


@pytest.mark.parametrize("finding", ["same", "nan", "seed", "optimizer"])
def test_every_kind_of_finding_is_shown(build: Any, opened: Callable[..., Any], finding: str) -> None:
    found = getattr(build, finding)()
    page = opened(found)
    assert len(page.all("article")) == len(found.suspects)
    assert ("data" in page.ids()) == bool(found.rows)
    assert page.all("section", id="verdict")[0][0]["class"] == f"card {found.verdict}"


def test_numbers_stand_large_where_there_are_any(build: Any, opened: Callable[..., Any]) -> None:
    assert len(opened(build.gelu()).all("div", class_="figures")) == 1
    assert opened(build.nan()).all("div", class_="figures") == []


def test_the_contents_name_what_is_there(build: Any, opened: Callable[..., Any]) -> None:
    def targets(page: Any) -> list[str]:
        hrefs = [str(attributes["href"]) for attributes, _ in page.all("a")]
        return [href for href in hrefs if "=" not in href and not href.startswith("#pair-")]

    assert targets(opened(build.same())) == ["#verdict", "#run", "#modules", "#rows"]
    assert targets(opened(replace(build.same(), rows=()))) == ["#verdict"]
    assert targets(opened(build.gelu())) == ["#verdict", "#suspects", "#run", "#modules", "#rows"]
    parts = [replace(build.gelu(), rank=rank, rows=()) for rank in (0, 1)]
    assert targets(opened(replace(build.gelu(), rows=()), parts=parts)) == ["#verdict", "#suspects", "#map"]


def test_many_suspects_get_a_line_each(build: Any, opened: Callable[..., Any]) -> None:
    (first,) = build.gelu().suspects
    many = tuple(replace(first, name=f"Functional.gelu.{number}.forward") for number in range(30))
    page = opened(replace(build.gelu(), suspects=many))
    assert len(page.all("article")) == 20
    assert len(page.all("ol")) == 1
    assert len(page.data()["suspects"]) == 30


def test_the_page_speaks_chinese(build: Any, opened: Callable[..., Any]) -> None:
    page = opened(build.gelu(), lang="zh")
    assert page.elements[0] == ("html", {"lang": "zh-Hans"})
    assert page.data()["words"]["table.columns"] == CATALOGUE["zh"]["page.table.columns"]
    english = {said for key, said in CATALOGUE["en"].items() if key.startswith(("page.", "label."))}
    # The kind of a suspect is a key, the same everywhere.
    assert english & {text.strip() for text in page.texts} - {"operator"} == set()


def test_a_page_is_written_once(build: Any, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    page_module.write_page(build.same(), path)
    with pytest.raises(OutputError):
        page_module.write_page(build.same(), path)


def test_the_script_asks_for_words_that_are_there() -> None:
    asked = set()
    for path in SOURCE.glob("*.ts"):
        asked |= set(re.findall(r'\bsay\("([^"]+)"', path.read_text(encoding="utf-8")))
    assert len(asked) > 30
    assert {f"page.{key}" for key in asked} <= set(CATALOGUE["en"])


def test_no_source_makes_markup_of_text() -> None:
    for path in SOURCE.glob("*.ts"):
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(", path.read_text("utf-8")
        )


def test_a_grid_of_ranks_and_steps(build: Any, opened: Callable[..., Any]) -> None:
    parts = [
        replace(build.gelu(), step=step, rank=rank, rows=(), worst_excess=10.0**step)
        for step in range(3)
        for rank in range(2)
    ]
    overall = replace(build.gelu(), rows=(), step=None, rank=None)
    page = opened(overall, parts=parts, pages={"step2_rank1": "compare_result_step2_rank1_0.html"})
    cells = [attributes["class"] for attributes, _ in page.all("td") if "title" in attributes]
    assert cells == [f"heat{heat(10.0**step)} different" for _ in range(2) for step in range(3)]
    links = [(attributes["href"], text) for attributes, text in page.all("a") if "html" in str(attributes["href"])]
    assert links == [
        ("compare_result_step2_rank1_0.html", "100"),
        ("compare_result_step2_rank1_0.html", "The page of this pair"),
    ]
    assert "data" not in page.ids()


def _ranks(build: Any, number: int, *, faulty: int, steps: int = 1) -> list[Any]:
    healthy = replace(build.gelu(), rows=(), suspects=(), verdict="same", worst_excess=1.0)
    return [
        replace(build.gelu(), rows=(), step=step, rank=rank, worst_excess=1e5)
        if rank == faulty
        else replace(healthy, step=step, rank=rank)
        for step in range(steps)
        for rank in range(number)
    ]


def test_many_ranks_of_one_step_stand_abreast(build: Any, opened: Callable[..., Any]) -> None:
    page = opened(replace(build.gelu(), rows=()), parts=_ranks(build, 300, faulty=290))
    heads = [text for attributes, text in page.all("th", scope="row")]
    assert heads == [f"rank {number}" for number in range(300)]
    assert [attributes["href"] for attributes, _ in page.all("a") if "pair" in str(attributes["href"])] == [
        "#pair-step0_rank290"
    ]
    assert len(page.all("tr")) == 1 + 38


def test_a_map_that_has_no_room_for_all_ranks_has_those_that_differ(build: Any, opened: Callable[..., Any]) -> None:
    page = opened(replace(build.gelu(), rows=()), parts=_ranks(build, 300, faulty=290, steps=2))
    heads = [text for attributes, text in page.all("th", scope="row")]
    assert heads == [*(f"rank {number}" for number in range(199)), "rank 290"]


@pytest.mark.parametrize(
    ("excess", "warmth"), [(None, 0), (0.5, 0), (2.0, 0), (3.0, 1), (30.0, 3), (1000.0, 6), (1e9, 6), (float("inf"), 6)]
)
def test_warmth(excess: float | None, warmth: int) -> None:
    assert heat(excess) == warmth
