"""Several steps and ranks as one table: the calls of each in short, one run after the other."""

from __future__ import annotations

from collections.abc import Sequence

from acc_compare.messages import listed, say
from acc_compare.model import Finding, Suspect
from acc_compare.report.columns import NumberStyle
from acc_compare.report.html.packing import pack
from acc_compare.report.html.table import NAMES, PackedColumn, PackedTable
from acc_compare.report.i18n import text
from acc_compare.report.messages import Lang

PLACE = "Step and Rank"


def pack_profiles(findings: Sequence[Finding], suspects: Sequence[Suspect], lang: Lang) -> PackedTable:
    """The profiles of `findings`, the steps of a rank side by side, with the places of `suspects`; no rows where there
    are none."""
    ordered = sorted(findings, key=lambda each: (_first_unknown(each.rank), _first_unknown(each.step)))
    profiles = [(place_of(each, lang), each.profile) for each in ordered if each.profile is not None]
    names = [name for _, profile in profiles for name in profile.calls]
    places = [place for place, profile in profiles for _ in profile.calls]
    columns: list[tuple[str, NumberStyle, tuple[Sequence[object], ...]]] = [
        (NAMES[0], "text", (names, [None] * len(names))),
        (PLACE, "text", (places,)),
        ("Module", "text", ([module or None for _, profile in profiles for module in profile.modules],)),
        ("RelL2", "error", ([error for _, profile in profiles for error in profile.errors],)),
        ("Expected", "error", ([expected for _, profile in profiles for expected in profile.expected],)),
        ("Excess", "factor", ([excess for _, profile in profiles for excess in profile.excess],)),
    ]
    packed = tuple(
        PackedColumn(name, style, text(say(f"page.profile.{name}"), lang), False, tuple(map(pack, parts)))
        for name, style, parts in columns
    )
    known = {key: number for number, key in reversed(list(enumerate(zip(names, places, strict=True))))}
    rows = {each.name: known.get((each.name, place_of(each, lang))) for each in reversed(suspects)}
    found = {name: row for name, row in rows.items() if row is not None}
    return PackedTable(len(names), packed, found, {})


def place_of(found: Finding | Suspect, lang: Lang) -> str:
    """`step 0, rank 1`, as far as they are known."""
    known = (("step", found.step), ("rank", found.rank))
    return text(listed([say(f"place.{kind}", number=number) for kind, number in known if number is not None]), lang)


def _first_unknown(number: int | None) -> int:
    return -1 if number is None else number
