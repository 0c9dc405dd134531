"""The words and numbers that every report shares, so that text, workbook and terminal say the same."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from acc_compare.model import Finding, Kind, Suspect, VerdictName

KINDS: dict[Kind, str] = {
    "operator": "what it read agrees, what it computed does not",
    "nan_inf": "NaN or Inf appears here first",
    "optimizer": "the gradients agree, the updated parameters do not",
    "input": "the data or the initial parameters differ before any operator ran",
    "random": "a random operator drew other numbers",
    "structure": "calls are present on one side only",
    "dtype": "one side computes in a lower precision throughout",
}
"""What each kind of suspect means."""

MODES: dict[str, str] = {
    "tensor": "real data: every element of every tensor",
    "statistics": "statistics: maximum, minimum, mean, norm and a sketch of each tensor",
    "md5": "MD5: only whether tensors are equal bit by bit, not by how much they differ",
}

KIND, WHERE, SOURCE, HAPPENED, MEASURED = "Kind", "Where", "Source line", "What happened", "Measured"
EVIDENCE, SHAPE, SPREAD, ALIKE, NEXT = "Evidence", "Looks like", "Spread", "Alike", "Try next"

_EXAMPLES = 3
_DEFAULT_SUMMARY: dict[VerdictName, str] = {
    "same": "No call differs by more than its inputs and rounding explain.",
    "different": "The two runs differ by more than rounding explains.",
    "incomplete": "Too little could be compared to say whether the two runs agree.",
}

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
        return "infinitely many"
    return f"{value:,.0f}" if 10 <= value < 1e7 else quantity(value)


def count(number: int, noun: str) -> str:
    """`count(1, "call")` is `1 call`, `count(1243, "call")` is `1,243 calls`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def summary_of(finding: Finding) -> str:
    """The verdict in one sentence."""
    return finding.summary or _DEFAULT_SUMMARY[finding.verdict]


def place(suspect: Suspect) -> str:
    """`step 0, rank 1`, as far as they are known."""
    known = (("step", suspect.step), ("rank", suspect.rank))
    return ", ".join(f"{name} {number}" for name, number in known if number is not None)


def measured(suspect: Suspect) -> str:
    """How far off, and how far off would be normal, in one sentence; empty where only equality is known."""
    if suspect.rel_l2 is None:
        return ""
    what = f"{suspect.tensor or 'what it wrote'} differs by {quantity(suspect.rel_l2)} of its size"
    if suspect.expected is None:
        return what
    if suspect.expected == 0:
        return f"{what} where no difference at all is normal"
    normal = f"{what} where {quantity(suspect.expected)} is normal"
    if suspect.excess is None or not 1 < suspect.excess < _TELLING:
        return normal
    return f"{normal}: {factor(suspect.excess)} times as much"


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


def facts(suspect: Suspect) -> list[tuple[str, tuple[str, ...]]]:
    """All that is known of a suspect as (label, sentences), in the order a person asks; nothing empty."""
    where = [place(suspect), f"module {suspect.module}" if suspect.module else ""]
    table = [
        (KIND, (f"{suspect.kind}: {KINDS[suspect.kind]}",)),
        (WHERE, (", ".join(part for part in where if part),)),
        (SOURCE, (own_line(suspect.stack),)),
        (HAPPENED, (suspect.message,)),
        (MEASURED, (measured(suspect),)),
        (EVIDENCE, suspect.evidence),
        (SHAPE, (suspect.shape_of_error,)),
        (SPREAD, (suspect.spread,)),
        (ALIKE, (_alike(suspect),)),
        (NEXT, suspect.advice),
    ]
    kept = ((label, tuple(text for text in texts if text)) for label, texts in table)
    return [(label, texts) for label, texts in kept if texts]


def some(names: Sequence[str], *, total: int = 0) -> str:
    """The first three of `names`, and how many more there are, of `total` where that is larger."""
    shown = ", ".join(names[:_EXAMPLES])
    more = max(total, len(names)) - min(len(names), _EXAMPLES)
    return f"{shown} and {more:,} more" if more else shown


def _alike(suspect: Suspect) -> str:
    if suspect.calls < 2 and not suspect.others:
        return ""
    text = f"{count(suspect.calls, 'call')} of this operator do the same"
    return f"{text}: {some([suspect.name, *suspect.others], total=suspect.calls)}" if suspect.others else text
