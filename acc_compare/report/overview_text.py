"""Many steps and ranks at a glance: a grid of rank and step as plain text."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from acc_compare.model import Finding
from acc_compare.report.formatting import plural
from acc_compare.report.i18n import factor
from acc_compare.report.safe_text import one_line

_SHOWN = 20
"""Ranks and steps in the text; the workbook has all."""


@dataclass(frozen=True, slots=True)
class Grid:
    """Findings by (rank, step), with both axes in order; what is not known comes first."""

    steps: tuple[int | None, ...]
    ranks: tuple[int | None, ...]
    at: dict[tuple[int | None, int | None], Finding]

    @classmethod
    def of(cls, findings: Sequence[Finding]) -> Grid:
        steps = sorted({finding.step for finding in findings}, key=_order)
        ranks = sorted({finding.rank for finding in findings}, key=_order)
        return cls(tuple(steps), tuple(ranks), {(finding.rank, finding.step): finding for finding in findings})


def overview_text(findings: Sequence[Finding]) -> str:
    """The grid as plain text: the worst excess of each step and rank, and the first suspect of each that differs."""
    grid = Grid.of(findings)
    steps = grid.steps[:_SHOWN]
    has_ranks = grid.ranks != (None,)
    lines = [f"Worst excess{', rank' if has_ranks else ''} by step (! differs, ? incomplete)"]
    lines.append(f"  {'':<8}" + "".join(f"{label('step', step):>12}" for step in steps))
    for rank in grid.ranks[:_SHOWN]:
        cells = [_mark(grid.at.get((rank, step))) for step in steps]
        lines.append(f"  {label('rank', rank) if has_ranks else '':<8}" + "".join(f"{cell:>12}" for cell in cells))
    left_out = len(findings) - sum((rank, step) in grid.at for rank in grid.ranks[:_SHOWN] for step in steps)
    if left_out:
        lines.append(f"  and {plural(left_out, 'more pair')}, in the workbook")
    lines += _first_suspects(findings)
    return "\n".join(lines) + "\n"


def _first_suspects(findings: Sequence[Finding]) -> Iterator[str]:
    differing = [finding for finding in findings if finding.suspects]
    for finding in differing[:_SHOWN]:
        place = (("step", finding.step), ("rank", finding.rank))
        where = ", ".join(label(kind, number) for kind, number in place if number is not None)
        told = f"first suspect {one_line(finding.suspects[0].name)} ({finding.suspects[0].kind})"
        yield f"  {where}: {told}" if where else f"  {told}"
    if len(differing) > _SHOWN:
        yield f"  and {plural(len(differing) - _SHOWN, 'more pair')} with suspects, in the workbook"


def _order(number: int | None) -> int:
    return -1 if number is None else number


def label(kind: str, number: int | None) -> str:
    """`step 3`; `step -` where it is not known."""
    return f"{kind} -" if number is None else f"{kind} {number}"


def _mark(finding: Finding | None) -> str:
    if finding is None:
        return "-"
    sign = {"same": "", "different": " !", "incomplete": " ?"}[finding.verdict]
    worst = finding.worst_excess
    return (factor(worst) if worst is not None and math.isfinite(worst) else without_number(finding)) + sign


def without_number(finding: Finding) -> str:
    """What stands for a worst excess that is not known, or not finite."""
    return "-" if finding.worst_excess is None else "inf"
