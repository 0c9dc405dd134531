"""Several steps and ranks as one table: the calls of each in short, one run after the other, and what leads from one to
another: within a run by what a call read, and between ranks by their collectives."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from acc_compare.messages import listed, say
from acc_compare.model import Finding, Meeting, RunProfile, Suspect
from acc_compare.report.columns import NAMES, NumberStyle
from acc_compare.report.html.packing import pack
from acc_compare.report.html.table import PackedColumn, PackedTable
from acc_compare.report.i18n import text
from acc_compare.report.messages import Lang

PLACE = "Step and Rank"
MAKERS, MEETINGS, RANK = "@makers", "@meetings", "@rank"
"""Columns that are not shown: how many rows back the calls stand that made what a call read, and the numbers of the
collectives that it took part in, each apart by a space; the rank."""


def pack_profiles(findings: Sequence[Finding], suspects: Sequence[Suspect], lang: Lang) -> PackedTable:
    """The profiles of `findings`, the steps of a rank side by side, with the places of `suspects`; no rows where there
    are none."""
    ordered = sorted(findings, key=lambda each: (_first_unknown(each.rank), _first_unknown(each.step)))
    profiles = [(each, each.profile) for each in ordered if each.profile is not None]
    names = [name for _, profile in profiles for name in profile.calls]
    places = [place for each, profile in profiles for place in [place_of(each, lang)] * len(profile.calls)]
    columns: list[tuple[str, NumberStyle, tuple[Sequence[object], ...]]] = [
        (NAMES[0], "text", (names, [None] * len(names))),
        (PLACE, "text", (places,)),
        ("Module", "text", ([module or None for _, profile in profiles for module in profile.modules],)),
        ("RelL2", "error", ([error for _, profile in profiles for error in profile.errors],)),
        ("Expected", "error", ([expected for _, profile in profiles for expected in profile.expected],)),
        ("Excess", "factor", ([excess for _, profile in profiles for excess in profile.excess],)),
        ("Origin", "text", ([cell for _, profile in profiles for cell in _origins(profile)],)),
    ]
    packed = [
        PackedColumn(name, style, text(say(f"page.profile.{name}"), lang), False, tuple(map(pack, parts)))
        for name, style, parts in columns
    ]
    meetings: dict[tuple[int | None, Meeting], int] = {}
    hidden: dict[str, list[object]] = {
        MAKERS: [cell for _, profile in profiles for cell in _makers(profile)],
        MEETINGS: [cell for each, profile in profiles for cell in _meetings(each.step, profile, meetings)],
        RANK: [each.rank for each, profile in profiles for _ in profile.calls],
    }
    packed += [PackedColumn(name, "hidden", "", False, (pack(cells),)) for name, cells in hidden.items()]
    known = {place: number for number, place in reversed(list(enumerate(zip(names, places, strict=True))))}
    rows = {each.name: known.get((each.name, place_of(each, lang))) for each in reversed(suspects)}
    found = {name: row for name, row in rows.items() if row is not None}
    return PackedTable(len(names), tuple(packed), found, {}, tuple(each for _, each in meetings))


def _origins(profile: RunProfile) -> Iterator[str | None]:
    yield from (origin or None for origin in profile.origins or ("",) * len(profile.calls))


def _makers(profile: RunProfile) -> Iterator[str | None]:
    for place, makers in enumerate(profile.makers or [()] * len(profile.calls)):
        yield " ".join(str(place - maker) for maker in makers) or None


def _meetings(
    step: int | None, profile: RunProfile, known: dict[tuple[int | None, Meeting], int]
) -> Iterator[str | None]:
    """The numbers of the collectives of each call; `known` are those of all."""
    for met in profile.meetings or [()] * len(profile.calls):
        yield " ".join(str(known.setdefault((step, each), len(known))) for each in met) or None


def place_of(found: Finding | Suspect, lang: Lang) -> str:
    """`step 0, rank 1`, as far as they are known."""
    known = (("step", found.step), ("rank", found.rank))
    return text(listed([say(f"place.{kind}", number=number) for kind, number in known if number is not None]), lang)


def _first_unknown(number: int | None) -> int:
    return -1 if number is None else number
