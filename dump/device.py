"""The only file that knows how cpu, cuda and npu differ."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch

NpuState = Literal["ok", "simulated", "no-device", "broken", "absent"]
_AUTOLOAD = "TORCH_DEVICE_BACKEND_AUTOLOAD"


@dataclass(frozen=True, slots=True)
class Detected:
    """What stands behind the device type `npu`, and a sentence about it."""

    state: NpuState
    detail: str


@contextlib.contextmanager
def _without_autoload() -> Iterator[None]:
    """torch_npu sets the variable to "0" while it imports and restores it only when it succeeds."""
    before = os.environ.get(_AUTOLOAD)
    os.environ[_AUTOLOAD] = "0"
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(_AUTOLOAD, None)
        else:
            os.environ[_AUTOLOAD] = before


def detect_npu() -> Detected:
    """Find out what `npu` is here without leaving a trace: no environment variable, no half-imported package."""
    owner = torch._C._get_privateuse1_backend_name()
    if "torch_npu" not in sys.modules:
        if owner == "npu":
            return Detected("simulated", "dump.sim")
        if owner != "privateuseone":
            return Detected("absent", f"the private device slot belongs to {owner}")
        if importlib.util.find_spec("torch_npu") is None:
            return Detected("absent", "torch_npu is not installed")
        try:
            with _without_autoload():
                importlib.import_module("torch_npu")
        except Exception as error:
            # The one guard at this edge: without CANN torch_npu raises ImportError, OSError, RuntimeError
            # or a plain Exception, depending on what is missing.
            for name in [n for n in sys.modules if n == "torch_npu" or n.startswith("torch_npu.")]:
                del sys.modules[name]
            return Detected("broken", f"{type(error).__name__}: {error}".splitlines()[0])
    npu = getattr(torch, "npu", None)
    count = npu.device_count() if npu is not None and npu.is_available() else 0
    return Detected("ok", f"{count} devices") if count else Detected("no-device", "torch_npu finds no device")


def best_device() -> str:
    """`npu`, else `cuda`, else `cpu`: the first that can be used here."""
    if detect_npu().state in ("ok", "simulated"):
        return "npu"
    return "cuda" if torch.cuda.is_available() else "cpu"


def device_name(kind: str) -> str:
    """What the device calls itself, for the header: "NVIDIA H100", "Ascend910B", "SimulatedNPU", "cpu"."""
    module = getattr(torch, kind, None)
    if kind in ("cuda", "npu") and module is not None and module.is_available():
        return str(module.get_device_name(0))
    return kind


def current_rank() -> int | None:
    """This process's rank, where it knows one: from the process group, else from the launcher's environment."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return int(torch.distributed.get_rank())
    for variable in ("RANK", "RANK_ID"):
        text = os.environ.get(variable, "")
        if text.isdigit():
            return int(text)
    return None


def world_size() -> int:
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return int(torch.distributed.get_world_size())
    text = os.environ.get("WORLD_SIZE", "")
    return int(text) if text.isdigit() else 1
