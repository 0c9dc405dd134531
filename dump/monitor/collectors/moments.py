"""First and second moments of Adam and its kin, as the step before left them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from ...format.monitor_files import EXP_AVG, EXP_AVG_SQ
from ..scope import WatchedParameter
from .base import Collector, parameters_of, register, show_parameters


@register("moments")
class Moments(Collector):
    key = "mv_distribution"
    kinds = (EXP_AVG, EXP_AVG_SQ)

    def before_step(self, optimizer: Any) -> None:
        for kind in self.kinds:
            found = [
                (watched, moment)
                for watched in parameters_of(optimizer, self.site)
                if isinstance(moment := state_of(optimizer, watched).get(kind.name), torch.Tensor)
            ]
            show_parameters(self.site, kind, found)


def state_of(optimizer: Any, watched: WatchedParameter) -> Mapping[str, Any]:
    """What the optimizer keeps for a parameter; empty before its first step.

    Looks through wrappers that hold the real optimizer as `optimizer` or several as `chained_optimizers`.
    """
    for inner in getattr(optimizer, "chained_optimizers", None) or (optimizer,):
        for holder in (inner, getattr(inner, "optimizer", None)):
            state = getattr(holder, "state", None)
            if isinstance(state, Mapping) and watched.parameter in state:
                found: Mapping[str, Any] = state[watched.parameter]
                return found
    return {}
