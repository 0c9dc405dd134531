"""A kernel of torch's, put behind one of ours: what a wrong kernel sees, and the registry of ways to be wrong.

A wrong kernel is a function `(launch, value) -> result` under `@change(name)`.  It works on numpy arrays that share
memory with the tensors, so that no operator of torch's runs in it but the genuine kernel: nothing shows in a record.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import ml_dtypes
import numpy as np
import torch

Array: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"

# Bound before anything can be patched.
_numpy, _detach, _from_numpy = torch._C.TensorBase.numpy, torch._C.TensorBase.detach, torch.from_numpy
_viewed = torch._C.TensorBase.view


def view(tensor: torch.Tensor) -> Array:
    """The tensor's elements, in its own memory; numpy knows bfloat16 by `ml_dtypes`."""
    plain = _detach(tensor)
    if tensor.dtype is torch.bfloat16:
        bits: Array = _numpy(_viewed(plain, torch.int16))
        return bits.view(ml_dtypes.bfloat16)
    array: Array = _numpy(plain)
    return array


def rounded(array: Array, mantissa: int) -> Array:
    """float32 elements to the nearest with so many bits of mantissa, ties to even: 7 are bfloat16's, 10 TF32's."""
    bits = np.ascontiguousarray(array, dtype=np.float32).view(np.uint32)
    lost = np.uint32(23 - mantissa)
    half = np.uint32((1 << (22 - mantissa)) - 1)
    up = bits + half + ((bits >> lost) & np.uint32(1))
    result: Array = ((up >> lost) << lost).view(np.float32)
    return np.where(np.isfinite(array), result, array)


def bytes_of(tensor: torch.Tensor) -> bytes:
    """The elements in order, as bytes; read past whatever a recorder has put in the way."""
    with torch._C.DisableTorchFunction():
        return bytes(view(tensor).tobytes())


def fresh(array: Array, like: torch.Tensor) -> torch.Tensor:
    """A new contiguous tensor with these elements, in the dtype of `like`."""
    return _from_numpy(np.ascontiguousarray(array, dtype=view(like).dtype))


def number(value: float) -> torch.Tensor:
    """A number as a tensor of no dimension."""
    return _from_numpy(np.asarray(value))


def floats(value: Any) -> Iterator[torch.Tensor]:
    """The floating tensors in a result or in arguments, in order."""
    if isinstance(value, torch.Tensor):
        if value.dtype.is_floating_point:
            yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from floats(item)


@dataclass(slots=True)
class Launch:
    """One run of an operator whose kernel is replaced.

    `number` counts the operator's calls from 0.  `memory` is kept from call to call.  `genuine` runs torch's own
    kernel, by default on the arguments given, and `wanted` are copies of its floating results on those.
    """

    run: Callable[..., Any]
    arguments: tuple[Any, ...]
    keywords: dict[str, Any]
    number: int
    memory: dict[str, Any] = field(default_factory=dict)
    wanted: list[Array] | None = None
    overwritten: list[torch.Tensor] = field(default_factory=list)
    written: list[torch.Tensor] = field(default_factory=list)
    """What an operator that returns nothing wrote into."""

    def genuine(self) -> Any:
        result = self.run(*self.arguments, **self.keywords)
        self.wanted = [view(tensor).copy() for tensor in floats(result)]
        return result

    def on(self, *arguments: Any) -> Any:
        """The kernel's result on other arguments."""
        return self.run(*arguments, **self.keywords)

    def effect(self, result: Any) -> float | None:
        """The largest relative L2 distance of a floating result from what it should be; None where not known.

        Infinite where the result is not finite and should be, or is not zero and should be.
        """
        if not self.wanted:
            return None
        worst = 0.0
        for tensor, wanted in zip(self.written or floats(result), self.wanted, strict=False):
            got, right = view(tensor).astype(np.float64), wanted.astype(np.float64)
            if got.shape == right.shape and not np.array_equal(got, right, equal_nan=True):
                length = float(np.sqrt(np.square(right).sum()))
                away = float(np.sqrt(np.square(got - right).sum()))
                worst = max(worst, away / length if length and np.isfinite(away) else np.inf)
        return worst


Change: TypeAlias = "Callable[[Launch, float], Any]"
CHANGES: dict[str, Change] = {}


def change(name: str) -> Callable[[Change], Change]:
    """Register a way to be wrong under a name that the table uses.  Raises ValueError where it is taken."""

    def enter(function: Change) -> Change:
        if name in CHANGES:
            raise ValueError(f"the change {name!r} is registered twice")
        CHANGES[name] = function
        return function

    return enter


def find_change(name: str) -> Change:
    """Raises KeyError for an unknown name."""
    return CHANGES[name]
