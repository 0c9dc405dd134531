"""What every page has: its head and policy, the bundle, the bar on top, and the columns that the script reads.

No markup is made of what a dump holds: texts are escaped here and set as text by the script.  A page's policy lets
nothing run but the scripts of the bundle, known by their digests, and nothing be loaded at all; a page that is served
may ask its own server whether there is more to show.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Literal, TypeAlias

from acc_compare.messages import say
from acc_compare.report.html.markup import Markup, data_block, element, joined
from acc_compare.report.html.table import PackedColumn
from acc_compare.report.i18n import text
from acc_compare.report.messages import CATALOGUE, Lang

SCRIPT, STYLE, LIVE = "page.js", "page.css", "live.js"
FILLED = ("run", "modules", "rows")
"""Sections that the script fills."""

PageKind: TypeAlias = Literal["comparison", "dump"]

_TONGUES = {"en": "en", "zh": "zh-Hans"}


def document(
    body: Iterable[Markup],
    *,
    title: str,
    sections: Sequence[str],
    lang: Lang,
    kind: PageKind = "comparison",
    data: Iterable[str] = (),
    live: str = "",
) -> Iterable[str]:
    """A page piece by piece: what is read first comes first, so that it is painted while the rest is loading.

    `sections` are named in the bar on top, `data` are blocks for the script, and `live` is the state that a page shows
    that is served, "" for a file.
    """
    script, style, watch = bundled(SCRIPT), bundled(STYLE), bundled(LIVE) if live else ""
    yield "<!doctype html>\n"
    yield f'<html lang="{_TONGUES[lang]}"><head><meta charset="utf-8">'
    scripts = [script, watch] if live else [script]
    yield element("meta", {"http-equiv": "Content-Security-Policy", "content": policy(scripts, style)})
    yield element("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"})
    yield element("meta", {"name": "generator", "content": "acc compare"})
    yield element("title", {}, title)
    yield f"<style>{style}</style></head><body>\n"
    yield _bar(sections, words(lang, kind))
    if live:
        said = text(say("page.live"), lang)
        yield element(
            "p", {"id": "live", "role": "status", "data-state": live, "hidden": True}, element("a", {"href": ""}, said)
        )
    yield "<main>\n"
    yield from body
    yield element("noscript", {}, element("p", {"class": "card"}, text(say("page.no_script"), lang)))
    yield "</main>\n"
    yield from data
    yield "".join(f"<script>{each}</script>\n" for each in scripts)
    yield "</body></html>\n"


def policy(scripts: Sequence[str], style: str) -> str:
    """The Content-Security-Policy under which nothing but these scripts runs, and nothing is fetched by a page that has
    but one."""
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src {' '.join(map(_digest, scripts))}",
            f"style-src {_digest(style)}",
            *(["connect-src 'self'"] if len(scripts) > 1 else []),
            "base-uri 'none'",
            "form-action 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        )
    )


def _digest(content: str) -> str:
    return f"'sha256-{b64encode(hashlib.sha256(content.encode('utf-8')).digest()).decode('ascii')}'"


@cache
def bundled(name: str) -> str:
    """A file of the bundle as text."""
    return files("acc_compare.report.html").joinpath(name).read_text(encoding="utf-8")


def filled_sections(lang: Lang, kind: PageKind) -> Markup:
    """Empty sections that the script fills."""
    sections = []
    for name in FILLED:
        title = element("h2", {"id": f"{name}-title"}, words(lang, kind)[f"section.{name}"])
        attributes = {"id": name, "aria-labelledby": f"{name}-title"}
        sections.append(element("section", attributes, title, element("div", {"class": "body"})))
    return joined(sections)


def words(lang: Lang, kind: PageKind) -> dict[str, str]:
    """The sentences that the script says; a page of one dump has some of its own."""
    found = {key.removeprefix("page."): said for key, said in CATALOGUE[lang].items() if key.startswith("page.")}
    own = {key.removeprefix("dump."): said for key, said in found.items() if key.startswith("dump.")}
    shared = {key: said for key, said in found.items() if not key.startswith("dump.")}
    return {**shared, **own} if kind == "dump" else shared


def blocks(head: Mapping[str, object], columns: Sequence[PackedColumn]) -> Iterable[str]:
    """`head` with the columns' headings, and each block of theirs."""
    told, number = [], 0
    for column in columns:
        places = list(range(number, number + len(column.blocks)))
        number += len(places)
        told.append(
            {
                "name": column.name,
                "style": column.style,
                "says": column.explanation,
                "ours": column.ours,
                "blocks": places,
            }
        )
    yield data_block("data", {**head, "columns": told})
    for place, block in enumerate(block for column in columns for block in column.blocks):
        yield f'<script type="text/plain" id="b{place}">{block}</script>\n'


def _bar(sections: Sequence[str], said: Mapping[str, str]) -> Markup:
    links = [element("a", {"href": f"#{name}"}, said[f"section.{name}"]) for name in sections]
    theme = element("button", {"type": "button", "id": "theme", "hidden": True}, said["theme"])
    brand = element("span", {"class": "brand"}, said["title"])
    return element("header", {"class": "top"}, brand, element("nav", {"aria-label": said["contents"]}, links), theme)
