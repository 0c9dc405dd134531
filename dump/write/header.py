"""The header keys of a step's dump.json: what is known when it opens, and what only its end knows."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import torch

from ..config import DumpConfig
from ..environment import device, numerics, versions
from ..format import FORMAT_VERSION, sketch
from ..format.layout import TENSOR_FOLDER


def opening_keys(config: DumpConfig, folder: Path) -> dict[str, object]:
    """The keys of the first line of the dump in `folder`."""
    real = config.task == "tensor"
    return {
        "task": config.task,
        "level": config.level,
        "framework": "pytorch",
        "dump_data_dir": str((folder / TENSOR_FOLDER).absolute()) if real else None,
        "format_version": FORMAT_VERSION,
        "torch_version": torch.__version__,
        "summary_mode": None if real else "md5" if config.digest else "statistics",
        "hash": config.digest,
        "sketch": sketch.SKETCH_VERSION,
        "world_size": device.world_size(),
        "environment": versions.header() | ({"remeasured": True} if config.remeasure else {}),
    }


def closing_keys(kinds: Collection[str], coverage: Mapping[str, object], *, complete: bool) -> dict[str, object]:
    """The keys of the last line; `kinds` are the devices whose tensors were measured, `coverage` the step's account."""
    kind = next((found for found in ("npu", "cuda") if found in kinds), "cpu")
    return {
        "device": kind,
        "device_name": device.device_name(kind),
        "numerics": numerics.in_force(),
        "complete": complete,
        "coverage": coverage,
    }
