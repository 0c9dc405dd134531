"""Settings that differ between the sides and show in nothing that was compared: the betas of an optimizer in its first
step, a bound that nothing reached.  Runs that agree are no proof that these are the same.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from acc_compare.judge.evidence import say_setting, settings_apart, some
from acc_compare.judge.optimizer import differing_settings_of
from acc_compare.measured.calls import MeasuredCall
from acc_compare.messages import Message, listed, say

_COMPUTED = 0.02
"""A number that a script worked out itself, such as the factor that clips gradients, may be so far off by noise."""


def without_effect(calls: Sequence[MeasuredCall]) -> Message | None:
    """The calls that were told something else on the two sides, the first of each kind; None where none was.  `calls`
    are those of a comparison that found no difference."""
    found: dict[tuple[str, tuple[Message, ...]], str] = {}
    for call in calls:
        if call.is_optimizer:
            settings = differing_settings_of(call)
        elif call.is_backward or call.communicates:
            continue
        else:
            apart = (each for each in settings_apart(call) if not _is_noise(*each[1:]))
            settings = tuple(say_setting(*each) for each in apart)
        if settings:
            found.setdefault((call.operator, settings), call.full_name)
    if not found:
        return None
    told = [say("told", name=name, settings=listed(settings)) for (_, settings), name in found.items()]
    return say("note.without_effect", calls=some(told))


def _is_noise(npu: object, bench: object) -> bool:
    return isinstance(npu, float) and isinstance(bench, float) and math.isclose(npu, bench, rel_tol=_COMPUTED)
