"""How sensitive a run's operators are to their inputs: a page of text, and JSON for programs."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

from acc_compare.messages import count, say
from acc_compare.replay.results import Response
from acc_compare.report.atomic_write import new_file
from acc_compare.report.i18n import quantity, text
from acc_compare.report.messages import Lang
from acc_compare.report.replay import FOLDER
from acc_compare.report.safe_text import one_line
from acc_compare.report.wrapping import table, wrap

_ROWS = 20


def sensitivity_text(kind: str, responses: Sequence[Response], *, lang: Lang = "en") -> str:
    """One page: the most sensitive operator, and a table by operator."""
    worst = max(responses, key=_size)
    sentence = say(
        f"sensitivity.{kind}",
        calls=count(len(responses), "call"),
        name=one_line(worst.name),
        times=worst.amplification,
    )
    rows: list[tuple[str, ...]] = [("operator", "calls", "amplification", "inputs moved", "result moved")]
    for operator, found in _by_operator(responses)[:_ROWS]:
        most = max(found, key=_size)
        numbers = (most.amplification, most.changed, most.moved)
        rows.append((one_line(operator), f"{len(found):,}", *(quantity(number) for number in numbers)))
    return "\n".join([*wrap(text(sentence, lang)), "", *table(rows)]) + "\n"


def sensitivity_json(kind: str, responses: Sequence[Response]) -> bytes:
    """The same for programs; a number that is not finite is null."""
    calls = [
        {
            "name": found.name,
            "step": found.step,
            "rank": found.rank,
            "changed": _finite(found.changed),
            "moved": _finite(found.moved),
            "amplification": _finite(found.amplification),
            "nonfinite": found.nonfinite,
        }
        for found in responses
    ]
    written = json.dumps({"perturb": kind, "calls": calls}, ensure_ascii=False, allow_nan=False, indent=1)
    return written.encode("utf-8", "backslashreplace") + b"\n"


def write_sensitivity(kind: str, responses: Sequence[Response], out_dir: Path, *, timestamp: str) -> Path:
    """Write `out_dir`/replay/sensitivity_<time>.json.  Raises OutputError."""
    path = out_dir / FOLDER / f"sensitivity_{timestamp}.json"
    with new_file(path) as draft:
        draft.write_bytes(sensitivity_json(kind, responses))
    return path


def _by_operator(responses: Sequence[Response]) -> list[tuple[str, list[Response]]]:
    groups: dict[str, list[Response]] = {}
    for found in responses:
        groups.setdefault(found.operator, []).append(found)
    return sorted(groups.items(), key=lambda group: -max(map(_size, group[1])))


def _size(found: Response) -> float:
    return found.amplification if found.amplification == found.amplification else math.inf


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
