"""The page in a real browser: Debian's Chromium without a window, steered by Playwright."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from chromium import AXE, NEEDS_CHROMIUM, accessible, until

from acc_compare import compare
from acc_compare.messages import say
from acc_compare.model import MadeAgain
from acc_compare.report.html.dump_page import write_dump_pages
from acc_compare.report.html.page import write_page
from acc_compare.report.write import write_many_reports
from acc_compare.serving.pages import Pages
from acc_compare.serving.server import Server
from benchmarks.page.run import FILTER, SORT

ROOT = Path(__file__).resolve().parents[4]
HOSTILE = "<script>document.title='run'</script><img src=x onerror=document.title='run'>"
GELU = "Functional.gelu.1.forward"

pytestmark = NEEDS_CHROMIUM


@pytest.fixture(scope="module")
def gelu(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a real comparison."""
    samples = ROOT / "sample_dumps"
    path = tmp_path_factory.mktemp("gelu") / "page.html"
    write_page(compare(samples / "gelu_in_bfloat16", samples / "bench_statistics").overall, path)
    return path


def tops(tab: Any) -> list[float]:
    """Where the sections begin."""
    return [tab.locator(f"#{name}").bounding_box()["y"] for name in ("verdict", "suspects", "run", "modules", "rows")]


def test_what_matters_comes_first(visit: Callable[..., Any], gelu: Path) -> None:
    tab = visit(gelu)
    assert tops(tab) == sorted(tops(tab))
    assert tab.locator("article.suspect h3 code").first.text_content() == GELU
    assert tab.locator("#verdict .badge").text_content() == "DIFFERENT"


def test_filters(visit: Callable[..., Any], gelu: Path) -> None:
    tab = visit(gelu)
    names = tab.locator("#rows .line .cell:nth-child(2)")
    tab.keyboard.press("/")
    tab.keyboard.type("gelu.1.forward.output")
    until(tab, lambda: names.count() == 1)
    assert names.all_text_contents() == [f"{GELU}.output.0"]
    tab.fill("#search", "no such thing")
    tab.wait_for_selector("#rows .line.empty")
    tab.get_by_role("button", name="Show all").click()
    tab.get_by_label("operator", exact=True).select_option("gelu")
    assert {name.split(".")[1] for name in names.all_text_contents()} == {"gelu"}
    tab.get_by_text("suspects only").click()
    assert {name.rpartition(".")[0].rpartition(".")[0] for name in names.all_text_contents()} == {GELU}


def test_sorting_goes_down_up_and_back(visit: Callable[..., Any], gelu: Path) -> None:
    tab = visit(gelu)
    head = tab.locator("#rows .head button", has_text="Excess")
    first = tab.locator("#rows .line .cell:nth-child(2)").first
    head.click()
    assert first.text_content() == f"{GELU}.output.0"
    assert tab.locator("#rows .head [aria-sort=descending]").count() == 1
    head.click()
    assert first.text_content() != f"{GELU}.output.0"
    head.click()
    assert first.text_content() == "Functional.embedding.0.forward.input.0"


def test_the_plot_leads_to_the_row(visit: Callable[..., Any], gelu: Path) -> None:
    tab = visit(gelu)
    tab.locator(".plot").focus()
    tab.keyboard.press("s")
    assert GELU in tab.locator(".tip").text_content()
    tab.keyboard.press("Enter")
    tab.wait_for_selector("#detail:not([hidden])")
    assert tab.locator("#detail-title").text_content() == GELU
    assert tab.locator("#rows .line.chosen .cell").nth(1).text_content() == f"{GELU}.output.0"
    assert tab.locator("#detail .flow .node.centre title").text_content().startswith(GELU)
    tab.keyboard.press("Escape")
    assert tab.locator("#detail").is_hidden()


