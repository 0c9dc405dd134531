"""The words and numbers that every report shares, so that text, workbook and terminal say the same."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import get_args

from acc_compare.model import Finding, Kind, Suspect
from acc_compare.report.messages import CATALOGUE
from acc_compare.report.saying import listed, say

KINDS: dict[Kind, str] = {kind: say(f"kind.{kind}") for kind in get_args(Kind)}
"""What each kind of suspect means."""

MODES: dict[str, str] = {mode: say(f"mode.{mode}") for mode in ("tensor", "statistics", "md5")}

KIND, WHERE, SOURCE, HAPPENED, MEASURED, EVIDENCE, SHAPE, SPREAD, ALIKE, NEXT = (
    say(f"label.{label}") for label in "kind where source happened measured evidence shape spread alike next".split()
)

_EXAMPLES = 3

_TELLING = 1e6
"""A larger factor says no more than the two numbers themselves."""

_FRAME = re.compile(
    r'File "?(?P<path>[^"\n]+?)"?, line (?P<line>\d+)(?:, in (?P<function>[^,\s]+))?,?\s*(?P<code>[^\n]*)'
)
_LIBRARY = re.compile(
    r"[\\/](site-packages|dist-packages|python3\.\d+)[\\/]|<frozen |"
    r"[\\/]torch(_npu)?[\\/](nn|autograd|optim|utils|cuda|npu|distributed|fx|jit|amp|functional|_\w+|__init__)\b"
)


def quantity(value: float) -> str:
    """A measured number, short: `0.0016` is `1.6e-3`, `3e-07` is `3e-7`, `0.25` stays."""
    if not math.isfinite(value):
        return str(float(value))
    if value == 0 or 1e-2 <= abs(value) < 1e4:
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent)}"


def factor(value: float) -> str:
    """How many times one number is another: `1.4`, `5,300`, `2.1e9`."""
    if not math.isfinite(value):
        return say("infinitely_many")
    return f"{value:,.0f}" if 10 <= value < 1e7 else quantity(value)


def count(number: int, noun: str) -> str:
    """`count(1, "call")` is `1 call`, `count(1243, "call")` is `1,243 calls`."""
    form = "one" if number == 1 else "many"
    if f"{form}.{noun}" in CATALOGUE:
        return say(f"{form}.{noun}", number=f"{number:,}")
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def summary_of(finding: Finding) -> str:
    """The verdict in one sentence."""
    return finding.summary or say(f"summary.{finding.verdict}")


def place(suspect: Suspect) -> str:
    """`step 0, rank 1`, as far as they are known."""
    known = (("step", suspect.step), ("rank", suspect.rank))
    return listed(say(f"place.{name}", number=number) for name, number in known if number is not None)


def measured(suspect: Suspect) -> str:
    """How far off, and how far off would be normal, in one sentence; empty where only equality is known."""
    if suspect.rel_l2 is None:
        return ""
    what = say("measured", what=suspect.tensor or say("measured.written"), size=quantity(suspect.rel_l2))
    if suspect.expected is None:
        return what
    if suspect.expected == 0:
        return say("measured.none_normal", measured=what)
    normal = say("measured.normal", measured=what, expected=quantity(suspect.expected))
    if suspect.excess is None or not 1 < suspect.excess < _TELLING:
        return normal
    return say("measured.times", measured=normal, times=factor(suspect.excess))


def script_of(stack: tuple[str, ...]) -> str:
    """The file that a stack began in: the outermost frame that is the user's own; "" where there is none."""
    for entry in reversed(stack):
        match = None if _LIBRARY.search(entry) else _FRAME.search(entry)
        if match is not None:
            return match["path"].strip()
    return ""


def own_line(stack: tuple[str, ...]) -> str:
    """The innermost line of a stack that is the user's own: not Python's, not torch's, not an installed
    package's; where there is none, the innermost.  `path:line in function: code`; "" without a stack."""
    if not stack:
        return ""
    frame = next((entry for entry in stack if not _LIBRARY.search(entry)), stack[0])
    match = _FRAME.search(frame)
    if match is None:
        return " ".join(frame.split())
    where = f"{match['path']}:{match['line']}"
    if match["function"]:
        where += f" in {match['function']}"
    code = match["code"].strip()
    return f"{where}: {code}" if code else where


def where(suspect: Suspect) -> str:
    """`step 0, rank 1, module blocks.2.act`, as far as they are known."""
    module = [say("place.module", name=suspect.module)] if suspect.module else []
    return listed([part for part in [place(suspect), *module] if part])


def meaning_of(suspect: Suspect) -> str:
    """What its kind means; of an operator that is accused for what it read, what that means."""
    if suspect.kind == "operator" and suspect.tensor.partition(".")[0] in ("input", "parameters"):
        return say("kind.before")
    return KINDS[suspect.kind]


def facts(suspect: Suspect) -> list[tuple[str, tuple[str, ...]]]:
    """All that is known of a suspect as (label, sentences), in the order a person asks; nothing empty."""
    table = [
        (KIND, (say("kind.named", kind=suspect.kind, meaning=meaning_of(suspect)),)),
        (WHERE, (where(suspect),)),
        (SOURCE, (own_line(suspect.stack),)),
        (HAPPENED, (suspect.message,)),
        (MEASURED, (measured(suspect),)),
        (SHAPE, (suspect.shape_of_error,)),
        (EVIDENCE, suspect.evidence),
        (SPREAD, (suspect.spread,)),
        (ALIKE, (_alike(suspect),)),
        (NEXT, suspect.advice),
    ]
    kept = ((label, tuple(text for text in texts if text)) for label, texts in table)
    return [(label, texts) for label, texts in kept if texts]


def some(names: Sequence[str], *, total: int = 0) -> str:
    """The first three of `names`, and how many more there are, of `total` where that is larger."""
    shown = listed(names[:_EXAMPLES])
    more = max(total, len(names)) - min(len(names), _EXAMPLES)
    return say("and_more", names=shown, number=f"{more:,}") if more else shown


def _alike(suspect: Suspect) -> str:
    if suspect.calls < 2 and not suspect.others:
        return ""
    text = say("alike", count=count(suspect.calls, "call"))
    if not suspect.others:
        return text
    return say("alike.named", alike=text, names=some([suspect.name, *suspect.others], total=suspect.calls))
