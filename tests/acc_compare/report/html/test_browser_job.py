"""The dataflow through collectives and ranks, in a real browser."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from chromium import AXE, NEEDS_CHROMIUM, accessible, until

from acc_compare import compare
from acc_compare.model import Finding, Meeting, RunProfile, Suspect
from acc_compare.report.html.page import write_page
from acc_compare.report.messages import Lang

pytestmark = NEEDS_CHROMIUM

ROOT = Path(__file__).resolve().parents[4]
GELU, REDUCE, STEP = "Functional.gelu.0.forward", "Distributed.ddp_all_reduce.0.forward", "Optimizer.AdamW.0.forward"
SEND, RECV = "Distributed.send.0.forward", "Distributed.recv.0.forward"
MIDDLE = tuple(f"Functional.linear.{number}.forward" for number in range(8))


def profile(rank: int, *, faulty: bool) -> RunProfile:
    """A gelu, eight calls one after the other, and a reduction of two ranks before the optimizer; then a message."""
    calls = ("Functional.layer_norm.0.forward", GELU, *MIDDLE, REDUCE, STEP, RECV if rank else SEND)
    end = len(calls) - 1
    makers = ((), *((place - 1,) for place in range(1, end)), () if rank else (end - 1,))
    meeting = Meeting("ddp_all_reduce", "0", 0, "0-1")
    message = Meeting("message", "0 tag 0", 0, "0-1", (0, 1))
    return RunProfile(
        calls=calls,
        modules=("block",) * len(calls),
        errors=(1e-7, 0.01 if faulty else 1e-7, *(0.005 for _ in calls[2:])),
        expected=(1e-7,) * 2 + (0.005,) * (end - 1),
        excess=(1.0, 1e5 if faulty else 1.0, *(1.0 for _ in calls[2:])),
        origins=("agrees", "introduced" if faulty else "agrees", *("propagated" for _ in calls[2:])),
        makers=makers,
        meetings=(*(() for _ in calls[:-3]), (meeting,), (), (message,)),
    )


@pytest.fixture(scope="module")
def write(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """The page of a job of two ranks, of which rank 1 is at fault in its gelu."""
    samples = ROOT / "sample_dumps"
    finding = compare(samples / "gelu_in_bfloat16", samples / "bench_statistics").overall
    suspect: Suspect = replace(finding.suspects[0], name=GELU, step=0, rank=1, calls=2, others=(MIDDLE[0],))
    parts: list[Finding] = [
        replace(
            finding,
            rows=(),
            step=0,
            rank=rank,
            suspects=(suspect,) if rank else (),
            verdict="different" if rank else "same",
            profile=profile(rank, faulty=rank == 1),
        )
        for rank in (0, 1)
    ]
    overall = replace(finding, rows=(), step=None, rank=None, suspects=(suspect,))

    def page(lang: Lang = "en") -> Path:
        path = tmp_path_factory.mktemp("job") / "page.html"
        write_page(overall, path, parts=parts, lang=lang)
        return path

    return page


def nodes(tab: Any) -> list[str]:
    return [str(each) for each in tab.locator("#detail .flow .node title").all_text_contents()]


def test_an_error_is_followed_to_the_next_collective_and_into_other_ranks(
    visit: Callable[..., Any], write: Callable[..., Path]
) -> None:
    tab = visit(write())
    tab.locator("a.goto").click()
    tab.wait_for_selector("#detail .flow")
    drawn = nodes(tab)
    assert f"{GELU}, rank 1, 100,000×, introduced" in drawn
    assert [each for each in drawn if "ranks 0-1" in each] == [f"{REDUCE}, ranks 0-1, 1.00×, propagated"]
    optimizers = sorted(each.split(", ")[1] for each in drawn if each.startswith(STEP))
    assert optimizers == ["rank 0", "rank 1"]
    assert tab.locator("#detail .between").all_text_contents() == ["calls between: 6"]
    assert f"{MIDDLE[-1]}, rank 0, 1.00×, propagated" in drawn  # what the other rank gave
    # What comes from the call itself carries its error, what comes from before it does not.
    carrying = tab.locator("#detail .flow .edge.carries").count()
    assert 0 < carrying < tab.locator("#detail .flow .edge").count()


def test_a_suspect_and_its_like_are_marked_where_they_ran(
    visit: Callable[..., Any], write: Callable[..., Path]
) -> None:
    tab = visit(write())
    tab.get_by_text("suspects only").click()
    rows = tab.locator("#rows [role=row]:not(.head)")
    until(tab, lambda: rows.count() == 2)
    shown = rows.all_text_contents()
    assert [name in row for name, row in zip((GELU, MIDDLE[0]), shown, strict=True)] == [True, True]
    assert all("rank 1" in row for row in shown)
    assert GELU in str(tab.locator("#rows .line.accused").text_content())


def test_a_collective_leads_on_and_a_message_goes_one_way(
    visit: Callable[..., Any], write: Callable[..., Path]
) -> None:
    tab = visit(write())
    tab.locator("a.goto").click()
    tab.wait_for_selector("#detail .flow")
    tab.locator("#detail .flow .node.meeting").click()
    until(tab, lambda: tab.locator("#detail-title").text_content() == REDUCE)
    assert tab.locator("#detail .flow .node.centre.meeting").count() == 1
    optimizer = tab.locator("#detail .flow .node").filter(has_text="rank 0").filter(has_text="AdamW")
    optimizer.focus()
    tab.keyboard.press("Enter")
    until(tab, lambda: tab.locator("#detail-title").text_content() == STEP)
    drawn = nodes(tab)
    assert any(each.startswith(f"{SEND}, rank 0") for each in drawn)
    assert any(each.startswith(f"{RECV}, rank 1") for each in drawn)


@pytest.mark.parametrize(
    ("lang", "scheme", "width", "ranks"), [("zh", "dark", 1400, "各卡 0-1"), ("en", "light", 420, "ranks 0-1")]
)
def test_it_fits_and_is_accessible(
    visit: Callable[..., Any], write: Callable[..., Path], lang: Lang, scheme: str, width: int, ranks: str
) -> None:
    tab = visit(write(lang), width=width, color_scheme=scheme, bypass_csp=True)
    tab.locator("a.goto").click()
    tab.wait_for_selector("#detail .flow")
    assert tab.locator("#detail .node.meeting text").nth(1).text_content() == ranks
    assert tab.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    # The call itself is in sight, however wide the picture is.
    scroller, centre = (tab.locator(name).bounding_box() for name in ("#detail .picture .scroll", "#detail .centre"))
    assert scroller["x"] <= centre["x"] + 1
    assert centre["x"] + centre["width"] <= scroller["x"] + scroller["width"] + 1
    if not AXE.is_file():
        pytest.skip("axe-core is not installed (npm ci in acc_compare/report/html/source)")
    accessible(tab)
