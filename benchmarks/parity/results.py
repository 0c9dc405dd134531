"""The results as a page: what was compared, what differs for known reasons, what only one side records."""

from __future__ import annotations

import os
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

from benchmarks.pages import processor, table
from benchmarks.parity import known
from benchmarks.parity.agreement import LIMIT, STATISTICS, Agreement, Difference
from benchmarks.parity.interoperation import Check

_MOST_SHOWN = 6


@dataclass(frozen=True, slots=True)
class Compared:
    """One recording done by both tools.  `low_risk` are calls that msprobe records with risk_level ALL only."""

    name: str
    agreement: Agreement
    low_risk: frozenset[str]

    @property
    def unknown(self) -> tuple[Difference, ...]:
        return known.unknown(self.agreement.differences)

    @property
    def unexplained(self) -> tuple[str, ...]:
        """Calls that msprobe alone records, for no known reason."""
        return known.sort_gaps(self.agreement.only_theirs, known.ONLY_THEIRS, self.low_risk)[1]


@dataclass(frozen=True, slots=True)
class Results:
    compared: Sequence[Compared]
    checks: Sequence[Check]
    versions: Mapping[str, Mapping[str, str]]

    def failures(self) -> list[str]:
        """Why the two tools are not at parity; empty where they are."""
        found = [f"{part.name}: {difference}" for part in self.compared for difference in part.unknown]
        found += [f"{part.name}: only msprobe records {call}" for part in self.compared for call in part.unexplained]
        found += [f"{check.name}: {complaint}" for check in self.checks for complaint in check.complaints]
        return found


def page(results: Results) -> str:
    """The results as Markdown."""
    parts = [
        "# Parity with msprobe",
        "Written by `python benchmarks/parity/run.py`; do not edit.",
        _setting(results.versions),
        "## The same run, recorded by both",
        f"Statistics agree to {LIMIT:g} (`agreement.py` says relative to what) in every call that both record, but for"
        " the known differences below.",
        _agreement_table(results.compared),
        "### Known differences within shared calls",
        _known_table(results.compared),
        "### Calls that one side alone records",
        _gaps_table(results.compared),
        "## Each reads the other's dumps",
        _checks_table(results.checks),
        "## Verdict",
        _verdict(results.failures()),
    ]
    return "\n\n".join(parts) + "\n"


def _setting(versions: Mapping[str, Mapping[str, str]]) -> str:
    when = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    machine = f"{processor()}, {os.cpu_count()} cores, {platform.system()}"
    lines = [f"- {when}, {machine}, CPU only"]
    for name, found in versions.items():
        lines.append(f"- {name} {found['package']}, torch {found['torch']}, Python {found['python']}")
    return "\n".join(lines)


def _agreement_table(compared: Sequence[Compared]) -> str:
    rows = []
    for part in compared:
        found = part.agreement
        worst = [f"{found.worst[field]:.1e}" for field in STATISTICS]
        counts = [len(found.shared), len(found.only_theirs), len(found.only_ours), found.tensors, found.values]
        rows.append([part.name, *map(str, counts), *worst, str(len(part.unknown))])
    heads = ["recording", "calls of both", "only msprobe", "only ours", "tensors", "statistics"]
    return table([*heads, *(f"worst {field}" for field in STATISTICS), "unknown differences"], rows)


def _known_table(compared: Sequence[Compared]) -> str:
    counts = {part.name: known.count_known(part.agreement.differences) for part in compared}
    rows = [
        [each.title, *(str(counts[part.name][each.title]) for part in compared), each.why] for each in known.DIFFERENCES
    ]
    return table(["difference (in how many calls)", *(part.name for part in compared), "why"], rows)


def _gaps_table(compared: Sequence[Compared]) -> str:
    rows = []
    for side, gaps in (("msprobe", known.ONLY_THEIRS), ("ours", known.ONLY_OURS)):
        sorted_calls = {}
        for part in compared:
            calls = part.agreement.only_theirs if side == "msprobe" else part.agreement.only_ours
            by_reason, left = known.sort_gaps(calls, gaps, part.low_risk)
            sorted_calls[part.name] = {**by_reason, "unknown": left}
        for why in (*(gap.title for gap in gaps), "unknown"):
            found = [sorted_calls[part.name][why] for part in compared]
            if any(found):
                most = max(found, key=len)
                rows.append([side, why, *(str(len(calls)) for calls in found), _apis(most)])
    return table(["only", "why", *(part.name for part in compared), "which"], rows)


def _apis(calls: Sequence[str]) -> str:
    """The most frequent operators of `calls`, with how often."""
    often = Counter(".".join(part for part in call.split(".") if not part.isdigit()) for call in calls)
    shown = [f"`{name}` {number}" for name, number in often.most_common(_MOST_SHOWN)]
    return ", ".join(shown) + (f" and {len(often) - _MOST_SHOWN} more" if len(often) > _MOST_SHOWN else "")


def _checks_table(checks: Sequence[Check]) -> str:
    rows = [[check.name, check.outcome, "; ".join(check.complaints) or "as it must be"] for check in checks]
    return table(["check", "outcome", "verdict"], rows)


def _verdict(failures: Sequence[str]) -> str:
    if not failures:
        return "At parity."
    return f"Not at parity, {len(failures)} faults:\n\n" + "\n".join(f"- {failure}" for failure in failures)
