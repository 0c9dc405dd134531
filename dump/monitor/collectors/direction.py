"""How much of a gradient points the way the first moment does."""

from __future__ import annotations

from typing import Any

import torch

from ...format.monitor_files import OTHER
from ..framework_optimizers import OptimizerStates
from ..sums import local_values
from .base import Collector, gradient_of, parameters_of, register, show_parameters


@register("mg_direction")
class Direction(Collector):
    """1 where all signs agree, 0 where all are opposite; 1 at the first step, which has no moment yet.

    (mean over elements of sign(gradient) * sign(exp_avg) + 1) / 2, as msprobe has it.
    """

    key = "mg_direction"
    kinds = (OTHER,)

    def before_step(self, optimizer: Any) -> None:
        site = self.site
        found = []
        states = OptimizerStates(optimizer)
        for watched in parameters_of(optimizer, site):
            gradient = gradient_of(watched, prefers_main_grad=site.prefers_main_grad)
            if gradient is None:
                continue
            moment = states.of(watched.parameter).get("exp_avg")
            if isinstance(moment, torch.Tensor):
                ratio = same_direction(local_values(gradient), local_values(moment))
            elif site.is_first_step:
                ratio = torch.ones(())
            else:
                continue
            found.append((watched, ratio))
        show_parameters(site, OTHER, found)


def same_direction(gradient: torch.Tensor, moment: torch.Tensor) -> torch.Tensor:
    """Share (), float32, of elements whose signs agree, half counting for those that are zero."""
    if not moment.numel():
        return torch.ones(())
    agreement = (gradient.sign() * moment.sign()).sum(dtype=torch.float32)
    return (agreement / moment.numel() + 1) / 2
