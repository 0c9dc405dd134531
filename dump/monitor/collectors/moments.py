"""First and second moments of Adam and its kin, as the step before left them."""

from __future__ import annotations

from typing import Any

import torch

from ...format.monitor_files import EXP_AVG, EXP_AVG_SQ
from ..framework_optimizers import OptimizerStates
from .base import Collector, parameters_of, register, show_parameters


@register("moments")
class Moments(Collector):
    key = "mv_distribution"
    kinds = (EXP_AVG, EXP_AVG_SQ)

    def before_step(self, optimizer: Any) -> None:
        states = OptimizerStates(optimizer)
        for kind in self.kinds:
            found = [
                (watched, moment)
                for watched in parameters_of(optimizer, self.site)
                if isinstance(moment := states.of(watched.parameter).get(kind.name), torch.Tensor)
            ]
            show_parameters(self.site, kind, found)
