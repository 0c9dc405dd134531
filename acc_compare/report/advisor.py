"""The advisor: the verdict and its grounds as one page of text for a person, and as JSON for a program."""

from __future__ import annotations

import json
import math
import re
import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator

from acc_compare.model import Coverage, Finding, Suspect
from acc_compare.report.safe_text import one_line
from acc_compare.report.wording import (
    EVIDENCE,
    MEASURED,
    MODES,
    NEXT,
    SOURCE,
    count,
    facts,
    place,
    quantity,
    some,
    summary_of,
)
from dump.format.errors import ConfigError

WIDTH = 100
IN_FULL = 5
"""Suspects told in full; the rest get a line each."""

_LISTED = 20
_GUTTER = 15
_GROUPS = 6
_LANGUAGES = ("en",)
_COMMAND = re.compile(
    r"(?:\$ )?(?:[A-Z_]+=\S+ )*"
    r"(?:acc (?:dump|compare|report|monitor)\b|(?:python3?|torchrun) (?:-|\S+\.py\b)|export \w+=)"
)
_LED_IN = re.compile(rf"^(?P<lead>.*?:)\s+`?(?P<command>{_COMMAND.pattern}[^`]*|[a-z_]\w*(?:\.\w+)*\([^`]*\))`?\.?$")


def advisor_text(finding: Finding, *, lang: str = "en") -> str:
    """One page of plain text, at most 100 columns wide except for commands and paths, which are never broken.

    The verdict first, then the suspects, most likely first, then what was compared and what was not.

    Raises:
        ConfigError: there is no text in `lang`.
    """
    if lang not in _LANGUAGES:
        raise ConfigError(f"no advisor in language {lang!r}; known languages: {', '.join(_LANGUAGES)}")
    blocks = [list(_verdict(finding))]
    total = len(finding.suspects)
    for number, suspect in enumerate(finding.suspects[:IN_FULL], 1):
        blocks.append(list(_suspect(suspect, number, total)))
    if total > IN_FULL:
        blocks.append(list(_briefly(finding.suspects[IN_FULL:])))
    blocks.append(list(_compared(finding)))
    if finding.notes:
        blocks.append(["Notes", *_bullets(finding.notes, indent=2)])
    if any(suspect.rel_l2 is not None for suspect in finding.suspects[:IN_FULL]):
        blocks.append(list(_glossary()))
    return "\n\n".join("\n".join(block) for block in blocks) + "\n"


def advisor_json(finding: Finding) -> bytes:
    """The same for machines, as strict JSON in UTF-8: a number that is not finite is null.

    Keys: verdict, compared, suspects, and besides them summary, mode, notes; a suspect has the keys of its
    class, `shape_of_error` as `looks_like`; all sentences are in English.
    """
    coverage = finding.coverage
    document = {
        "verdict": finding.verdict,
        "compared": {
            "calls": coverage.calls,
            "tensors": coverage.tensors,
            "unmatched_npu": coverage.unmatched_npu,
            "unmatched_bench": coverage.unmatched_bench,
        },
        "suspects": [_suspect_object(suspect) for suspect in finding.suspects],
        "summary": summary_of(finding),
        "mode": finding.mode,
        "notes": list(finding.notes),
    }
    text = json.dumps(document, ensure_ascii=False, allow_nan=False, indent=2)
    # A lone surrogate, from a file name that is not UTF-8, becomes JSON's own escape for it.
    return text.encode("utf-8", "backslashreplace") + b"\n"


def _verdict(finding: Finding) -> Iterator[str]:
    verdict = f"{finding.verdict.upper()}: "
    yield from _wrap(summary_of(finding), lead=verdict, indent=len(verdict))
    yield ""
    sides = (
        ("NPU", finding.npu_path, finding.npu_device),
        ("Bench", finding.bench_path, finding.bench_device),
    )
    for side, path, device in sides:
        known = [path, f"({device})" if device else ""]
        if any(known):
            yield f"  {side:<{_GUTTER}}" + one_line(" ".join(known))


def _suspect(suspect: Suspect, number: int, total: int) -> Iterator[str]:
    order = "the only suspect" if total == 1 else f"suspect {number} of {total}"
    if number == 1 and total > 1:
        order += ", the most likely"
    yield f"{number}. {one_line(suspect.name)}   ({order})"
    for label, texts in facts(suspect):
        if label == SOURCE:
            yield f"  {label:<{_GUTTER}}{one_line(texts[0])}"
        elif label in (EVIDENCE, NEXT):
            yield from _points(label, texts)
        elif label != MEASURED or not _told(suspect):
            yield from _wrap(texts[0], lead=f"  {label:<{_GUTTER}}", indent=2 + _GUTTER)


def _told(suspect: Suspect) -> bool:
    """Whether the message has the measured number already."""
    return suspect.rel_l2 is not None and quantity(suspect.rel_l2) in suspect.message


