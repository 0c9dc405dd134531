"""The outcomes as text: what failed, with what is needed to look into it, and the scores."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.localisation.scoring import Outcome

_MOST_SHOWN = 4


def failures(outcomes: Sequence[Outcome], *, with_paths: bool = True) -> str:
    """Each wrong outcome: what was expected, the first three suspects, and the command that compares the dumps."""
    parts = [_failure(each, with_paths=with_paths) for each in outcomes if not each.is_first]
    head = f"{len(parts)} of {len(outcomes)} outcomes are not right at the first place\n"
    return "\n".join([head, *parts])


def _failure(each: Outcome, *, with_paths: bool) -> str:
    effect = "" if each.effect is None else f", off by {each.effect:.2g}"
    how = (
        "UNSOUND" if each.unsound else "ACCUSED" if each.healthy else f"place {each.place}" if each.place else "MISSED"
    )
    lines = [f"{how}: {each.case} [{each.task} {each.level}]{effect}"]
    if each.unsound:
        lines.append(f"  {each.unsound}")
    if not each.healthy:
        more = len(each.expected) - _MOST_SHOWN
        lines.append(f"  expected {', '.join(each.expected[:_MOST_SHOWN])}" + (f" and {more} more" if more > 0 else ""))
    lines += [f"  got {suspect}" for suspect in each.suspects[:3]] or ["  got nobody"]
    if len(each.suspects) > 3:
        lines.append(f"  and {len(each.suspects) - 3} more")
    if with_paths:
        lines.append(f"  acc compare {each.npu} {each.bench}")
    return "\n".join(lines) + "\n"


def scores(outcomes: Sequence[Outcome]) -> str:
    """Top-1 and top-3 of the faults, and accusations of healthy pairs, by task and level."""
    rows = [("task", "level", "faults", "top-1", "top-3", "healthy pairs", "accused", "no test")]
    for task, level in dict.fromkeys((each.task, each.level) for each in outcomes):
        here = [each for each in outcomes if (each.task, each.level) == (task, level)]
        faults = [each for each in here if not each.healthy and not each.unsound]
        healthy = [each for each in here if each.healthy and not each.unsound]
        rows.append(
            (
                task,
                level,
                str(len(faults)),
                share(sum(each.is_first for each in faults), len(faults)),
                share(sum(each.is_in_three for each in faults), len(faults)),
                str(len(healthy)),
                str(sum(not each.is_first for each in healthy)),
                str(sum(bool(each.unsound) for each in here)),
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)


def share(part: int, whole: int) -> str:
    return f"{part} ({100 * part / whole:.0f} %)" if whole else "-"