def test_a_click_on_a_point_leads_to_its_row(visit: Callable[..., Any], gelu: Path) -> None:
    tab = visit(gelu)
    tab.locator(".plot").focus()
    tab.keyboard.press("s")
    box = tab.locator(".u-over").bounding_box()
    style = tab.locator(".tip").evaluate("(tip) => [tip.style.left, tip.style.right, tip.style.top, tip.style.bottom]")
    left, right, top, bottom = (float(side.removesuffix("px")) if side != "auto" else None for side in style)
    # The tip stands beside its point.
    x = box["x"] + (left - 14 if left is not None else box["width"] - right - 14)
    y = box["y"] + (top - 10 if top is not None else box["height"] - bottom - 10)
    tab.mouse.move(x + 1, y + 1)
    tab.mouse.click(x, y)
    tab.wait_for_selector("#detail:not([hidden])")
    assert tab.locator("#detail-title").text_content() == GELU


def test_a_link_opens_at_its_row(visit: Callable[..., Any], gelu: Path) -> None:
    tab = visit(gelu)
    href = tab.locator("a.goto").get_attribute("href")
    again = visit(gelu, href)
    again.wait_for_selector("#detail:not([hidden])")
    assert again.locator("#rows .line.chosen a").get_attribute("href") == href
    assert again.locator("#rows .line.chosen").bounding_box()["y"] < 900


def test_the_dataflow_leads_on(visit: Callable[..., Any], gelu: Path) -> None:
    tab = visit(gelu, visit(gelu).locator("a.goto").get_attribute("href"))
    tab.wait_for_selector("#detail .flow")
    titles = tab.locator("#detail .flow .node title").all_text_contents()
    names = [title.partition(",")[0] for title in titles]
    assert {"Functional.linear.6.forward", "Functional.linear.7.forward"} < set(names)
    tab.locator("#detail .flow .node", has_text="linear.7").click()
    until(tab, lambda: tab.locator("#detail-title").text_content() == "Functional.linear.7.forward")
    fewer = len(tab.locator("#detail .flow .node").all())
    tab.get_by_role("button", name="More calls").click()
    assert len(tab.locator("#detail .flow .node").all()) > fewer


def test_the_tree_folds_by_keyboard_and_filters(visit: Callable[..., Any], gelu: Path) -> None:
    tab = visit(gelu)
    items = tab.locator("[role=treeitem]")
    tab.get_by_role("button", name="Unfold all").click()
    unfolded = items.count()
    tab.get_by_role("button", name="Fold all", exact=True).click()
    assert tab.locator("[role=treeitem]:visible").count() < unfolded
    tab.locator("[role=treeitem][tabindex='0']").focus()
    tab.keyboard.press("End")
    tab.keyboard.press("Home")
    tab.keyboard.press("ArrowDown")  # embed, blocks
    before = tab.locator("[role=treeitem]:visible").count()
    tab.keyboard.press("ArrowRight")
    assert tab.locator("[role=treeitem]:visible").count() == before + 2
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("Enter")
    modules = tab.locator("#rows .line .cell:nth-child(3)").all_text_contents()
    assert modules
    assert all(name == "blocks.0" or name.startswith("blocks.0.") for name in modules)


def test_columns_are_chosen(visit: Callable[..., Any], gelu: Path) -> None:
    tab = visit(gelu)
    heads = tab.locator("#rows .head button")
    before = heads.all_text_contents()
    tab.get_by_text("Columns", exact=True).click()
    tab.locator(".menu").get_by_text("Max diff").click()
    until(tab, lambda: heads.count() == len(before) + 1)
    assert "Max diff" in heads.all_text_contents()


def test_commands_are_copied(visit: Callable[..., Any], gelu: Path) -> None:
    tab = visit(gelu)
    tab.locator("button.copy").first.click()
    tab.wait_for_selector("button.copy.done")


