"""Other micro-batches on either side: what is left to agree is what the optimizer reads."""

from __future__ import annotations

from collections.abc import Sequence

from ..model import VerdictName
from ..report.wording import quantity
from .calls import MeasuredArgument, MeasuredCall
from .optimizer import is_optimizer

_AGREE = 1e-4
"""Relative L2 error of an accumulated gradient against that of the whole batch: sums in another order, a few hundred
roundings of float32."""


def judge_accumulated(calls: Sequence[MeasuredCall]) -> tuple[VerdictName, str, str]:
    """The verdict, its summary, and a note, from the gradients that optimizers read: the same where they agree, else
    incomplete, for batch statistics and means over micro-batches may part in good health."""
    gradients = [
        (call, argument)
        for call in calls
        if is_optimizer(call)
        for argument in call.read
        if argument.name.startswith("input.grad.") and argument.error is not None
    ]
    if not gradients:
        return (
            "incomplete",
            "Micro-batches differ, and no optimizer step was recorded on both sides: nothing says whether they agree.",
            "Record the optimizer's step on both sides, or run both with the same micro-batches.",
        )
    call, worst = max(gradients, key=lambda pair: pair[1].relative)
    parameter = _parameter(worst)
    measured = f"{len(gradients)} accumulated gradients were compared; {parameter} is furthest apart"
    if worst.relative <= _AGREE:
        return (
            "same",
            f"Accumulated gradients agree to {quantity(worst.relative)} at {call.full_name}.",
            f"{measured}: {quantity(worst.relative)}.",
        )
    return (
        "incomplete",
        f"Accumulated gradients differ by up to {quantity(worst.relative)} at {call.full_name} ({parameter}).",
        f"{measured}. Other data, batch statistics or means over micro-batches may explain it; run both sides with the"
        " same micro-batches to have the operator named.",
    )


def _parameter(argument: MeasuredArgument) -> str:
    return argument.name.removeprefix("input.grad.")
