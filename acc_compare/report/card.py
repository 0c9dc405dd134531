"""A comparison on a card: what a notebook shows in place of a `repr` of thousands of rows."""

from __future__ import annotations

from html import escape

from acc_compare.messages import Message, say
from acc_compare.model import Finding
from acc_compare.report.formatting import meaning_of, where
from acc_compare.report.i18n import text
from acc_compare.report.safe_text import one_line

_SHOWN = 5
_COLOURS = {"same": "#1a7f37", "different": "#cf222e", "incomplete": "#9a6700"}


def card(finding: Finding) -> str:
    """HTML without scripts or links: the verdict, what was compared, and a row for each of the first suspects."""
    colour = _COLOURS[finding.verdict]
    rows = [
        f"<tr><td>{number}</td><td><code>{_safe(suspect.name)}</code></td><td>{_safe(meaning_of(suspect))}</td>"
        f"<td>{_safe(where(suspect))}</td></tr>"
        for number, suspect in enumerate(finding.suspects[:_SHOWN], 1)
    ]
    more = len(finding.suspects) - _SHOWN
    notes = [f"<div>{_safe(note)}</div>" for note in finding.notes[:_SHOWN]]
    return "".join(
        [
            f'<div style="border-left:4px solid {colour};padding:4px 12px">',
            f'<b style="color:{colour}">{_safe(say(f"verdict.{finding.verdict}"))}</b> {_safe(finding.summary)}',
            f"<div><code>{_safe(finding.npu_path)}</code> &middot; <code>{_safe(finding.bench_path)}</code></div>",
            f"<table>{''.join(rows)}</table>" if rows else "",
            f"<div>+ {more}</div>" if more > 0 else "",
            *notes,
            "</div>",
        ]
    )


def _safe(part: Message | str) -> str:
    return escape(one_line(text(part)))
