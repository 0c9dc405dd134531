"""Many steps and ranks on a page: a grid of rank and step, coloured by the worst excess of each."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
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
"""Steps, and ranks of several steps, that are drawn, and pairs that are told of; the workbook has all."""

_MOST_ALONE = 4096
"""Ranks that are drawn of one step."""

_ABREAST = 8
"""Ranks of one step that stand beside one another."""


def grid_section(findings: Sequence[Finding], pages: Mapping[str, str], lang: Lang) -> Markup:
    """The grid; a cell leads to the page of its pair where there is one (`pages`, by `step0_rank1`), and says what the
    first suspect is."""
    grid = Grid.of(findings)
    told = _told(findings)
    pairs = {stem_of(finding): f"#pair-{stem_of(finding)}" for finding in told}
    leads = {**pairs, **pages}
    cells = {place: _cell(finding, leads.get(stem_of(finding)), lang) for place, finding in grid.at.items()}
    below = joined(
        [_pair(each, pages.get(stem_of(each)), lang) for each in findings if stem_of(each) in pairs],
    )
    first = [(finding.rank, finding.step) for finding in told]
    return map_section(cells, text(say("page.map"), lang), lang, below=below, first=first)


def map_section(
    cells: Mapping[Place, Markup], legend: str, lang: Lang, below: str = "", first: Sequence[Place] = ()
) -> Markup:
    """Cells by (rank, step) as a table, under its heading; of more than it shows, those of `first` and how many there
    are."""
    one_step = len({step for _, step in cells}) == 1
    ranks = _kept([rank for rank, _ in cells], [rank for rank, _ in first], _MOST_ALONE if one_step else _MOST)
    steps = _kept([step for _, step in cells], [step for _, step in first], _MOST)
    if one_step and len(ranks) > 2 * _ABREAST:
        lines = _abreast(ranks, [cells[rank, steps[0]] for rank in ranks], steps[0], lang)
    else:
        lines = _crossed(ranks, steps, cells, lang)
    left = len(cells) - sum((rank, step) in cells for rank in ranks for step in steps)
    title = element("h2", {"id": "map-title"}, text(say("page.section.map"), lang))
    rest = element("p", {"class": "hint"}, text(say("page.map_rest", number=left), lang)) if left else Markup("")
    table = element("table", {"class": "map"}, lines)
    frame = element("div", {"class": "scroll", "tabindex": 0, "role": "group", "aria-labelledby": "map-title"}, table)
    attributes = {"id": "map", "aria-labelledby": "map-title"}
    return element("section", attributes, title, element("p", {"class": "hint"}, legend), frame, rest, below)


def _crossed(
    ranks: Sequence[int | None], steps: Sequence[int | None], cells: Mapping[Place, Markup], lang: Lang
) -> list[Markup]:
    """A line for each rank, a column for each step."""
    heads = [
        element("th", {"scope": "col"}, _named("step", step, lang) if number == 0 or len(steps) < 12 else _bare(step))
        for number, step in enumerate(steps)
    ]
    lines = [element("tr", {}, element("td", {}), heads)]
    for rank in ranks:
        line = [cells.get((rank, step), element("td", {"class": "none"}, "–")) for step in steps]
        lines.append(element("tr", {}, element("th", {"scope": "row"}, _named("rank", rank, lang)), line))
    return lines


def _abreast(ranks: Sequence[int | None], cells: Sequence[Markup], step: int | None, lang: Lang) -> list[Markup]:
    """Of one step several ranks in a line, each after its name."""
    lines = [element("tr", {}, element("th", {"colspan": 2 * _ABREAST}, _named("step", step, lang)))]
    named = [
        joined(element("th", {"scope": "row"}, _named("rank", rank, lang)), cell)
        for rank, cell in zip(ranks, cells, strict=True)
    ]
    lines += [element("tr", {}, named[start : start + _ABREAST]) for start in range(0, len(named), _ABREAST)]
    return lines


def _kept(numbers: Iterable[int | None], first: Sequence[int | None], most: int) -> list[int | None]:
    """At most `most` of `numbers` in order; where they are more, those of `first` before others."""
    urgency = {number: place for place, number in reversed(list(enumerate(first)))}
    ordered = sorted(set(numbers), key=_first_unknown)
    chosen = sorted(ordered, key=lambda number: urgency.get(number, len(first)))[:most]
    return sorted(chosen, key=_first_unknown)


def _told(findings: Sequence[Finding]) -> list[Finding]:
    """Pairs that are not the same, the furthest off first."""
    said = [finding for finding in findings if finding.verdict != "same"]
    return sorted(said, key=lambda finding: (finding.verdict != "different", -(finding.worst_excess or 0.0)))[:_MOST]


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


def _cell(finding: Finding, leads_to: str | None, lang: Lang) -> Markup:
    worst = finding.worst_excess
    shown = factor(worst, lang) if worst is not None and math.isfinite(worst) else without_number(finding)
    first = finding.suspects[0] if finding.suspects else None
    verdict = text(say(f"verdict.{finding.verdict}"), lang)
    told = verdict if first is None else f"{verdict}: {first.name} ({text(where(first), lang)})"
    label: Markup = joined(shown) if leads_to is None else element("a", {"href": leads_to}, shown)
    return element("td", {"class": f"heat{heat(worst)} {finding.verdict}", "title": told}, label)


def _named(kind: str, number: int | None, lang: Lang) -> str:
    return text(say(f"place.{kind}", number=number), lang) if number is not None else "–"


def _bare(number: int | None) -> str:
    return "–" if number is None else str(number)
