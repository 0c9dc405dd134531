"""What a terminal shows before the advisor's text: the suspects as a table, coloured by how far off they are."""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING, TextIO

from acc_compare.messages import say
from acc_compare.model import Finding, Suspect
from acc_compare.report.formatting import where
from acc_compare.report.i18n import factor, quantity, text
from acc_compare.report.messages import Lang
from acc_compare.report.safe_text import one_line

if TYPE_CHECKING:
    from rich.table import Table

LISTED = 20
"""Suspects in the table."""

NARROW = 80
"""Columns below which the table has what it was accused for alone."""

_COLOURS = {"same": "bold green", "different": "bold red", "incomplete": "bold yellow"}
_SEVERE, _CLEAR = 1000.0, 30.0
"""From how many times what is expected on a suspect is red, and yellow."""


def suspects_table(finding: Finding, *, width: int, lang: Lang = "en", colour: bool = True) -> str:
    """The verdict and the suspects of `finding`, `width` columns wide; "" where there are no suspects."""
    from rich.console import Console
    from rich.text import Text

    if not finding.suspects:
        return ""
    stream = io.StringIO()
    console = Console(
        file=stream,
        width=width,
        force_terminal=colour,
        color_system="standard" if colour else None,
        markup=False,
        highlight=False,
        emoji=False,
        legacy_windows=False,
    )
    verdict = Text(text(say(f"verdict.{finding.verdict}"), lang), style=_COLOURS[finding.verdict])
    console.print(verdict, Text(one_line(text(finding.summary, lang))))
    console.print(_table(finding, lang, is_narrow=width < NARROW))
    return stream.getvalue()


def is_coloured(stream: TextIO, no_color: str | None) -> bool:
    """Whether colours may go to `stream`; `no_color` is what NO_COLOR says (https://no-color.org)."""
    return stream.isatty() and not no_color


def severity(suspect: Suspect) -> str:
    """The colour of a suspect: red where it is off by a thousand times what is expected, or by no size at all."""
    excess = suspect.excess
    if excess is None or not math.isfinite(excess) or excess >= _SEVERE:
        return "red"
    return "yellow" if excess >= _CLEAR else "cyan"


def _table(finding: Finding, lang: Lang, *, is_narrow: bool) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    table.add_column("#", justify="right")
    table.add_column(text(say("terminal.call"), lang), overflow="fold", ratio=3)
    if not is_narrow:
        table.add_column(text(say("terminal.kind"), lang))
        table.add_column(text(say("terminal.where"), lang), overflow="fold", ratio=2)
        table.add_column(text(say("terminal.error"), lang), justify="right")
    table.add_column(text(say("terminal.times"), lang), justify="right")
    for number, suspect in enumerate(finding.suspects[:LISTED], 1):
        style = severity(suspect)
        cells = [Text(str(number)), Text(one_line(suspect.name), style=style)]
        if not is_narrow:
            error = quantity(suspect.rel_l2) if suspect.rel_l2 is not None else "–"
            cells += [Text(suspect.kind), Text(one_line(text(where(suspect), lang))), Text(error)]
        excess = suspect.excess
        shown = f"{factor(excess, lang)}×" if excess is not None and math.isfinite(excess) else "–"
        table.add_row(*cells, Text(shown, style=style))
    left = len(finding.suspects) - LISTED
    if left > 0:
        table.caption = text(say("terminal.more", number=left), lang)
    return table
