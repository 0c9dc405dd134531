"""One file for each thing that can be watched; a new one is a file, a `register` and a line in `_load`."""

from __future__ import annotations

from ..config import MonitorConfig
from . import activations, collectives, direction, gradients, moments, parameters, sharded, updates
from .base import COLLECTORS, Collector, Site

__all__ = ["COLLECTORS", "Collector", "Site", "chosen"]

_FILES = (gradients, sharded, activations, moments, parameters, direction, updates, collectives)


def chosen(config: MonitorConfig) -> list[type[Collector]]:
    """The collectors that `config` asks for."""
    return [collector for collector in COLLECTORS.values() if collector.wanted(config)]
