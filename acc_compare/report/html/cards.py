"""What a reader sees first, and without any script: the verdict with its grounds, and the suspects as cards."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from acc_compare.judge.evidence import some
from acc_compare.judge.sensitivity import SEEN, seen
from acc_compare.messages import Message, count, say
from acc_compare.model import Finding, Suspect
from acc_compare.report.advisor import pieces
from acc_compare.report.formatting import KIND, MEASURED, NEXT, SOURCE, Text, facts, meaning_of, mode_of, where
from acc_compare.report.html.markup import Markup, element, joined
from acc_compare.report.i18n import factor, quantity, text
from acc_compare.report.messages import Lang

FULL = 20
"""Suspects that get a card; the rest get a line each, up to LISTED."""

LISTED = 500
_GROUPS = 5


class Cards:
    """The parts of a page in one language."""

    def __init__(self, lang: Lang) -> None:
        self._lang = lang

    def verdict(self, finding: Finding, results: Mapping[str, int]) -> Markup:
        """The verdict, what was compared, what could have been seen, and under which settings; `results` counts the
        rows by what the classic rules say of them."""
        badge = element("span", {"class": "badge"}, self._in(say(f"verdict.{finding.verdict}")))
        heading = element("h1", {"id": "verdict-title"}, badge, " ", self._in(finding.summary))
        parts = [self._side(finding.npu_path, finding.npu_device, "npu")]
        parts.append(self._side(finding.bench_path, finding.bench_device, "bench"))
        parts.append(self._fact(say("label.compared"), [self._compared(finding)]))
        parts.append(self._results(results))
        parts.append(self._fact(say("page.seen"), self._sensitivity(finding)))
        parts.append(self._fact(say("label.settings"), [self._in(each) for each in finding.settings]))
        parts.append(self._fact(say("label.not_compared"), self._unmatched(finding)))
        notes = [self._in(note) for note in finding.notes if note.key not in SEEN]
        parts.append(self._fact(say("label.note"), notes))
        attributes = {"id": "verdict", "class": f"card {finding.verdict}", "aria-labelledby": "verdict-title"}
        return element("section", attributes, heading, element("dl", {}, parts))

    def suspects(self, suspects: Sequence[Suspect], places: Mapping[str, int]) -> Markup:
        """A card for each of the likeliest, a line for each of the rest."""
        if not suspects:
            return Markup("")
        title = text(say("label.suspects"), self._lang)
        heading = element(
            "h2",
            {"id": "suspects-title"},
            title,
            " ",
            element("small", {}, self._in(say("most_likely_first", number=len(suspects)))),
        )
        cards = [self._suspect(suspect, number, places) for number, suspect in enumerate(suspects[:FULL], 1)]
        rest = [self._line(suspect, places) for suspect in suspects[FULL:LISTED]]
        lines = element("ol", {"start": FULL + 1, "class": "rest"}, rest) if rest else Markup("")
        more = len(suspects) - LISTED
        left = element("p", {}, self._in(say("brief.rest", count=count(more, "more suspect")))) if more > 0 else ""
        attributes = {"id": "suspects", "aria-labelledby": "suspects-title"}
        return element("section", attributes, heading, cards, lines, left)

    def _suspect(self, suspect: Suspect, number: int, places: Mapping[str, int]) -> Markup:
        title = element(
            "h3",
            {},
            element("span", {"class": "number"}, f"{number}"),
            " ",
            element("code", {}, suspect.name),
        )
        kind = element("p", {"class": "kind"}, element("b", {}, suspect.kind), ": ", self._in(meaning_of(suspect)))
        rows = []
        for label, texts in facts(suspect):
            if label not in (KIND, MEASURED):
                rows.append(self._fact(label, texts, is_next=label == NEXT, is_code=label == SOURCE))
        place = places.get(f"{suspect.name}.{suspect.tensor}", places.get(suspect.name))
        links = []
        if suspect.stack:
            summary = element("summary", {}, self._in(say("page.stack")))
            links.append(element("details", {}, summary, element("pre", {"tabindex": 0}, "\n".join(suspect.stack))))
        if place is not None:
            links.append(element("a", {"href": f"#row={place + 1}", "class": "goto"}, self._in(say("page.to_row"))))
        return element(
            "article",
            {"class": "card suspect", "data-call": suspect.name, "data-tensor": suspect.tensor},
            title,
            kind,
            self._figures(suspect),
            element("dl", {}, rows),
            element("div", {"class": "links"}, links),
        )

    def _figures(self, suspect: Suspect) -> Markup:
        """The three numbers of a suspect, large; nothing where only equality is known."""
        if suspect.rel_l2 is None:
            return Markup("")
        shown = (
            ("page.measured", suspect.rel_l2, quantity),
            ("page.expected", suspect.expected, quantity),
            ("page.excess", suspect.excess, lambda value: f"{factor(value, self._lang)}×"),
        )
        figures = [
            element("div", {}, element("b", {}, show(value)), " ", element("span", {}, self._in(say(key))))
            for key, value, show in shown
            if value is not None and (math.isfinite(value) or key == "page.measured")
        ]
        return element("div", {"class": "figures"}, figures) if figures else Markup("")

    def _line(self, suspect: Suspect, places: Mapping[str, int]) -> Markup:
        name: Markup = element("code", {}, suspect.name)
        place = places.get(f"{suspect.name}.{suspect.tensor}", places.get(suspect.name))
        if place is not None:
            name = element("a", {"href": f"#row={place + 1}"}, name)
        size = [self._in(say("brief.differs", size=suspect.rel_l2))] if suspect.rel_l2 is not None else []
        details = [suspect.kind, self._in(where(suspect)), *size]
        return element("li", {}, name, " ", " · ".join(detail for detail in details if detail))

    def _side(self, path: str, device: str, side: str) -> Markup:
        shown = ", ".join(part for part in (path, device) if part)
        return self._fact(say(f"side.{side}"), [shown] if shown else [])

    def _compared(self, finding: Finding) -> str:
        coverage = finding.coverage
        calls, tensors = count(coverage.calls, "call"), count(coverage.tensors, "tensor")
        return self._in(say("compared", calls=calls, tensors=tensors, mode=mode_of(finding)))

    def _results(self, counts: Mapping[str, int]) -> Markup:
        if not counts:
            return Markup("")
        marks = [
            element("span", {"class": f"mark {result}"}, f"{counts[result]:,} {result}")
            for result in ("error", "warning", "unmatched", "pass")
            if counts.get(result)
        ]
        return joined(
            element("dt", {}, self._in(say("page.classic"))), element("dd", {}, [joined(mark, " ") for mark in marks])
        )

    def _sensitivity(self, finding: Finding) -> list[str]:
        found = finding.sensitivity
        if found is None:
            return []
        if found.blind:
            return [self._in(seen(found))]
        return [
            self._in(
                say(
                    "page.sensitivity",
                    mostly=found.mostly,
                    median=found.median,
                    all=found.everywhere,
                    weakest=found.weakest,
                    calls=count(found.calls, "call"),
                )
            )
        ]

    def _unmatched(self, finding: Finding) -> list[str]:
        groups: dict[Message, list[str]] = {}
        for call, reason in finding.coverage.reasons:
            groups.setdefault(reason, []).append(call)
        ranked = sorted(groups.items(), key=lambda group: -len(group[1]))
        told = [
            self._in(say("reason", count=count(len(names), "call"), reason=reason, names=some(names)))
            for reason, names in ranked[:_GROUPS]
        ]
        rest = sum(len(names) for _, names in ranked[_GROUPS:])
        return [*told, self._in(say("reason.rest", count=count(rest, "call")))] if rest else told

    def _fact(self, label: Text, texts: Sequence[Text], *, is_next: bool = False, is_code: bool = False) -> Markup:
        """A label and what is to be said under it; nothing where there is nothing to say."""
        shown = [self._in(each) for each in texts]
        if not shown:
            return Markup("")
        if is_next:
            body = [element("li", {}, self._next(each)) for each in shown]
            inner: Markup = element("ul", {"class": "next"}, body)
        elif is_code:
            inner = element("code", {}, shown[0])
        elif len(shown) == 1:
            inner = joined(shown[0])
        else:
            inner = element("ul", {}, [element("li", {}, each) for each in shown])
        return joined(element("dt", {}, self._in(label)), element("dd", {}, inner))

    def _next(self, sentence: str) -> Markup:
        """Sentences and commands; a command stands apart, with a button that copies it."""
        parts = []
        for piece, is_command in pieces(sentence):
            if is_command:
                copy = element(
                    "button", {"type": "button", "class": "copy", "hidden": True}, self._in(say("page.copy"))
                )
                parts.append(element("div", {"class": "command"}, element("code", {"tabindex": 0}, piece), copy))
            else:
                parts.append(element("span", {}, piece))
        return joined(parts)

    def _in(self, message: Text) -> str:
        return text(message, self._lang)