def test_names_of_a_dump_do_nothing(visit: Callable[..., Any], build: Any, tmp_path: Path) -> None:
    finding = build.gelu(stacks=True)
    rows = tuple(
        msgspec.structs.replace(row, npu_name=f"{HOSTILE}.{row.npu_name}", module=HOSTILE, stack=HOSTILE)
        for row in finding.rows
    )
    suspect = replace(finding.suspects[0], name=rows[0].npu_name.rpartition(".input")[0], stack=(HOSTILE,))
    write_page(replace(finding, rows=rows, suspects=(suspect,), npu_path=HOSTILE), tmp_path / "page.html")
    tab = visit(tmp_path / "page.html", "#row=1")
    tab.wait_for_selector("#detail:not([hidden])")
    tab.get_by_role("button", name="Unfold all").click()
    assert tab.title().startswith("DIFFERENT")
    assert tab.locator("img").count() == 0
    assert HOSTILE in tab.locator("#detail").text_content()


@pytest.mark.parametrize(
    ("lang", "scheme", "width"),
    [("en", "light", 1400), ("en", "dark", 420), ("zh", "dark", 1400), ("zh", "light", 420)],
)
def test_every_look_fits_and_is_accessible(
    visit: Callable[..., Any], tmp_path: Path, width: int, scheme: str, lang: Any
) -> None:
    samples = ROOT / "sample_dumps"
    path = tmp_path / "page.html"
    write_page(compare(samples / "other_seed", samples / "bench_statistics").overall, path, lang=lang)
    # The tester's own script is let past the policy.
    tab = visit(path, width=width, color_scheme=scheme, bypass_csp=True)
    assert tab.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    dark = tab.evaluate("getComputedStyle(document.body).backgroundColor").removeprefix("rgb(").split(",")[0]
    assert (int(dark) < 128) == (scheme == "dark")
    tab.locator("#theme").click()
    assert tab.evaluate("document.documentElement.dataset.theme") == ("light" if scheme == "dark" else "dark")
    tab.locator("#theme").click()
    if not AXE.is_file():
        pytest.skip("axe-core is not installed (npm ci in acc_compare/report/html/source)")
    tab.locator("#rows .line").first.click()
    tab.wait_for_selector("#detail:not([hidden])")
    accessible(tab)


def test_digests_are_equal_or_differ(visit: Callable[..., Any], tmp_path: Path) -> None:
    samples = ROOT / "sample_dumps"
    write_page(compare(samples / "md5", samples / "bench_md5").overall, tmp_path / "page.html")
    tab = visit(tmp_path / "page.html")
    tab.locator(".plot").focus()
    tab.keyboard.press("Home")
    assert str(tab.locator(".tip").text_content()).partition(" · ")[0].endswith("error equal")
    tab.keyboard.press("s")
    assert str(tab.locator(".tip").text_content()).partition(" · ")[0].endswith("differs")


def test_a_printed_page_has_verdict_and_suspects(visit: Callable[..., Any], gelu: Path) -> None:
    tab = visit(gelu)
    tab.emulate_media(media="print")
    assert tab.locator("#verdict").is_visible()
    assert tab.locator("article.suspect").is_visible()
    assert tab.locator(".top").is_hidden()
    assert len(tab.pdf()) > 10_000


def test_paper_is_light_and_as_wide_as_it_is(visit: Callable[..., Any], gelu: Path) -> None:
    tab = visit(gelu, color_scheme="dark")
    look = "[document.documentElement.dataset.theme ?? '', document.querySelector('.plot .u-wrap').style.width]"
    before = tab.evaluate(look)
    tab.evaluate(f"addEventListener('beforeprint', () => queueMicrotask(() => {{ window.printed = {look}; }}))")
    tab.pdf()
    assert tab.evaluate("window.printed") == ["light", "684px"]
    until(tab, lambda: tab.evaluate(look) == before)
    tab.emulate_media(media="print")
    tab.set_viewport_size({"width": 718, "height": 1000})
    for name in ("Module", "RelL2", "Expected", "Excess"):
        head = tab.locator("#rows .head [role=columnheader]", has_text=name).first
        assert head.get_by_role("button").is_visible()
        box = head.bounding_box()
        assert box["x"] + box["width"] <= 718


