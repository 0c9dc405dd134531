"""What is alarming in a step's numbers, and the alarms' file.

A rule looks at one number and at the history of its like: a running mean of magnitudes (weight 0.99 for the past, as
in msprobe), into which what is not finite does not enter.  The first rule in the configuration that fires counts.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..format.monitor_files import Kind
from .config import Alert, Rule
from .output import write_json
from .rows import Number, Row

_PAST = 0.99
_MOST_SHOWN = 10  # lines a step
_MOST_KEPT = 10_000  # alarms in anomaly.json

Fires = Callable[[Rule, str, Number, float], bool]
RULES: dict[str, Fires] = {}


def register(name: str) -> Callable[[Fires], Fires]:
    """Make a rule known.  Raises ValueError at a name that is taken."""

    def add(fires: Fires) -> Fires:
        if name in RULES:
            raise ValueError(f"a rule named {name!r} is registered already")
        RULES[name] = fires
        return fires

    return add


@register("AnomalyTurbulence")
def _turbulence(rule: Rule, op: str, value: Number, history: float) -> bool:
    """A norm or mean above the running mean by more than the threshold's share."""
    return op in ("norm", "mean") and abs(value) > history * (1 + (rule.threshold or 0.0))


@register("AnomalyNan")
def _nan(rule: Rule, op: str, value: Number, history: float) -> bool:
    """NaN; with a threshold also a magnitude beyond it."""
    if op == "nans":
        return value > 0
    return math.isnan(value) or (rule.threshold is not None and abs(value) > rule.threshold)


@dataclass(frozen=True, slots=True)
class Place:
    """Who reports: the rank, its pipeline stage, and the ranks of its group."""

    rank: int = 0
    pp_stage: int = 0
    group_mates: tuple[int, ...] = (0,)


@dataclass(slots=True)
class Alerts:
    """Checks every step; `file` is anomaly.json, None where alarms are printed alone."""

    settings: Alert
    place: Place
    ops: tuple[str, ...]
    file: Path | None = None
    _history: dict[tuple[Kind, str, int | None, str], float] = field(default_factory=dict)
    _kept: dict[str, dict[str, object]] = field(default_factory=dict)

    def check(self, step: int, rows: Mapping[Kind, Sequence[Row]]) -> list[str]:
        """One sentence for each alarm of a step, printed on stderr; they go to the file too.  Raises OutputError."""
        if not self.settings.rules:
            return []
        sentences: list[str] = []
        for number, row in enumerate(row for kind in rows.values() for row in kind):
            for op, value in zip(self.ops, row.values, strict=False):
                if isinstance(value, (int, float)):
                    sentence = self._judge(row, op, value, step)
                    if sentence is not None:
                        sentences.append(sentence)
                        self._keep(row, op, sentence, step=step, number=number)
        for sentence in sentences[:_MOST_SHOWN]:
            print(f"acc monitor: {sentence}", file=sys.stderr)
        if len(sentences) > _MOST_SHOWN:
            print(f"acc monitor: and {len(sentences) - _MOST_SHOWN} more at step {step}", file=sys.stderr)
        if sentences and self.file is not None:
            write_json(self.file, self._kept, indent=1)
        return sentences

    def _judge(self, row: Row, op: str, value: Number, step: int) -> str | None:
        key = (row.label.kind, f"{row.label.vpp_stage}:{row.label.name}", row.label.micro_step, op)
        history = self._history.get(key, abs(value))
        if math.isfinite(value):
            self._history[key] = _PAST * history + (1 - _PAST) * abs(value)
        for rule in self.settings.rules:
            if RULES[rule.rule_name](rule, op, value, history):
                tag = (row.label.tag(self.place.rank), op)
                return (
                    f"Rule {rule.rule_name} reports anomaly signal in {tag} at step {step}, "
                    f"current value {value}, history mean {history}."
                )
        return None

    def _keep(self, row: Row, op: str, sentence: str, *, step: int, number: int) -> None:
        """Under the keys that msprobe's anomaly_processor reads; `call_id` orders the alarms of a step."""
        if self.file is None or len(self._kept) >= _MOST_KEPT:
            return
        tag = row.label.tag(self.place.rank)
        self._kept[f"{tag}_{op}_step_{step}_call_{number}"] = {
            "rank": self.place.rank,
            "step": step,
            "micro_step": row.label.micro_step or 0,
            "pp_stage": self.place.pp_stage,
            "vpp_stage": row.label.vpp_stage,
            "call_id": number,
            "tag_name": tag,
            "message": sentence,
            "group_mates": list(self.place.group_mates),
        }


def alarm_file(root: Path, rank: int) -> Path:
    """Where the alarms of a new run go; those of an earlier one are kept beside it under a number."""
    file = root / "anomaly_detected" / f"rank{rank}" / "anomaly.json"
    if file.exists():
        number = 1
        while (kept := file.with_name(f"anomaly_{number}.json")).exists():
            number += 1
        file.rename(kept)
    return file
