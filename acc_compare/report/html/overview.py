"""Many steps and ranks on a page: a grid of rank and step, coloured by the worst excess of each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from acc_compare.messages import listed, say
from acc_compare.model import Finding
from acc_compare.report.formatting import stem_of, where
from acc_compare.report.html.markup import Markup, element, joined
from acc_compare.report.i18n import factor, text
from acc_compare.report.messages import Lang
from acc_compare.report.overview_text import Grid, without_number

Place: TypeAlias = "tuple[int | None, int | None]"
"""(rank, step)."""

_SUSPECTS = 10
"""Suspects that are named of each pair."""

_MOST = 200
"""Ranks and steps that are drawn; the workbook has all."""


def grid_section(findings: Sequence[Finding], pages: Mapping[str, str], lang: Lang) -> Markup:
    """The grid; a cell leads to the page of its pair where there is one (`pages`, by `step0_rank1`), and says what the
    first suspect is."""
    grid = Grid.of(findings)
    cells = {place: _cell(finding, pages, lang) for place, finding in grid.at.items()}
    return map_section(cells, text(say("page.map"), lang), lang, below=_pairs(findings, pages, lang))


def map_section(cells: Mapping[Place, Markup], legend: str, lang: Lang, below: str = "") -> Markup:
    """Cells by (rank, step) as a table, under its heading; of more than it shows, how many there are."""
    ranks, steps = (sorted({place[at] for place in cells}, key=_first_unknown)[:_MOST] for at in (0, 1))
    heads = [
        element("th", {"scope": "col"}, _named("step", step, lang) if number == 0 or len(steps) < 12 else _bare(step))
        for number, step in enumerate(steps)
    ]
    lines = [element("tr", {}, element("td", {}), heads)]
    for rank in ranks:
        line = [cells.get((rank, step), element("td", {"class": "none"}, "–")) for step in steps]
        lines.append(element("tr", {}, element("th", {"scope": "row"}, _named("rank", rank, lang)), line))
    left = len(cells) - sum((rank, step) in cells for rank in ranks for step in steps)
    title = element("h2", {"id": "map-title"}, text(say("page.section.map"), lang))
    rest = element("p", {"class": "hint"}, text(say("page.map_rest", number=left), lang)) if left else Markup("")
    table = element("table", {"class": "map"}, lines)
    frame = element("div", {"class": "scroll", "tabindex": 0, "role": "region", "aria-labelledby": "map-title"}, table)
    attributes = {"id": "map", "aria-labelledby": "map-title"}
    return element("section", attributes, title, element("p", {"class": "hint"}, legend), frame, rest, below)


def _pairs(findings: Sequence[Finding], pages: Mapping[str, str], lang: Lang) -> Markup:
    """What there is to say of each pair that is not the same, folded; a cell of the map opens it."""
    told = [finding for finding in findings if finding.verdict != "same"][:_MOST]
    return joined([_pair(finding, pages.get(stem_of(finding)), lang) for finding in told])


def _pair(finding: Finding, page: str | None, lang: Lang) -> Markup:
    place = listed(
        say(f"place.{kind}", number=number)
        for kind, number in (("step", finding.step), ("rank", finding.rank))
        if number is not None
    )
    verdict = element("span", {"class": "badge"}, text(say(f"verdict.{finding.verdict}"), lang))
    summary = element(
        "summary", {}, verdict, " ", element("b", {}, text(place, lang)), " ", text(finding.summary, lang)
    )
    lines = [
        element("li", {}, element("code", {}, suspect.name), " ", f"{suspect.kind} · {text(where(suspect), lang)}")
        for suspect in finding.suspects[:_SUSPECTS]
    ]
    listing = element("ol", {}, lines) if lines else Markup("")
    link = element("p", {}, element("a", {"href": page}, text(say("page.map_page"), lang))) if page else Markup("")
    attributes = {"class": f"pair {finding.verdict}", "id": f"pair-{stem_of(finding)}"}
    return element("details", attributes, summary, listing, link)


def _first_unknown(number: int | None) -> int:
    return -1 if number is None else number


def heat(excess: float | None) -> int:
    """How warm an excess is: 0 up to 2 times what is expected, 6 from a thousand times on."""
    if excess is None or excess <= 2:
        return 0
    if not math.isfinite(excess):
        return 6
    return max(1, min(6, math.ceil(2 * math.log10(excess))))


def _cell(finding: Finding, pages: Mapping[str, str], lang: Lang) -> Markup:
    worst = finding.worst_excess
    shown = factor(worst, lang) if worst is not None and math.isfinite(worst) else without_number(finding)
    first = finding.suspects[0] if finding.suspects else None
    verdict = text(say(f"verdict.{finding.verdict}"), lang)
    told = verdict if first is None else f"{verdict}: {first.name} ({text(where(first), lang)})"
    page = pages.get(stem_of(finding))
    if page is None and finding.verdict != "same":
        page = f"#pair-{stem_of(finding)}"
    label: Markup = joined(shown) if page is None else element("a", {"href": page}, shown)
    return element("td", {"class": f"heat{heat(worst)} {finding.verdict}", "title": told}, label)


def _named(kind: str, number: int | None, lang: Lang) -> str:
    return text(say(f"place.{kind}", number=number), lang) if number is not None else "–"


def _bare(number: int | None) -> str:
    return "–" if number is None else str(number)