def test_the_map_of_ranks_leads_to_their_pages(visit: Callable[..., Any], build: Any, tmp_path: Path) -> None:
    parts = [replace(build.gelu(), rank=rank, step=step, worst_excess=5.0) for rank in (0, 1) for step in (0, 1)]
    paths = write_many_reports(
        parts, replace(build.gelu(), rows=()), tmp_path, timestamp="20260102030405", formats=("html",)
    )
    tab = visit(paths.overviews[1])
    tab.locator("table.map a").nth(3).click()
    tab.wait_for_selector("html[data-ready]")
    assert tab.url.endswith("compare_result_step1_rank1_20260102030405.html")
    tab.wait_for_selector("#rows .line")


@pytest.fixture(scope="module")
def long_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The rows of a real comparison again and again: 100,000 calls."""
    samples = ROOT / "sample_dumps"
    finding = compare(samples / "gelu_in_bfloat16", samples / "bench_statistics").overall
    rows = []
    for copy in range(1 + 100_000 // 114):
        scale = 1 + copy / 1024
        for row in finding.rows:
            name, module = f"{copy}{row.npu_name}", f"part{copy % 40}.{row.module}"
            metrics = {key: cell * scale if isinstance(cell, float) else cell for key, cell in row.metrics.items()}
            excess = row.excess * scale if row.excess is not None else None
            rows.append(
                msgspec.structs.replace(
                    row, npu_name=name, bench_name=name, module=module, metrics=metrics, excess=excess
                )
            )
    path = tmp_path_factory.mktemp("long") / "page.html"
    write_page(replace(finding, rows=tuple(rows)), path)
    return path


class Effort:
    """Seconds of processor time that the page's main thread takes, whatever else the machine does meanwhile."""

    def __init__(self, tab: Any) -> None:
        self._client = tab.context.new_cdp_session(tab)
        self._client.send("Performance.enable", {"timeDomain": "threadTicks"})

    def __call__(self) -> float:
        metrics = self._client.send("Performance.getMetrics")["metrics"]
        return float(next(each["value"] for each in metrics if each["name"] == "TaskDuration"))

    def of(self, act: Callable[[], object]) -> float:
        before = self()
        act()
        return self() - before


def test_a_hundred_thousand_calls_are_quick(visit: Callable[..., Any], long_page: Path) -> None:
    tab = visit(long_page)
    paint = tab.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
    assert paint < 2000
    effort = Effort(tab)
    assert tab.locator("#rows .line").count() < 100
    for name in ("Excess", "Module", "Est. RelL2", "NPU Name"):
        taken = [effort.of(lambda name=name: tab.evaluate(SORT, name)) for _ in range(3)]
        print(name, taken)
        assert min(taken) < 0.2
    for words in ("gelu", "linear.1.forward.output", "part7.", "layer_norm"):
        taken = [effort.of(lambda words=words: tab.evaluate(FILTER, words))]
        print(words, taken)
        assert min(taken) < 0.2
    tab.evaluate(FILTER, "")  # until all rows are back, the end of the list is that of what was found
    scroller = tab.locator("#rows .scroller")
    scroller.evaluate("(each) => { each.scrollTop = each.scrollHeight; }")
    until(tab, lambda: len(str(tab.locator("#rows .line a").last.text_content())) >= len("400,000"))


