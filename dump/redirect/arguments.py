"""Arguments that name a CUDA device, and the same arguments naming another."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch

TargetKind: TypeAlias = Literal["cpu", "npu"]
Function: TypeAlias = Callable[..., Any]

_CUDA_TYPE = "torch.cuda."
_original_device = torch.device


@dataclass(frozen=True)
class Target:
    """The device that CUDA is to mean.  Without slots: dynamo of torch 2.1 refers weakly to what it meets."""

    kind: TargetKind

    def place(self, value: Any) -> Any:
        """`value`, with a CUDA device replaced: "cuda", "cuda:1", torch.device("cuda"), "torch.cuda.FloatTensor"."""
        if isinstance(value, str):
            if _names_cuda(value):
                return self.kind
            return f"torch.{value.removeprefix(_CUDA_TYPE)}" if value.startswith(_CUDA_TYPE) else value
        if isinstance(value, _original_device) and value.type == "cuda":
            return _original_device(self.kind)
        return value

    def device(self, value: Any) -> Any:
        """The same for an argument that can be nothing but a device, where a number is one, too."""
        if isinstance(value, int) and not isinstance(value, bool):
            return self.kind
        return self.place(value)

    def options(self, keywords: Mapping[str, Any]) -> dict[str, Any]:
        """Keyword arguments; on the CPU no memory is pinned, which takes an accelerator."""
        placed = {
            name: self.device(value) if name == "device" else self.place(value) for name, value in keywords.items()
        }
        if self.kind == "cpu":
            placed.pop("pin_memory", None)
        return placed


def _names_cuda(text: str) -> bool:
    """Is it "cuda", or with a number: "cuda:1"?  (dynamo of torch 2.1 cannot trace a regular expression.)"""
    kind, colon, index = text.partition(":")
    return kind == "cuda" and (not colon or index.isdecimal())


def placed(original: Function, target: Target) -> Function:
    """`original`, with every argument that names a CUDA device naming the target."""

    @functools.wraps(original)
    def call(*args: Any, **kwargs: Any) -> Any:
        return original(*[target.place(value) for value in args], **target.options(kwargs))

    return call


def device_first(original: Function, target: Target) -> Function:
    """The same for methods whose first argument after `self` may be a device, given as a number too (`x.to(0)`)."""

    @functools.wraps(original)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        given = [target.device(value) if place == 0 else target.place(value) for place, value in enumerate(args)]
        return original(self, *given, **target.options(kwargs))

    return call
