"""How far an error spreads through the calls after it."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

from acc_compare.judge.origins import INPUT_NOISE, Origin
from acc_compare.measured.calls import MeasuredArgument, MeasuredCall
from acc_compare.messages import Message, Value, say


class Propagation:
    """How far an error reaches: the share of later calls that carry a difference, and the last scalar, which is the
    loss; where that shows nothing, another that nothing is computed from, which is one of several losses."""

    def __init__(self, calls: Sequence[MeasuredCall]) -> None:
        self._orders = [call.order for call in calls]
        touched = (any(a.relative > INPUT_NOISE for a in call.wrote) for call in calls)
        self._touched = [0, *accumulate(touched)]
        self._losses = [loss for call in calls if (loss := _loss(call)) is not None]
        learning = (c for c in calls if not c.is_backward and any(a.npu.requires_grad for a in c.wrote))
        read = {argument.npu.value for call in learning for argument in call.read}
        self._ends = [loss for loss in self._losses if loss[1].npu.value not in read]

    def of(self, origin: Origin) -> Message | None:
        """How far; None where nothing ran later."""
        place = bisect_right(self._orders, origin.call.order)
        later = len(self._orders) - place
        if not later:
            return None
        touched = self._touched[-1] - self._touched[place]
        text = say("spread.calls", touched=touched, later=later)
        if not self._losses or self._losses[-1][0].order < origin.call.order:
            return text
        call, argument = self._losses[-1]
        if argument.relative == 0:
            shown = (end for end in self._ends if end[0].order >= origin.call.order and end[1].relative > INPUT_NOISE)
            call, argument = next(shown, self._losses[-1])
        assert argument.error is not None
        error = argument.error.relative
        if error == 0:
            return say("spread.silent", calls=text)
        size: Value = "" if math.isinf(error) else say("spread.as", size=error)
        return say("spread.loss", calls=text, call=call.full_name, size=size)


def _loss(call: MeasuredCall) -> tuple[MeasuredCall, MeasuredArgument] | None:
    if call.is_backward:
        return None
    for argument in call.wrote:
        scalar = argument.is_floating and argument.npu.numel == 1 and argument.name == "output.0"
        if scalar and argument.error is not None and argument.npu.requires_grad:
            return call, argument
    return None
