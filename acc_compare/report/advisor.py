"""The advisor: the verdict and its grounds as one page of text for a person, and as JSON for a program."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence

from acc_compare.judge.evidence import some
from acc_compare.messages import Message, count, listed, say
from acc_compare.model import ComparedShare, ErrorPattern, Finding, ReferenceErrors, Sensitivity, Suspect
from acc_compare.report.formatting import (
    EVIDENCE,
    HAPPENED,
    KIND,
    MEASURED,
    NEXT,
    SHAPE,
    SOURCE,
    WHERE,
    Text,
    facts,
    meaning_of,
    mode_of,
    where,
)
from acc_compare.report.i18n import known_language, text
from acc_compare.report.messages import CATALOGUE, Lang
from acc_compare.report.record import to_record
from acc_compare.report.safe_text import one_line
from acc_compare.report.wrapping import WIDTH, columns, padded, wrap

FULL, SHORT = 1, 3
"""Suspects up to the first number are told in full, up to the second in short; the rest get a line each."""

_LISTED = 10
_GROUPS = 3
_INDENT = "  "
_SHORT = (WHERE, SOURCE, HAPPENED, SHAPE)
_SETTINGS = ("evidence.settings", "evidence.given")
"""Evidence that is told in short too: what a call was told otherwise is a cause of its own."""
_COMMAND = re.compile(
    r"(?:\$ )?(?:[A-Z_]+=\S+ )*"
    r"(?:acc (?:dump|compare|replay|repro|report|monitor)\b|(?:python3?|torchrun) (?:-|\S+\.py\b)|export \w+=|grep -)"
)
_LED_IN = re.compile(rf"^(?P<lead>.*?:)\s+`?(?P<command>{_COMMAND.pattern}[^`]*|[a-z_]\w*(?:\.\w+)*\([^`]*\))`?\.?$")


def advisor_text(finding: Finding, *, lang: str = "en", width: int = WIDTH) -> str:
    """One page of plain text, at most `width` columns wide except for commands and paths, which are never broken.

    The verdict first, with settings that differ, then the suspects, most likely first, then what was compared and
    what was not.

    Raises:
        ConfigError: there is no text in `lang`.
    """
    page = _Page(known_language(lang), width)
    blocks = [page.verdict(finding)]
    for number, suspect in enumerate(finding.suspects[:SHORT], 1):
        blocks.append(page.suspect(suspect, number, briefly=number > FULL))
    if len(finding.suspects) > SHORT:
        blocks.append(page.rest(finding.suspects[SHORT:]))
    blocks.append(page.foot(finding))
    return "\n\n".join("\n".join(block) for block in blocks) + "\n"


def advisor_json(finding: Finding, parts: Sequence[Finding] = ()) -> bytes:
    """The same for machines, as strict JSON in UTF-8: a number that is not finite is null.

    Keys: verdict, compared, suspects, and besides them summary, mode, settings, notes; a suspect has the keys of its
    class, and what its pattern looks like as `looks_like`; all sentences are in English.  `record` is the finding
    as data (`report.record`), with those of each step and rank in `parts`, from which `acc report` makes a page.
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
        "summary": text(finding.summary),
        "mode": finding.mode,
        "settings": [text(setting) for setting in finding.settings],
        "notes": [text(note) for note in finding.notes],
        "sensitivity": _sensitivity(finding.sensitivity),
        "record": to_record(finding, parts),
    }
    written = json.dumps(document, ensure_ascii=False, allow_nan=False, indent=2)
    # A lone surrogate, from a file name that is not UTF-8, becomes JSON's own escape for it.
    return written.encode("utf-8", "backslashreplace") + b"\n"


