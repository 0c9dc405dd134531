"""What Adam's moments make of a step: the update and the ratio, and how their elements are spread over [-1, 1]."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from ...format.monitor_files import ADAM_RATIO, ADAM_UPDATE, Kind
from ..framework_optimizers import OptimizerStates
from ..rows import Label
from ..scope import WatchedParameter
from ..sums import local_values
from .base import Collector, parameters_of, register

BINS = 30


@register("ur_distribution")
class Updates(Collector):
    """Kingma, Ba 2015, algorithm 1: update = m / (sqrt(v) + eps), ratio = m / sqrt(v), moments without bias."""

    key = "ur_distribution"
    kinds = (ADAM_UPDATE, ADAM_RATIO)

    def before_step(self, optimizer: Any) -> None:
        states = OptimizerStates(optimizer)
        for watched in parameters_of(optimizer, self.site):
            self._show(optimizer, watched, states.of(watched.parameter))

    def _show(self, optimizer: Any, watched: WatchedParameter, state: Mapping[str, Any]) -> None:
        first, second, step = state.get("exp_avg"), state.get("exp_avg_sq"), state.get("step")
        if not isinstance(first, torch.Tensor) or not isinstance(second, torch.Tensor) or not step:
            return
        settings = _settings(optimizer, watched)
        slow, fast = settings["betas"]
        mean = local_values(first) / (1 - slow ** float(step))
        spread = (local_values(second) / (1 - fast ** float(step))).sqrt()
        self._show_one(ADAM_UPDATE, watched, mean / (spread + settings["eps"]))
        self._show_one(ADAM_RATIO, watched, mean / spread)

    def _show_one(self, kind: Kind, watched: WatchedParameter, values: torch.Tensor) -> None:
        (measured,) = self.site.measurer.measure([values])
        counts = torch.histc(values.float(), BINS, -1, 1)
        text = " ".join(str(int(count)) for count in counts.tolist())
        self.site.show(Label(kind, watched.vpp_stage, watched.name), measured, text)


def _settings(optimizer: Any, watched: WatchedParameter) -> Any:
    """The settings of the group that the parameter is in."""
    for group in optimizer.param_groups:
        if any(parameter is watched.parameter for parameter in group["params"]):
            return group
    return optimizer.defaults
