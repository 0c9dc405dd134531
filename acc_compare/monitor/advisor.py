"""What the comparison of two monitored runs found: a page of text for a person, and JSON for a program."""

from __future__ import annotations

import json
import math

from acc_compare.judge.evidence import some
from acc_compare.monitor.model import MonitorFinding, Origin
from acc_compare.report.i18n import factor, quantity, text
from acc_compare.report.safe_text import one_line
from acc_compare.report.wrapping import padded, wrap

KINDS = {
    "nan_inf": "NaN or Inf appears here first",
    "optimizer": "the optimizer updated it differently",
    "gradient": "its gradient parts first",
    "activation": "its activation parts first",
    "communication": "parts between the ranks' own gradients and the reduced ones",
    "input": "the runs do not start alike",
    "dtype": "one side computes in another precision",
    "drift": "its curves run apart, gradually",
}
"""What each kind of origin means."""

_GUTTER = 15
_INDENT = "  "
_LEFT_OUT = 6


def advisor_text(finding: MonitorFinding) -> str:
    """The verdict, each origin, what was compared; at most 100 columns wide but for names, paths and commands."""
    lead = f"{finding.verdict.upper()}: "
    head = wrap(finding.summary, lead=lead, indent=len(lead))
    head += [_lead("NPU") + one_line(str(finding.npu_path)), _lead("Bench") + one_line(str(finding.bench_path))]
    blocks = [head]
    blocks += [_origin(origin, number) for number, origin in enumerate(finding.origins, 1)]
    blocks.append(_foot(finding))
    return "\n\n".join("\n".join(block) for block in blocks) + "\n"


def advisor_json(finding: MonitorFinding) -> bytes:
    """The same for machines, as strict JSON in UTF-8: a number that is not finite is null."""
    coverage = finding.coverage
    document = {
        "verdict": finding.verdict,
        "compared": {
            "ranks": list(coverage.ranks),
            "tables": list(coverage.tables),
            "series": coverage.series,
            "steps": coverage.steps,
            "first_step": coverage.first_step,
            "last_step": coverage.last_step,
            "cells": coverage.cells,
            "unmatched_npu": len(coverage.only_npu),
            "unmatched_bench": len(coverage.only_bench),
        },
        "suspects": [_origin_object(origin) for origin in finding.origins],
        "summary": finding.summary,
        "parted_gradually_from": finding.parted,
        "notes": list(finding.notes),
    }
    written = json.dumps(document, ensure_ascii=False, allow_nan=False, indent=2)
    return written.encode("utf-8", "backslashreplace") + b"\n"


def _origin_object(origin: Origin) -> dict[str, object]:
    return {
        "name": origin.name,
        "step": origin.step,
        "rank": origin.rank,
        "kind": origin.kind,
        "table": origin.table,
        "apart": _finite(origin.apart),
        "expected": _finite(origin.expected),
        "excess": _finite(origin.excess),
        "message": origin.message,
        "others": list(origin.alike),
        "series": origin.alike_count + 1,
        "spread": origin.spread,
        "advice": list(origin.advice),
    }


def _finite(value: float | None) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None


def _origin(origin: Origin, number: int) -> list[str]:
    lines = wrap(f"{number}. {origin.name}: {KINDS[origin.kind]}", indent=3)
    lines[0] = lines[0].lstrip()
    lines += _labelled("Where", f"step {origin.step}, rank {origin.rank}, {origin.table}")
    happened = origin.message
    if origin.excess is not None and 1 < origin.excess < 1e6:
        happened += f" Excess: {factor(origin.excess)} times."
    lines += _labelled("What happened", happened)
    if origin.alike:
        lines += _labelled("Alike", text(some(origin.alike, total=origin.alike_count)))
    if origin.spread:
        lines += _labelled("Afterwards", origin.spread)
    lead = _lead("Try next")
    for advice in origin.advice:
        first, *commands = advice.splitlines()
        lines += wrap(first, lead=lead + "- ", indent=len(lead) + 2)
        lead = _lead("")
        lines += [lead + _INDENT + one_line(command) for command in commands]
    return lines


def _foot(finding: MonitorFinding) -> list[str]:
    coverage = finding.coverage
    steps = f"steps {coverage.first_step} to {coverage.last_step}"
    compared = f"{coverage.series:,} series of {', '.join(coverage.tables)}"
    lines = _labelled("Compared", f"{compared}; {steps}; {coverage.cells:,} rows of each side")
    for side, names in (("NPU", coverage.only_npu), ("bench", coverage.only_bench)):
        if names:
            shown = text(some(names[:_LEFT_OUT], total=len(names)))
            lines += _labelled("Not compared", f"on the {side} side only: {shown}")
    for note in finding.notes:
        lines += _labelled("Note", note)
    if any(origin.apart is not None for origin in finding.origins):
        numbers = (
            "1e-3: a thousandth of the tensor's size, at least, by its norm, mean or extremes; rounding alone gives"
            f" some {quantity(1e-6)} in float32 at first, and grows with the steps"
        )
        lines += _labelled("The numbers", numbers)
    return lines


def _lead(label: str) -> str:
    return _INDENT + padded(label, _GUTTER)


def _labelled(label: str, content: str) -> list[str]:
    return wrap(content, lead=_lead(label), indent=len(_INDENT) + _GUTTER)
