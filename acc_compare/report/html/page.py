"""`write_page`: a finding as one html file that opens from disk and fetches nothing.

No markup is made of what a dump holds: texts are escaped here and set as text by the script.  The page's policy lets
nothing run but the one script of the bundle, known by its digest, and nothing be loaded at all.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Iterable, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path

from acc_compare.messages import say
from acc_compare.model import Finding
from acc_compare.report.atomic_write import new_file
from acc_compare.report.html.cards import FULL, LISTED, Cards
from acc_compare.report.html.markup import Markup, data_block, element, joined
from acc_compare.report.html.overview import grid_section
from acc_compare.report.html.panels import packed_panels
from acc_compare.report.html.table import PackedTable, pack_rows
from acc_compare.report.i18n import text
from acc_compare.report.messages import CATALOGUE, Lang

SCRIPT, STYLE = "page.js", "page.css"
_TONGUES = {"en": "en", "zh": "zh-Hans"}
_MARKED = 500
"""Suspects that the script knows of."""


def write_page(
    finding: Finding,
    path: Path,
    *,
    lang: Lang = "en",
    table: PackedTable | None = None,
    parts: Sequence[Finding] = (),
    pages: dict[str, str] | None = None,
) -> None:
    """Write `finding` to `path`.

    `table` holds its rows where they were read from a file.  Of several steps or ranks, `parts` are the findings of
    each and `pages` the file names of their own pages, by `step0_rank1`.

    Raises OutputError, ConfigError.
    """
    packed = pack_rows(finding, lang, wanted_places(finding)) if table is None else table
    with new_file(path) as draft, draft.open("w", encoding="utf-8", errors="replace", newline="\n") as stream:
        for piece in page(finding, packed, lang=lang, parts=parts, pages=pages or {}):
            stream.write(piece)


def page(
    finding: Finding, table: PackedTable, *, lang: Lang, parts: Sequence[Finding] = (), pages: dict[str, str]
) -> Iterable[str]:
    """The page piece by piece: what is read first comes first, so that it is painted while the rest is loading."""
    cards = Cards(lang)
    script, style = _bundle()
    title = f"{text(say(f'verdict.{finding.verdict}'), lang)}: {text(finding.summary, lang)}"
    yield "<!doctype html>\n"
    yield f'<html lang="{_TONGUES[lang]}"><head><meta charset="utf-8">'
    yield element("meta", {"http-equiv": "Content-Security-Policy", "content": policy(script, style)})
    yield element("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"})
    yield element("meta", {"name": "generator", "content": "acc compare"})
    yield element("title", {}, title)
    yield f"<style>{style}</style></head><body>\n"
    yield _head(lang, finding, table, has_map=bool(parts))
    yield "<main>\n"
    yield cards.verdict(finding, table.results)
    yield cards.suspects(finding.suspects, table.places)
    if parts:
        yield grid_section(parts, pages or {}, lang)
    if table.rows:
        yield _places_of_the_script(lang)
    yield element("noscript", {}, element("p", {"class": "card"}, text(say("page.no_script"), lang)))
    yield "</main>\n"
    if table.rows:
        yield from _data(finding, table, lang)
    yield f"<script>{script}</script>\n</body></html>\n"


def wanted_places(finding: Finding) -> list[str]:
    """The names of which a page wants to know the row."""
    return [
        name
        for suspect in finding.suspects[: max(FULL, LISTED)]
        for name in (suspect.name, f"{suspect.name}.{suspect.tensor}")
    ]


def policy(script: str, style: str) -> str:
    """The Content-Security-Policy under which nothing but the bundle runs and nothing is fetched."""
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src '{_digest(script)}'",
            f"style-src '{_digest(style)}'",
            "base-uri 'none'",
            "form-action 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        )
    )


def _digest(content: str) -> str:
    return f"sha256-{b64encode(hashlib.sha256(content.encode('utf-8')).digest()).decode('ascii')}"


@cache
def _bundle() -> tuple[str, str]:
    """The script and the style sheet, as `source` builds them."""
    folder = files("acc_compare.report.html")
    return folder.joinpath(SCRIPT).read_text(encoding="utf-8"), folder.joinpath(STYLE).read_text(encoding="utf-8")


def _head(lang: Lang, finding: Finding, table: PackedTable, *, has_map: bool) -> Markup:
    shown = {
        "suspects": bool(finding.suspects),
        "map": has_map,
        "run": table.rows,
        "modules": table.rows,
        "rows": table.rows,
    }
    sections = ["verdict", *(name for name, is_there in shown.items() if is_there)]
    links = [element("a", {"href": f"#{name}"}, text(say(f"page.section.{name}"), lang)) for name in sections]
    theme = element("button", {"type": "button", "id": "theme", "hidden": True}, text(say("page.theme"), lang))
    names = {"aria-label": text(say("page.contents"), lang)}
    brand = element("span", {"class": "brand"}, text(say("page.title"), lang))
    return element("header", {"class": "top"}, brand, element("nav", names, links), theme)


def _places_of_the_script(lang: Lang) -> Markup:
    """Empty sections that the script fills."""
    sections = []
    for name in ("run", "modules", "rows"):
        title = element("h2", {"id": f"{name}-title"}, text(say(f"page.section.{name}"), lang))
        attributes = {"id": name, "aria-labelledby": f"{name}-title"}
        sections.append(element("section", attributes, title, element("div", {"class": "body"})))
    return joined(sections)


def _data(finding: Finding, table: PackedTable, lang: Lang) -> Iterable[str]:
    columns, number = [], 0
    for column in table.columns:
        blocks = list(range(number, number + len(column.blocks)))
        number += len(blocks)
        columns.append(
            {
                "name": column.name,
                "style": column.style,
                "says": column.explanation,
                "ours": column.ours,
                "blocks": blocks,
            }
        )
    words = {key.removeprefix("page."): said for key, said in CATALOGUE[lang].items() if key.startswith("page.")}
    suspects = [
        {
            "call": suspect.name,
            "tensor": suspect.tensor,
            "others": [other for other in suspect.others if isinstance(other, str)],
        }
        for suspect in finding.suspects[:_MARKED]
    ]
    yield data_block(
        "data",
        {
            "rows": table.rows,
            "mode": finding.mode,
            "lang": lang,
            "words": words,
            "columns": columns,
            "suspects": suspects,
            "panels": packed_panels(finding.panels),
        },
    )
    for place, block in enumerate(block for column in table.columns for block in column.blocks):
        yield f'<script type="text/plain" id="b{place}">{block}</script>\n'