class _Page:
    """The parts of the page in one language, each a list of lines."""

    def __init__(self, lang: Lang, width: int) -> None:
        self._lang = lang
        self._width = width
        labels = [key for key in CATALOGUE[lang] if key.startswith("label.")]
        self._gutter = 2 + max(columns(CATALOGUE[lang][key]) for key in labels)

    def verdict(self, finding: Finding) -> list[str]:
        lead = self._in(say("verdict", verdict=say(f"verdict.{finding.verdict}")))
        lines = self._wrap(self._in(finding.summary), lead=lead, indent=columns(lead))
        sides = (
            ("bench", finding.bench_path, finding.bench_device),
            ("npu", finding.npu_path, finding.npu_device),
        )
        found = [
            self._lead(say(f"side.{side}")) + one_line(", ".join(part for part in (path, device) if part))
            for side, path, device in reversed(sides)
            if path or device
        ]
        if finding.settings:
            found += self._points(say("label.settings"), finding.settings)
        if len(finding.suspects) > 1:
            found += self._labelled(say("label.suspects"), say("most_likely_first", number=len(finding.suspects)))
        return [*lines, *found]

    def suspect(self, suspect: Suspect, number: int, *, briefly: bool) -> list[str]:
        lines = self._wrap(
            self._in(say("headed", number=number, name=suspect.name, kind=meaning_of(suspect))), indent=3
        )
        lines[0] = lines[0].lstrip()
        for label, texts in facts(suspect):
            if briefly and label == EVIDENCE:
                texts = tuple(each for each in texts if isinstance(each, Message) and each.key in _SETTINGS)
            elif label == KIND or (briefly and label not in _SHORT) or (label == MEASURED and _told(suspect)):
                continue
            if not texts:
                continue
            if label == SOURCE:
                lines.append(self._lead(label) + one_line(self._in(texts[0])))
            elif len(texts) > 1 or label == NEXT:
                lines += self._points(label, texts)
            else:
                lines += self._labelled(label, texts[0])
        return lines

    def rest(self, suspects: Sequence[Suspect]) -> list[str]:
        lines = []
        for number, suspect in enumerate(suspects[:_LISTED], SHORT + 1):
            details: list[Text] = [suspect.kind, *([where(suspect)] if where(suspect).values else [])]
            if suspect.rel_l2 is not None:
                details.append(say("brief.differs", size=suspect.rel_l2))
            brief = say("brief", number=number, name=suspect.name, details=listed(details))
            lines += self._wrap(self._in(brief), indent=3)
            lines[-1] = lines[-1] if lines[-1].startswith("     ") else lines[-1].lstrip()
        if len(suspects) > _LISTED:
            lines += self._wrap(self._in(say("brief.rest", count=count(len(suspects) - _LISTED, "more suspect"))))
        return lines

    def foot(self, finding: Finding) -> list[str]:
        coverage = finding.coverage
        mode = mode_of(finding)
        calls, tensors = count(coverage.calls, "call"), count(coverage.tensors, "tensor")
        lines = self._labelled(say("label.compared"), say("compared", calls=calls, tensors=tensors, mode=mode))
        rows = Counter(row.result for row in finding.rows)
        marked = rows["error"] + rows["warning"]
        if finding.verdict == "same" and marked:
            lines += self._labelled(say("label.note"), say("classic", rows=count(marked, "row")))
        if coverage.unmatched_npu or coverage.unmatched_bench:
            lines += self._unmatched(coverage)
        for note in finding.notes:
            lines += self._labelled(say("label.note"), note)
        if any(suspect.rel_l2 is not None and suspect.rel_l2 < math.inf for suspect in finding.suspects[:SHORT]):
            lines += self._labelled(say("label.numbers"), say("glossary"))
        return lines

    def _unmatched(self, coverage: ComparedShare) -> list[str]:
        npu, bench = count(coverage.unmatched_npu, "call"), count(coverage.unmatched_bench, "call")
        if not coverage.unmatched_bench:
            lone = say("lone.npu", npu=npu)
        elif not coverage.unmatched_npu:
            lone = say("lone.bench", bench=bench)
        else:
            lone = say("lone", npu=npu, bench=bench)
        texts: list[Message] = [lone]
        groups: dict[Message, list[str]] = {}
        for call, reason in coverage.reasons:
            groups.setdefault(reason, []).append(call)
        ranked = sorted(groups.items(), key=lambda group: -len(group[1]))
        for reason, names in ranked[:_GROUPS]:
            texts.append(say("reason", count=count(len(names), "call"), reason=reason, names=some(names)))
        if len(ranked) > _GROUPS:
            rest = sum(len(names) for _, names in ranked[_GROUPS:])
            texts.append(say("reason.rest", count=count(rest, "call")))
        first, *more = texts
        return self._labelled(say("label.not_compared"), first) + self._points("", more)

    def _wrap(self, said: str, *, lead: str = "", indent: int = 0) -> list[str]:
        return wrap(said, lead=lead, indent=indent, width=self._width)

    def _in(self, message: Text) -> str:
        return text(message, self._lang)

    def _lead(self, label: Text) -> str:
        return _INDENT + padded(self._in(label), self._gutter)

    def _labelled(self, label: Text, message: Text) -> list[str]:
        return self._wrap(self._in(message), lead=self._lead(label), indent=len(_INDENT) + self._gutter)

    def _points(self, label: Text, texts: Sequence[Text]) -> list[str]:
        """A labelled list; a command in it stands on a line of its own, ready to be copied."""
        lead, indent = self._lead(label), len(_INDENT) + self._gutter
        lines = []
        for message in texts:
            bullet = "- "
            for piece, is_command in pieces(self._in(message)):
                if is_command:
                    lines.append(lead + _INDENT + piece)
                else:
                    lines += self._wrap(piece, lead=lead + bullet, indent=indent + 2)
                lead, bullet = " " * indent, _INDENT
        return lines


