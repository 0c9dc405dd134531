"""What a comparison could have seen."""

from __future__ import annotations

import math

from acc_compare.judge.origins import Walk
from acc_compare.messages import Message, say
from acc_compare.model import Sensitivity


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
    return Sensitivity(ordered[last], ordered[last * 9 // 10], ordered[last // 2], weakest, len(ordered))


def seen(sensitivity: Sensitivity) -> Message:
    """What the comparison could have seen, in words."""
    return say(
        "note.sensitivity",
        mostly=sensitivity.mostly,
        all=sensitivity.everywhere,
        weakest=sensitivity.weakest,
    )
