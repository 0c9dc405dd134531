"""The pages of one dump alone: structure, values, NaN and Inf, how much of its types' ranges it uses."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from acc_compare.first_nan import first_nan
from acc_compare.measured.panels import panels_of_dump
from acc_compare.messages import Message, count, listed, say
from acc_compare.report.atomic_write import new_file
from acc_compare.report.html.dump_table import NAME, DumpTable, pack_dump
from acc_compare.report.html.frame import FILLED, blocks, document, filled_sections, words
from acc_compare.report.html.markup import Markup, element, joined
from acc_compare.report.html.overview import map_section
from acc_compare.report.html.panels import packed_panels
from acc_compare.report.i18n import text
from acc_compare.report.inspection import DumpContents, contents_of
from acc_compare.report.inspection_text import size_text
from acc_compare.report.messages import Lang
from dump.format.layout import DumpLocation, find_dumps
from dump.format.reader import read_dump, without_collecting


def write_dump_pages(dump: Path, out: Path, *, stamp: str, lang: Lang = "en", live: str = "") -> tuple[Path, ...]:
    """Write a page for each step and rank below `dump` into the folder `out`, and one over all where there are several.

    Returns them, the one over all first.  Raises DumpError, OutputError.
    """
    locations = find_dumps(dump)
    several = len(locations) > 1
    pages, found = [], []
    for location in locations:
        stem = _stem(location) if several else ""
        pages.append(out / f"{'_'.join(part for part in ('graph', stem, stamp) if part)}.html")
        with without_collecting():
            found.append(write_dump_page(location, pages[-1], lang=lang, live=live))
    if not several:
        return tuple(pages)
    over = out / f"{'_'.join(part for part in ('graph', stamp) if part)}.html"
    body = [_over_all(dump, found, lang), _grid(found, pages, lang)]
    title = text(say("page.dump.title"), lang)
    _write(over, document(body, title=title, sections=["map"], lang=lang, kind="dump", live=live))
    return (over, *pages)


def write_dump_page(location: DumpLocation, path: Path, *, lang: Lang = "en", live: str = "") -> DumpContents:
    """Write the page of one dump to `path`; returns what it holds.  Raises DumpError, OutputError."""
    dump = read_dump(location.path)
    contents = contents_of(location, dump)
    origins = first_nan(location.path).origins if contents.nonfinite and dump.mode != "md5" else ()
    made = [origin.call for origin in origins]
    table = pack_dump(dump, lang, made)
    head = {
        "kind": "dump",
        "names": [NAME, None],
        "rows": table.rows,
        "mode": dump.mode,
        "lang": lang,
        "words": words(lang, "dump"),
        "suspects": [{"call": origin.call, "tensor": origin.tensor, "place": ""} for origin in origins],
        "alike": [],
        "replayed": [],
        "meetings": [],
        "panels": packed_panels(panels_of_dump(dump) if dump.mode == "tensor" else ()),
    }
    body = [_card(contents, made, table, lang)]
    if table.rows:
        body.append(filled_sections(lang, "dump"))
    pieces = document(
        body,
        title=f"{text(say('page.dump.title'), lang)}: {contents.path}",
        sections=["verdict", *(FILLED if table.rows else ())],
        lang=lang,
        kind="dump",
        data=blocks(head, table.columns) if table.rows else (),
        live=live,
    )
    _write(path, pieces)
    return contents


def _write(path: Path, pieces: Iterable[str]) -> None:
    with new_file(path) as draft, draft.open("w", encoding="utf-8", errors="replace", newline="\n") as stream:
        for piece in pieces:
            stream.write(piece)


def _stem(location: DumpLocation) -> str:
    known = (("step", location.step), ("rank", location.rank), ("proc", location.pid))
    return "_".join(f"{name}{number}" for name, number in known if number is not None)


def _card(contents: DumpContents, made: Sequence[str], table: DumpTable, lang: Lang) -> Markup:
    """What the dump holds, where the first NaN or Inf was made, and what was missed."""
    state = "incomplete" if not contents.complete else "different" if contents.nonfinite else "same"
    badge = element("span", {"class": "badge"}, text(say(f"page.dump.state.{state}"), lang))
    calls, tensors = count(contents.calls, "call"), count(contents.tensors, "tensor")
    heading = element("h1", {"id": "verdict-title"}, badge, " ", text(say("page.dump.holds", calls=calls), lang))
    place = [
        say(f"place.{kind}", number=number)
        for kind, number in (("step", contents.step), ("rank", contents.rank))
        if number is not None
    ]
    facts: list[tuple[str, list[Message | str]]] = [
        ("folder", [contents.path]),
        ("where", [listed(place)] if place else []),
        ("device", [", ".join(part for part in (contents.device, f"torch {contents.torch}") if part.strip())]),
        ("recorded", [say("page.dump.recorded", tensors=tensors, mode=say(f"mode.{contents.mode}"))]),
        ("size", [size_text(contents.bytes)]),
        ("nonfinite", [say("page.dump.bad", calls=count(contents.nonfinite, "call"))] if contents.nonfinite else []),
        ("missed", [f"{reason} ({number:,})" for reason, number in contents.missed.items()]),
    ]
    rows = [_fact(label, said, lang) for label, said in facts if said]
    links = [
        element("li", {}, element("a", {"href": f"#row={table.places[name] + 1}", "class": "goto"}, name))
        for name in made
        if name in table.places
    ]
    if links:
        label = element("dt", {}, text(say("page.dump.made"), lang))
        rows.append(joined(label, element("dd", {}, element("ul", {}, links))))
    attributes = {"id": "verdict", "class": f"card {state}", "aria-labelledby": "verdict-title"}
    return element("section", attributes, heading, element("dl", {}, rows))


def _fact(label: str, said: Sequence[Message | str], lang: Lang) -> Markup:
    shown = [text(each, lang) for each in said]
    body = joined(*shown) if len(shown) == 1 else element("ul", {}, [element("li", {}, each) for each in shown])
    return joined(element("dt", {}, text(say(f"page.dump.fact.{label}"), lang)), element("dd", {}, body))


def _over_all(dump: Path, found: Sequence[DumpContents], lang: Lang) -> Markup:
    calls = count(sum(each.calls for each in found), "call")
    bad = sum(each.nonfinite for each in found)
    state = "incomplete" if not all(each.complete for each in found) else "different" if bad else "same"
    badge = element("span", {"class": "badge"}, text(say(f"page.dump.state.{state}"), lang))
    said = text(say("page.dump.holds_all", calls=calls, number=len(found)), lang)
    heading = element("h1", {"id": "verdict-title"}, badge, " ", said)
    attributes = {"id": "verdict", "class": f"card {state}", "aria-labelledby": "verdict-title"}
    facts = [_fact("folder", [str(dump)], lang), _fact("size", [size_text(sum(each.bytes for each in found))], lang)]
    return element("section", attributes, heading, element("dl", {}, facts))


def _grid(found: Sequence[DumpContents], pages: Sequence[Path], lang: Lang) -> Markup:
    """Rank and step: how many calls, or how many of them wrote NaN or Inf; each leads to its page."""
    cells = {(each.rank, each.step): _cell(each, page, lang) for each, page in zip(found, pages, strict=True)}
    return map_section(cells, text(say("page.dump.map"), lang), lang)


def _cell(contents: DumpContents, page: Path, lang: Lang) -> Markup:
    shown = f"NaN/Inf {contents.nonfinite:,}" if contents.nonfinite else f"{contents.calls:,}"
    heat = "heat6 different" if contents.nonfinite else "heat0" if contents.complete else "heat0 incomplete"
    told = text(say("page.dump.holds", calls=count(contents.calls, "call")), lang)
    return element("td", {"class": heat, "title": told}, element("a", {"href": page.name}, shown))
