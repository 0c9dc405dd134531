"""`write_page`: a finding as one html file that opens from disk and fetches nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from acc_compare.messages import say
from acc_compare.model import Finding, Suspect
from acc_compare.report.atomic_write import new_file
from acc_compare.report.columns import NAMES
from acc_compare.report.encoded import EncodedTable
from acc_compare.report.html.cards import FULL, LISTED, Cards
from acc_compare.report.html.frame import FILLED, blocks, document, filled_sections, words
from acc_compare.report.html.markup import Markup
from acc_compare.report.html.overview import grid_section
from acc_compare.report.html.panels import packed_panels
from acc_compare.report.html.profiles import pack_profiles, place_of
from acc_compare.report.html.table import PackedTable, pack_rows
from acc_compare.report.i18n import text
from acc_compare.report.messages import Lang

_MARKED = 500
"""Suspects that the script knows of."""


def write_page(
    finding: Finding,
    path: Path,
    *,
    lang: Lang = "en",
    table: PackedTable | EncodedTable | None = None,
    parts: Sequence[Finding] = (),
    pages: dict[str, str] | None = None,
    live: str = "",
) -> None:
    """Write `finding` to `path`.

    `table` holds its rows where they were read already, from a file or for another format.  Of several steps or ranks,
    `parts` are the findings of each and `pages` the file names of their own pages, by `step0_rank1`.  `live` is what a
    served page shows the state of, "" for a file.

    Raises OutputError, ConfigError.
    """
    if table is None and parts:
        table = pack_profiles(parts, finding.suspects[:LISTED], lang)
    elif not isinstance(table, PackedTable):
        table = pack_rows(finding, lang, wanted_places(finding), table=table)
    with new_file(path) as draft, draft.open("w", encoding="utf-8", errors="replace", newline="\n") as stream:
        for piece in page(finding, table, lang=lang, parts=parts, pages=pages or {}, live=live):
            stream.write(piece)


def page(
    finding: Finding,
    table: PackedTable,
    *,
    lang: Lang,
    parts: Sequence[Finding] = (),
    pages: dict[str, str],
    live: str = "",
) -> Iterable[str]:
    """The page piece by piece."""
    shown = {
        "suspects": bool(finding.suspects),
        "map": bool(parts),
        **dict.fromkeys(FILLED, table.rows > 0),
    }
    return document(
        _body(finding, table, lang, parts=parts, pages=pages),
        title=f"{text(say(f'verdict.{finding.verdict}'), lang)}: {text(finding.summary, lang)}",
        sections=["verdict", *(name for name, is_there in shown.items() if is_there)],
        lang=lang,
        data=_data(finding, table, lang, parts) if table.rows else (),
        live=live,
    )


def wanted_places(finding: Finding) -> list[str]:
    """The names of which a page wants to know the row."""
    return [
        name
        for suspect in finding.suspects[: max(FULL, LISTED)]
        for name in (suspect.name, f"{suspect.name}.{suspect.tensor}")
    ]


def _body(
    finding: Finding, table: PackedTable, lang: Lang, *, parts: Sequence[Finding], pages: dict[str, str]
) -> Iterable[Markup]:
    cards = Cards(lang)
    yield cards.verdict(finding, table.results)
    yield cards.suspects(finding.suspects, table.places)
    if parts:
        yield grid_section(parts, pages, lang)
    if table.rows:
        yield filled_sections(lang, "comparison")


def _data(finding: Finding, table: PackedTable, lang: Lang, parts: Sequence[Finding]) -> Iterable[str]:
    def place(suspect: Suspect) -> str:
        return place_of(suspect, lang) if parts else ""

    alike = [
        {"call": name, "place": place(suspect)}
        for each in parts or [finding]
        for suspect in each.suspects
        for name in (suspect.name, *suspect.others)
        if isinstance(name, str)
    ]
    head = {
        "kind": "comparison",
        "names": [column.name for column in table.columns if column.name in NAMES] + [None],
        "rows": table.rows,
        "mode": finding.mode,
        "lang": lang,
        "words": words(lang, "comparison"),
        "suspects": [
            {"call": suspect.name, "tensor": suspect.tensor, "place": place(suspect)}
            for suspect in finding.suspects[:_MARKED]
        ],
        "alike": alike[:_MARKED],
        "meetings": [{"ranks": each.ranks, "message": each.message} for each in table.meetings],
        "panels": packed_panels(finding.panels),
        "replayed": [
            {"call": each.call, "verdict": each.verdict, "says": text(each.said, lang)} for each in finding.made_again
        ],
    }
    return blocks(head, table.columns)
