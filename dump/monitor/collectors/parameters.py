"""Weights before and after the optimizer's update."""

from __future__ import annotations

from typing import Any

from ...format.monitor_files import PARAM_ORIGIN, PARAM_UPDATED, Kind
from .base import Collector, parameters_of, register, show_parameters


@register("parameters")
class Parameters(Collector):
    key = "param_distribution"
    kinds = (PARAM_ORIGIN, PARAM_UPDATED)

    def before_step(self, optimizer: Any) -> None:
        self._show(PARAM_ORIGIN, optimizer)

    def after_step(self, optimizer: Any) -> None:
        self._show(PARAM_UPDATED, optimizer)

    def _show(self, kind: Kind, optimizer: Any) -> None:
        found = [
            (watched, watched.parameter) for watched in parameters_of(optimizer, self.site) if watched.parameter.numel()
        ]
        show_parameters(self.site, kind, found)
