"""Other micro-batches on either side: what is left to agree is what the optimizer reads."""

from __future__ import annotations

from collections.abc import Sequence

from acc_compare.measured.calls import MeasuredArgument, MeasuredCall
from acc_compare.messages import Message, say
from acc_compare.model import VerdictName

_AGREE = 1e-4
"""Relative L2 error of an accumulated gradient against that of the whole batch: sums in another order, a few hundred
roundings of float32."""


def judge_accumulated(calls: Sequence[MeasuredCall]) -> tuple[VerdictName, Message, Message]:
    """The verdict, its summary, and a note, from the gradients that optimizers read: the same where they agree, else
    incomplete, for batch statistics and means over micro-batches may part in good health."""
    gradients = [
        (call, argument)
        for call in calls
        if call.is_optimizer
        for argument in call.read
        if argument.name.startswith("input.grad.") and argument.error is not None
    ]
    if not gradients:
        return "incomplete", say("accumulated.no_step"), say("accumulated.record_the_step")
    call, worst = max(gradients, key=lambda pair: pair[1].relative)
    parameter, size = _parameter(worst), worst.relative
    if size <= _AGREE:
        agree = say("accumulated.agree", size=size, call=call.full_name)
        return "same", agree, say("accumulated.size", number=len(gradients), parameter=parameter, size=size)
    measured = say("accumulated.compared", number=len(gradients), parameter=parameter)
    differ = say("accumulated.differ", size=size, call=call.full_name, parameter=parameter)
    return "incomplete", differ, say("accumulated.why", measured=measured)


def _parameter(argument: MeasuredArgument) -> str:
    return argument.name.removeprefix("input.grad.")