@pytest.fixture(scope="module")
def elements(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a comparison of whole tensors."""
    samples = ROOT / "sample_dumps"
    path = tmp_path_factory.mktemp("elements") / "page.html"
    write_page(compare(samples / "real_data", samples / "bench_tensor").overall, path)
    return path


def test_the_elements_of_a_suspect_are_shown(visit: Callable[..., Any], elements: Path) -> None:
    tab = visit(elements)
    tab.locator("a.goto").first.click()
    tab.wait_for_selector("#detail:not([hidden])")
    opened, folded = tab.locator("#detail details.elements[open]"), tab.locator("#detail details.elements:not([open])")
    assert opened.locator("summary b").text_content() == "output.0"
    assert "32 of 4,096" in str(opened.locator(".hint").first.text_content())
    assert opened.locator(".chart canvas").count() == 3
    assert opened.locator("table.worst tbody tr").count() == 12
    assert opened.locator("table.worst tbody th").first.text_content() == "[1, 9, 127]"
    box = opened.locator(".map-figure canvas").bounding_box()
    tab.mouse.move(box["x"] + box["width"] - 3, box["y"] + box["height"] * 9.5 / 16)
    assert str(opened.locator(".map-figure .told").text_content()).startswith("[9, 126–127]: ")
    folded.locator("summary").click()
    tab.wait_for_selector("#detail details.elements[open] >> nth=1")
    assert tab.locator("#detail .panel").count() == 2
    tab.keyboard.press("Escape")
    assert tab.locator("#detail").is_hidden()


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of one dump, in which a layer_norm made NaN."""
    (path,) = write_dump_pages(ROOT / "sample_dumps" / "nan_in_layer_norm", tmp_path_factory.mktemp("alone"), stamp="1")
    return path


def test_one_dump_alone(visit: Callable[..., Any], alone: Path) -> None:
    tab = visit(alone)
    tab.locator(".plot").focus()
    tab.keyboard.press("s")
    assert "Functional.layer_norm.2.forward" in tab.locator(".tip").text_content()
    tab.locator("a.goto").click()
    tab.wait_for_selector("#detail:not([hidden])")
    assert tab.locator("#detail td.heat6").text_content() == "1"
    assert "NaN/Inf" in tab.locator("#detail .flow .node.centre").text_content()
    tab.keyboard.press("Escape")
    hot = tab.locator(".tree .swatch.heat6")
    assert hot.count() > 3
    tab.get_by_text("where NaN or Inf was made").click()
    names = tab.locator("#rows .line .cell:nth-child(2)").all_text_contents()
    assert {name.rpartition("forward")[0] for name in names} == {"Functional.layer_norm.2."}


@pytest.mark.parametrize(("scheme", "width"), [("light", 420), ("dark", 1400)])
@pytest.mark.parametrize("kind", ["alone", "elements", "two_trees", "steps"])
def test_other_pages_fit_and_are_accessible(
    visit: Callable[..., Any], request: pytest.FixtureRequest, kind: str, scheme: str, width: int
) -> None:
    tab = visit(request.getfixturevalue(kind), width=width, color_scheme=scheme, bypass_csp=True)
    assert tab.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    tab.locator("a.goto").first.click()
    tab.wait_for_selector("#detail:not([hidden])")
    assert tab.evaluate("(({ scrollWidth, clientWidth }) => scrollWidth - clientWidth)(document.all.detail)") <= 0
    if AXE.is_file():
        accessible(tab)


def test_a_served_page_says_when_there_is_more(browser: Any, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "sample_dumps" / "healthy", tmp_path / "npu")
    with Server(Pages(tmp_path)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        context = browser.new_context()
        tab = context.new_page()
        complaints: list[str] = []
        tab.on("console", lambda message: complaints.append(message.text))
        tab.goto(server.address)
        tab.get_by_role("link", name="npu").click()
        tab.wait_for_selector("#rows .line")
        assert tab.locator("#live").is_hidden()
        shutil.copytree(tmp_path / "npu" / "step0", tmp_path / "npu" / "step1")
        tab.locator("#live a").click()
        tab.wait_for_selector("table.map")
        assert tab.locator("table.map a").count() == 2
        context.close()
        server.shutdown()
        thread.join()
    assert complaints == []


@pytest.fixture(scope="module")
def two_trees(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bench calls its modules otherwise and lacks one; two calls were made again."""
    samples = ROOT / "sample_dumps"
    finding = compare(samples / "gelu_in_bfloat16", samples / "bench_statistics").overall
    rows = []
    for row in finding.rows:
        theirs = row.module.replace("blocks.", "transformer.h.")
        gone = {"bench_name": "", "bench": None, "result": "unmatched"} if row.module == "blocks.1.norm1" else {}
        rows.append(msgspec.structs.replace(row, bench_module=theirs if theirs != row.module else "", **gone))
    again = (
        MadeAgain(GELU, "confirmed", say("replay.says.unmeasured", side=say("replay.side.npu"))),
        MadeAgain("Functional.gelu.0.forward", "cleared", say("replay.says.cleared")),
    )
    path = tmp_path_factory.mktemp("two_trees") / "page.html"
    write_page(replace(finding, rows=tuple(rows), made_again=again), path)
    return path


def test_modules_of_both_sides_stand_beside_one_another(visit: Callable[..., Any], two_trees: Path) -> None:
    tab = visit(two_trees)
    npu, bench = tab.locator("#modules .side").nth(0), tab.locator("#modules .side").nth(1)
    assert npu.locator(".name", has_text="blocks").count() == 1
    assert bench.locator(".name", has_text="transformer").count() == 1
    assert bench.locator(".name", has_text="norm1").count() < npu.locator(".name", has_text="norm1").count()
    npu.locator(".label", has=tab.locator(".name", has_text="act")).last.click()
    assert bench.locator(".partner .name").all_text_contents() == ["act"]
    bench.locator(".label", has=tab.locator(".name", has_text="act")).last.click()
    modules = set(tab.locator("#rows .line .cell:nth-child(3)").all_text_contents())
    assert modules == {"blocks.1.act"}


def test_alike_modules_are_one_tree(visit: Callable[..., Any], gelu: Path) -> None:
    tab = visit(gelu)
    assert (tab.locator("#modules .side").count(), tab.locator("#modules .tree").count()) == (0, 1)


def test_what_was_made_again_stands_beside_its_call(visit: Callable[..., Any], two_trees: Path) -> None:
    tab = visit(two_trees)
    assert tab.locator(".key.made").count() == 1
    tab.locator("a.goto").first.click()
    tab.wait_for_selector("#detail .replayed.confirmed")
    tab.keyboard.press("Escape")
    tab.locator(".plot").focus()
    tab.keyboard.press("s")
    assert "confirmed" in str(tab.locator(".tip").text_content())


@pytest.fixture(scope="module")
def steps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two steps, of which the second is at fault."""
    root = tmp_path_factory.mktemp("steps")
    for step, sample in enumerate(("healthy", "gelu_in_bfloat16")):
        shutil.copytree(ROOT / "sample_dumps" / sample / "step0", root / "npu" / f"step{step}")
        shutil.copytree(ROOT / "sample_dumps" / "bench_statistics" / "step0", root / "gpu" / f"step{step}")
    found = compare(root / "npu", root / "gpu", keep_rows=False)
    write_page(found.overall, root / "page.html", parts=found.findings)
    return root / "page.html"


def test_steps_stand_side_by_side(visit: Callable[..., Any], steps: Path) -> None:
    tab = visit(steps)
    pair = tab.locator("details.pair")
    assert pair.get_attribute("open") is None
    tab.locator("table.map a").click()
    until(tab, lambda: pair.get_attribute("open") is not None)
    tab.locator(".plot").focus()
    tab.keyboard.press("s")
    assert "step 1" in str(tab.locator(".tip").text_content())
    tab.keyboard.press("Enter")
    tab.wait_for_selector("#detail:not([hidden])")
    lines = tab.locator("#detail .of-runs tbody tr")
    assert [str(each).split(",")[0] for each in lines.locator("th").all_text_contents()] == ["step 0", "step 1"]
    assert lines.nth(1).get_attribute("class") == "chosen"
    lines.nth(0).locator("a").click()
    until(tab, lambda: lines.nth(0).get_attribute("class") == "chosen")
