"""What replaying calls came to: a page of text, JSON for programs, and where the files go."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from acc_compare.messages import Message, count, say
from acc_compare.replay.results import Accuracy, Judged, OperatorRow, ReplayedCall, ReplayResult
from acc_compare.report.atomic_write import new_file
from acc_compare.report.i18n import quantity, text
from acc_compare.report.messages import Lang
from acc_compare.report.replay_facts import cause_of, measured, place_of
from acc_compare.report.safe_text import one_line
from acc_compare.report.wrapping import columns, padded, table, wrap

FOLDER = "replay"
_TOLD = 5
_REASONS = 6
_ROWS = 20
_HEAD = ("operator", "calls", "confirmed", "inherited", "cleared", "left out", "recorded", "made again", "ulp")


@dataclass(frozen=True, slots=True)
class ReplayPaths:
    """The files written."""

    text: Path
    document: Path
    workbook: Path | None = None

    @property
    def all(self) -> tuple[Path, ...]:
        return tuple(path for path in (self.workbook, self.text, self.document) if path is not None)


def summary(result: ReplayResult) -> tuple[Message, Message]:
    """The verdict's word and sentence."""
    confirmed, made = result.of("confirmed"), len(result.calls) - len(result.of("not_replayed"))
    if confirmed:
        verdict = "confirmed"
        sentence = say(
            "replay.summary.confirmed",
            confirmed=len(confirmed),
            calls=count(made, "call"),
            against=result.against,
            name=confirmed[0].name,
        )
    elif made:
        verdict = "cleared"
        sentence = say("replay.summary.cleared", calls=count(made, "call"), against=result.against)
    else:
        verdict = "not_replayed"
        sentence = say("replay.summary.not_replayed", calls=count(len(result.calls), "call"))
    return say(f"replay.verdict.{verdict}"), sentence


def replay_text(result: ReplayResult, *, lang: Lang = "en") -> str:
    """One page of plain text: the verdict, the calls that are wrong, a table by operator, and what was left out."""
    lead = text(summary(result)[0], lang)
    blocks = [wrap(text(summary(result)[1], lang), lead=lead, indent=columns(lead)) + _facts(result, lang)]
    confirmed = result.of("confirmed")
    for number, call in enumerate(confirmed[:_TOLD], 1):
        blocks.append(_call(result, call, number, lang))
    if len(confirmed) > _TOLD:
        blocks.append(wrap(text(say("replay.more", number=len(confirmed) - _TOLD), lang)))
    rows = _largest(result.rows)
    blocks.append([text(say("replay.table"), lang), *table([_HEAD, *(_cells(row) for row in rows)])])
    if len(rows) < len(result.rows):
        blocks[-1] += wrap(
            text(say("replay.more_operators", operators=count(len(result.rows) - len(rows), "operator")), lang)
        )
    blocks.append(_left_out(result, lang))
    return "\n\n".join("\n".join(block) for block in blocks if block) + "\n"


def _largest(rows: Sequence[OperatorRow]) -> list[OperatorRow]:
    """Those with confirmed calls, then those that are furthest off, as many as are shown, in their order."""
    ordered = sorted(rows, key=lambda row: (-row.confirmed, -row.recorded if row.cleared else 0.0))[:_ROWS]
    return [row for row in rows if row in ordered]


def _facts(result: ReplayResult, lang: Lang) -> list[str]:
    facts: list[tuple[str, Message | str]] = [
        ("dump", say("replay.recorded_on", path=one_line(result.path), device=result.recorded_on)),
        *([("bench", one_line(result.bench))] if result.bench else []),
        ("device", _reference(result)),
    ]
    if result.bench and summary(result)[0].key == "replay.verdict.cleared":
        facts.append(("next", say("replay.next.cleared")))
    return [line for label, fact in facts for line in _labelled(say(f"replay.label.{label}"), fact, lang)]


def _reference(result: ReplayResult) -> Message:
    if result.against in ("cpu", "bench"):
        return say(f"replay.device.{result.against}", device=result.device)
    return say("replay.device", device=result.device, against=result.against)


def _labelled(label: Message, fact: Message | str, lang: Lang) -> list[str]:
    lead = "  " + padded(text(label, lang), 12)
    return wrap(text(fact, lang), lead=lead, indent=columns(lead))


