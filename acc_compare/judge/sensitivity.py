"""What a comparison could have seen, and what it could not judge."""

from __future__ import annotations

import math
from collections.abc import Sequence

from acc_compare.judge.origins import Walk
from acc_compare.measured.calls import MeasuredCall
from acc_compare.messages import Message, count, say
from acc_compare.model import Sensitivity

SEEN = ("note.sensitivity", "note.blind_in_few", "note.blind_in_many")
"""The keys of what `seen` says."""

_WHOLE = 1.0

_NEAR = 0.1
"""What differs by more of its size is other data, and no tie of it is near."""


def sensitivity_of(found: Walk) -> Sensitivity | None:
    """What would have been accused in each call, at the largest of its results that could be judged; None of none."""
    limits: dict[str, tuple[int, float]] = {}
    for (call, argument), judged in found.judged.items():
        expected = found.noise.expectation(call, argument)
        if expected is None:
            continue
        size = judged.argument.count
        if call not in limits or size > limits[call][0]:
            limits[call] = size, math.sqrt(max(0.0, expected.limit**2 - expected.typical**2))
    if not limits:
        return None
    weakest = max(limits, key=lambda call: limits[call][1])
    ordered = sorted(limit for _, limit in limits.values())
    last = len(ordered) - 1
    blind = sum(limit >= _WHOLE for limit in ordered)
    return Sensitivity(ordered[last], ordered[last * 9 // 10], ordered[last // 2], weakest, len(ordered), blind)


def seen(sensitivity: Sensitivity) -> Message:
    """What the comparison could have seen."""
    if not sensitivity.blind:
        return say(
            "note.sensitivity",
            mostly=sensitivity.mostly,
            all=sensitivity.everywhere,
            weakest=sensitivity.weakest,
        )
    return say(
        "note.blind_in_few" if sensitivity.mostly < _WHOLE else "note.blind_in_many",
        mostly=sensitivity.mostly,
        median=sensitivity.median,
        blind=count(sensitivity.blind, "call"),
        calls=sensitivity.calls,
        weakest=sensitivity.weakest,
    )


def near_ties(calls: Sequence[MeasuredCall], found: Walk) -> Message | None:
    """Which indices and masks differ because what they were chosen from all but ties, and how many calls read them and
    could not be judged; None where none does."""
    decided = [
        call.full_name
        for call in calls
        for argument in call.wrote
        if not argument.is_floating
        and argument.relative > 0
        and 0 < max((read.relative for read in call.floating_inputs()), default=0.0) <= _NEAR
        and (judged := found.judged.get((call.full_name, argument.name))) is not None
        and judged.role in ("propagated", "absorbed", "agrees")
    ]
    if not decided:
        return None
    unjudged = sum(call.reads_other_integers() and any(a.is_floating for a in call.wrote) for call in calls)
    return say(
        "note.near_ties" if unjudged else "note.near_ties_alone",
        calls=count(len(dict.fromkeys(decided)), "call"),
        first=decided[0],
        unjudged=count(unjudged, "call"),
    )