def _told(suspect: Suspect) -> bool:
    """Whether the message has the measured number already, or there is none."""
    if suspect.rel_l2 is None or not math.isfinite(suspect.rel_l2):
        return True
    return any(value == suspect.rel_l2 for _, value in suspect.message.values)


def pieces(sentence: str) -> Iterator[tuple[str, bool]]:
    """Sentences and commands of `sentence`, in order, the second of each pair true for a command."""
    for line in sentence.splitlines():
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
        "reference": _reference(suspect.reference),
        "message": text(suspect.message),
        "evidence": [text(part) for part in suspect.evidence],
        "looks_like": next((text(texts[0]) for label, texts in facts(suspect) if label == SHAPE), ""),
        "shape": suspect.pattern.name if suspect.pattern is not None and suspect.pattern.place is not None else "",
        "pattern": _pattern(suspect.pattern),
        "spread": text(suspect.spread) if suspect.spread is not None else "",
        "advice": [text(part) for part in suspect.advice],
        "stack": list(suspect.stack),
        "others": [text(name) if isinstance(name, Message) else str(name) for name in suspect.others],
    }


def _reference(found: ReferenceErrors | None) -> dict[str, object] | None:
    if found is None:
        return None
    return {"npu": _finite(found.npu), "bench": _finite(found.bench), "further_off": found.side}


def _pattern(pattern: ErrorPattern | None) -> dict[str, object] | None:
    if pattern is None:
        return None
    return {
        "kind": pattern.kind,
        "place": pattern.place.name if pattern.place is not None else None,
        "size": _finite(pattern.size),
        "dtype": pattern.dtype or None,
        "confidence": pattern.confidence,
    }


def _sensitivity(found: Sensitivity | None) -> dict[str, object] | None:
    if found is None:
        return None
    return {
        "everywhere": _finite(found.everywhere),
        "mostly": _finite(found.mostly),
        "median": _finite(found.median),
        "weakest": found.weakest,
        "calls": found.calls,
        "blind": found.blind,
    }


def _finite(value: float | None) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None