def _briefly(suspects: tuple[Suspect, ...]) -> Iterator[str]:
    yield "Less likely"
    for number, suspect in enumerate(suspects[:_LISTED], IN_FULL + 1):
        parts = [suspect.kind, place(suspect)]
        if suspect.rel_l2 is not None:
            parts.append(f"differs by {quantity(suspect.rel_l2)}")
        detail = ", ".join(part for part in parts if part)
        line = f"{number}. {one_line(suspect.name)} ({detail})"
        yield "  " + textwrap.shorten(line, WIDTH - 2, placeholder=" ...")
    if len(suspects) > _LISTED:
        yield f"  and {count(len(suspects) - _LISTED, 'more suspect')}, in the JSON beside this file"


def _compared(finding: Finding) -> Iterator[str]:
    coverage = finding.coverage
    yield "What was compared"
    text = f"{count(coverage.calls, 'call')} and {count(coverage.tensors, 'tensor')}, found on both sides."
    yield from _wrap(text, indent=2)
    yield from _wrap(f"Mode {MODES.get(finding.mode, finding.mode)}.", indent=2)
    rows = Counter(row.result for row in finding.rows)
    if finding.verdict == "same" and rows["error"] + rows["warning"]:
        marked = count(rows["error"] + rows["warning"], "row")
        yield from _wrap(
            f"The classic fixed thresholds mark {marked} of the table all the same; differing inputs and "
            "rounding explain what is seen there.",
            indent=2,
        )
    if coverage.unmatched_npu or coverage.unmatched_bench:
        yield ""
        yield "What was not compared"
        yield from _unmatched(coverage)


def _unmatched(coverage: Coverage) -> Iterator[str]:
    yield from _wrap(
        f"{count(coverage.unmatched_npu, 'call')} of the NPU side and "
        f"{count(coverage.unmatched_bench, 'call')} of the bench side have no counterpart.",
        indent=2,
    )
    groups: dict[str, list[str]] = {}
    for call, reason in coverage.reasons:
        groups.setdefault(one_line(reason), []).append(call)
    ranked = sorted(groups.items(), key=lambda group: -len(group[1]))
    yield from _bullets(
        (f"{count(len(calls), 'call')}: {reason} ({some(calls)})" for reason, calls in ranked[:_GROUPS]),
        indent=2,
    )
    if len(ranked) > _GROUPS:
        rest = sum(len(calls) for _, calls in ranked[_GROUPS:])
        yield from _bullets([f"{count(rest, 'call')} for other reasons; the table names them"], indent=2)


def _glossary() -> Iterator[str]:
    yield "How to read the numbers"
    yield from _wrap(
        "Two tensors differ by 1e-3 where the difference is a thousandth as long as the bench's tensor "
        "(relative L2 error). Rounding alone gives about 1e-7 for one operator in float32, and about 3e-3 "
        "in bfloat16.",
        indent=2,
    )


def _points(label: str, texts: tuple[str, ...]) -> Iterator[str]:
    """A labelled list; a command in it stands on a line of its own, ready to be copied."""
    lead = f"  {label:<{_GUTTER}}"
    for text in texts:
        bullet = "- "
        for piece, is_command in _pieces(text):
            if is_command:
                yield lead + "    " + piece
            else:
                yield from _wrap(piece, lead=lead + bullet, indent=4 + _GUTTER)
            lead, bullet = " " * (2 + _GUTTER), "  "


def _bullets(texts: Iterable[str], *, indent: int) -> Iterator[str]:
    for text in texts:
        yield from _wrap(text, lead=" " * indent + "- ", indent=indent + 2)


def _pieces(text: str) -> Iterator[tuple[str, bool]]:
    """Sentences and commands of `text`, in order, the second of each pair true for a command."""
    for line in text.splitlines():
        bare = one_line(line).strip("`")
        if not bare:
            continue
        led_in = _LED_IN.match(one_line(line))
        if _COMMAND.match(bare):
            yield bare, True
        elif led_in:
            yield led_in["lead"], False
            yield led_in["command"].strip(), True
        else:
            yield one_line(line), False


def _wrap(text: str, *, lead: str = "", indent: int = 0) -> list[str]:
    """`text` at most WIDTH wide, the first line after `lead`, the others indented; long words stay whole."""
    return textwrap.wrap(
        one_line(text),
        WIDTH,
        initial_indent=lead or " " * indent,
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _suspect_object(suspect: Suspect) -> dict[str, object]:
    return {
        "name": suspect.name,
        "step": suspect.step,
        "rank": suspect.rank,
        "kind": suspect.kind,
        "module": suspect.module,
        "tensor": suspect.tensor,
        "rel_l2": _finite(suspect.rel_l2),
        "expected": _finite(suspect.expected),
        "excess": _finite(suspect.excess),
        "calls": suspect.calls,
        "message": suspect.message,
        "evidence": list(suspect.evidence),
        "looks_like": suspect.shape_of_error,
        "shape": suspect.shape,
        "spread": suspect.spread,
        "advice": list(suspect.advice),
        "stack": list(suspect.stack),
        "others": list(suspect.others),
    }


def _finite(value: float | None) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None
