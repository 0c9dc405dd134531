"""What `torch.accelerator` answers while CUDA means another device: what `torch.cuda` answers, under its names.

A script written for any accelerator goes the way that it goes on a GPU: the accelerator is CUDA, and what it puts there
comes to the target.  Torch's own code (torch.compile, loaders) gets the truth, which is that there is none on the CPU.
On the simulated NPU the accelerator is that device, as torch itself says.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import torch

from ..intercept.patching import Patches
from .arguments import Target

_SAME = (
    "is_available", "device_count", "current_stream", "set_stream", "synchronize", "empty_cache", "memory_stats",
    "memory_allocated", "max_memory_allocated", "memory_reserved", "max_memory_reserved",
    "reset_accumulated_memory_stats", "reset_peak_memory_stats",
)  # fmt: skip
"""Names that `torch.cuda` has too, and answers by now."""

_OF_CUDA = {
    "current_device_index": "current_device",
    "current_device_idx": "current_device",
    "set_device_index": "set_device",
    "set_device_idx": "set_device",
    "get_memory_info": "mem_get_info",
    "device_index": "device",
}
"""Others, by the name that stands for it there."""


def install(patches: Patches, target: Target) -> None:
    """Let `torch.accelerator`, where this torch has it (since 2.6), answer for the target; after `cuda_module`."""
    accelerator: Any = getattr(torch, "accelerator", None)
    if accelerator is None:
        return
    names = {**dict(zip(_SAME, _SAME, strict=True)), **_OF_CUDA}
    answers = {
        name: _again(getattr(torch.cuda, theirs)) for name, theirs in names.items() if hasattr(torch.cuda, theirs)
    }
    answers["empty_host_cache"] = lambda: None
    if target.kind == "cpu":
        cuda = torch.device("cuda")
        answers["current_accelerator"] = _unless_torch_asks(None, lambda check_available=False: cuda)
        for name, truth in (("is_available", False), ("device_count", 0)):
            answers[name] = _unless_torch_asks(truth, answers[name])
    for name, answer in answers.items():
        if hasattr(accelerator, name):
            patches.replace(accelerator, name, answer)


def _again(answer: Any) -> Callable[..., Any]:
    """Another object that does the same: torch.compile tells torch's functions by identity."""
    if isinstance(answer, type):
        return type(answer.__name__, (answer,), {})

    def same(*args: Any, **kwargs: Any) -> Any:
        return answer(*args, **kwargs)

    return same


def _unless_torch_asks(truth: object, answer: Callable[..., Any]) -> Callable[..., Any]:
    def ask(*args: Any, **kwargs: Any) -> Any:
        module = sys._getframe(1).f_globals.get("__name__", "")
        return truth if module.partition(".")[0] == "torch" else answer(*args, **kwargs)

    return ask
