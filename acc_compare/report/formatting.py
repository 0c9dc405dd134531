"""The facts of a suspect in the order in which every report tells them, so that all say the same."""

from __future__ import annotations

from typing import TypeAlias

from acc_compare.judge.evidence import has_other_settings, some
from acc_compare.messages import Message, Value, count, listed, say
from acc_compare.model import Finding, Suspect
from acc_compare.report.error_patterns import described
from acc_compare.stacks import own_line

Text: TypeAlias = "Message | str"

_LABELS = "kind where source happened measured evidence shape spread alike next"
KIND, WHERE, SOURCE, HAPPENED, MEASURED, EVIDENCE, SHAPE, SPREAD, ALIKE, NEXT = (
    say(f"label.{label}") for label in _LABELS.split()
)

_TELLING = 1e6
"""A larger factor says no more than the two numbers themselves."""


def plural(number: int, noun: str) -> str:
    """`1 step`, `1,243 steps`, where a report is in English alone."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def mode_of(finding: Finding) -> Message:
    """What there was to compare."""
    return say(f"mode.{finding.mode}")


def place(suspect: Suspect) -> Message:
    """`step 0, rank 1`, as far as they are known."""
    known = (("step", suspect.step), ("rank", suspect.rank))
    return listed(say(f"place.{name}", number=number) for name, number in known if number is not None)


def where(suspect: Suspect) -> Message:
    """`step 0, rank 1, module blocks.2.act`, as far as they are known."""
    module = [say("place.module", name=suspect.module)] if suspect.module else []
    return listed([part for part in [place(suspect), *module] if part.values])


def stem_of(finding: Finding) -> str:
    """`step0_rank1`, as far as they are known: what files of one pair of dumps have in their names."""
    known = (("step", finding.step), ("rank", finding.rank))
    return "_".join(f"{name}{number}" for name, number in known if number is not None)


def measured(suspect: Suspect) -> Message | None:
    """How far off, and how far off would be normal; None where only equality is known."""
    if suspect.rel_l2 is None:
        return None
    tensor: Value = suspect.tensor or say("measured.written")
    what = say("measured", what=tensor, size=suspect.rel_l2)
    if suspect.expected is None:
        return what
    if suspect.expected == 0:
        return say("measured.none_normal", measured=what)
    normal = say("measured.normal", measured=what, expected=suspect.expected)
    if suspect.excess is None or not 1 < suspect.excess < _TELLING:
        return normal
    return say("measured.times", measured=normal, times=suspect.excess)


def meaning_of(suspect: Suspect) -> Message:
    """What its kind means; of an operator that is accused for what it read, what that means, and of what differs
    already, since when as far as that is known."""
    if suspect.kind in ("operator", "random", "input") and has_other_settings(suspect):
        return say("kind.settings")
    if suspect.kind == "input" and suspect.message.key == "happened.input_compiled":
        return say("kind.input_compiled")
    if suspect.kind == "input" and suspect.step:
        return say("kind.input_later")
    if suspect.kind == "operator" and suspect.tensor.partition(".")[0] in ("input", "parameters"):
        return say("kind.before")
    return say(f"kind.{suspect.kind}")


def facts(suspect: Suspect) -> list[tuple[Message, tuple[Text, ...]]]:
    """All that is known of a suspect as (label, sentences), in the order a person asks; nothing empty."""
    table: list[tuple[Message, tuple[Text | None, ...]]] = [
        (KIND, (say("kind.named", kind=suspect.kind, meaning=meaning_of(suspect)),)),
        (WHERE, (where(suspect),)),
        (SOURCE, (own_line(suspect.stack),)),
        (HAPPENED, (suspect.message,)),
        (MEASURED, (measured(suspect),)),
        (SHAPE, (_looks(suspect),)),
        (EVIDENCE, suspect.evidence),
        (SPREAD, (suspect.spread,)),
        (ALIKE, (_alike(suspect),)),
        (NEXT, suspect.advice),
    ]
    kept = [
        (label, tuple(part for part in texts if part is not None and _says_something(part))) for label, texts in table
    ]
    return [(label, texts) for label, texts in kept if texts]


def _says_something(part: Text) -> bool:
    return bool(part) if isinstance(part, str) else bool(part.values) or not part.key.startswith("list.")


def _looks(suspect: Suspect) -> Message | None:
    if suspect.kind == "optimizer":
        factor = suspect.pattern.size if suspect.pattern is not None else None
        return say("looks.update_factor", factor=factor) if factor is not None else None
    if suspect.pattern is not None and suspect.pattern.kind == "rounding" and has_other_settings(suspect):
        return None  # which explain it, of whatever size it is
    return described(suspect.pattern, suspect.tensor)


def _alike(suspect: Suspect) -> Message | None:
    if suspect.calls < 2 and not suspect.others:
        return None
    found = say("alike", count=count(suspect.calls, "call"))
    if not suspect.others:
        return found
    return say("alike.named", alike=found, names=some([suspect.name, *suspect.others], total=suspect.calls))