def _call(result: ReplayResult, call: ReplayedCall, number: int, lang: Lang) -> list[str]:
    heading = say("replay.call", number=number, name=one_line(call.name), place=place_of(call))
    lines = wrap(text(heading, lang), indent=3)
    lines[0] = lines[0].lstrip()
    lines += wrap(text(cause_of(result, call), lang), indent=3)
    if call.worst is not None:
        lines += wrap(text(measured(call.worst), lang), indent=3)
    return lines


def _cells(row: OperatorRow) -> tuple[str, ...]:
    made = row.calls - row.not_replayed
    errors = [quantity(value) if made else "" for value in (row.recorded, row.replayed, row.ulp)]
    counts = (row.calls, row.confirmed, row.inherited, row.cleared, row.not_replayed)
    return one_line(row.operator), *(f"{number:,}" for number in counts), *errors


def _left_out(result: ReplayResult, lang: Lang) -> list[str]:
    lines: list[str] = []
    for reason, number in result.reasons[:_REASONS]:
        share = number / len(result.calls)
        calls, left = count(len(result.calls), "call"), count(number, "call")
        fact = say("replay.left_out", count=left, calls=calls, share=share, reason=reason)
        lines += _labelled(say("replay.label.left_out"), fact, lang)
    return lines


def replay_json(result: ReplayResult) -> bytes:
    """The same for programs, as strict JSON: a number that is not finite is null, all sentences are in English."""
    word, sentence = summary(result)
    document = {
        "verdict": word.key.rpartition(".")[2],
        "summary": text(sentence),
        "path": result.path,
        "bench": result.bench or None,
        "device": result.device,
        "recorded_on": result.recorded_on,
        "against": result.against,
        "counts": {v: len(result.of(v)) for v in get_args(Judged)},
        "reasons": [{"reason": text(reason), "calls": number} for reason, number in result.reasons],
        "calls": [_call_object(call) for call in result.calls],
    }
    written = json.dumps(document, ensure_ascii=False, allow_nan=False, indent=1)
    return written.encode("utf-8", "backslashreplace") + b"\n"


def _call_object(call: ReplayedCall) -> dict[str, object]:
    worst = call.worst
    found: dict[str, object] = {
        "name": call.name,
        "step": call.step,
        "rank": call.rank,
        "verdict": call.verdict,
        "cause": call.cause,
    }
    if call.reason is not None:
        found["reason"] = text(call.reason)
    if worst is not None:
        found |= {"relative": _finite(worst.recorded.relative), "ulp": _finite(worst.recorded.ulp)}
        if worst.bench is not None:
            found["bench_wrong"] = worst.bench.wrong
    found["tensors"] = [
        {
            "name": tensor.name,
            "dtype": tensor.dtype,
            "shape": list(tensor.shape),
            "recorded": _accuracy(tensor.recorded),
            "replayed": _accuracy(tensor.replayed),
            "bench": _accuracy(tensor.bench),
            "expected": _finite(tensor.expected),
            "limit": _finite(tensor.limit),
            "equal": tensor.equal,
        }
        for tensor in call.tensors
    ]
    return found


def _accuracy(found: Accuracy | None) -> dict[str, object] | None:
    if found is None:
        return None
    return {
        "relative": _finite(found.relative),
        "ulp": _finite(found.ulp),
        "nonfinite": found.nonfinite,
        "wrong": found.wrong,
    }


def _finite(value: float | None) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None


def write_replay(
    result: ReplayResult, out_dir: Path, *, timestamp: str, formats: Sequence[str] = ("xlsx",), lang: Lang = "en"
) -> ReplayPaths:
    """Write `out_dir`/replay/replay_<time>.txt and .json, and .xlsx where `formats` asks.  Raises OutputError where one
    is there already or cannot be written."""
    base = out_dir / FOLDER / f"replay_{timestamp}"
    workbook = None
    if "xlsx" in formats:
        from acc_compare.report.replay_workbook import write_replay_workbook  # openpyxl takes a fifth of a second

        workbook = base.with_suffix(".xlsx")
        write_replay_workbook(result, workbook)
    for suffix, content in (
        (".txt", replay_text(result, lang=lang).encode("utf-8", "replace")),
        (".json", replay_json(result)),
    ):
        with new_file(base.with_suffix(suffix)) as draft:
            draft.write_bytes(content)
    return ReplayPaths(base.with_suffix(".txt"), base.with_suffix(".json"), workbook)
