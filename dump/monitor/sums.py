"""A tensor to the numbers that were asked for: on the host at once, on a device queued and fetched once a step.

Host: the native core, all numbers in one pass at the speed of memory.  Without it numpy over blocks that stay in cache;
measured on the gradients of a ResNet-50 (25.6 M float32, two cores): norm, min and max take 7.5 ms a pass that way,
where reading them once from memory takes 4.  Blocks of 128 KiB take 8.4, since the calls count then; torch's kernels on
both cores were no faster within a training step.  A norm of a whole tensor in float32 (`foreach_norm`) is wrong by up
to 4e-5; so blocks are summed in float32 by BLAS and their sums in float64: 1e-7.  NaN are not looked for: a finite norm
has none.  One call for all gradients of a pass matters: the same work done in a hook between the kernels of
backward took twice as long.

A gradient is read before and after reduction even where nothing lies between: its version counter does not tell, since
`p.grad.data.clamp_()` leaves it alone.

Device: nothing waits.  Norms of all tensors of a batch are one `foreach_norm`, the other numbers are queued
tensor by tensor, and `settle` brings all of a step back in one transfer for each dtype.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ..format.encode import sketch_text
from ..record import deferred
from ..record.contents import real_contiguous, shared, working_dtype
from ..record.sharded import dispatches_itself
from ..record.statistics import Statistics, is_native, measure
from ..torch_internals import foreach_norm
from .rows import Number, Value

_BLOCK = 1 << 16  # elements; 256 KiB of float32
_most, _least = np.maximum.reduce, np.minimum.reduce  # without the layer of Python that ndarray.max has
# Below this mean square the float32 squares have lost digits, and the tensor is read again the careful way.
_LEAST_MEAN_SQUARE = 1e-30

Floats = npt.NDArray[np.floating[Any]]


@dataclass(slots=True, eq=False)
class Measured:
    """One tensor's numbers, by op: on the host, or still on a device under `queued` and `sketched`.

    `divisor` is the loss scale the values were under: `value` gives them without it.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    numbers: dict[str, Value] = field(default_factory=dict)
    queued: dict[str, torch.Tensor] = field(default_factory=dict)
    sketched: deferred.UnderWay | None = None
    sketch: npt.NDArray[np.float32] | None = None
    divisor: float = 1.0

    def value(self, op: str) -> Value:
        """What stands in the column `op`; None where there is no such number."""
        if op == "shape":
            return _shape_text(self.shape)
        if op == "dtype":
            return _dtype_text(self.dtype)
        if op == "sketch":
            return None if self.sketch is None else _sketch_text(self.sketch, self.divisor)
        found = self.numbers.get(op)
        if op in ("norm", "min", "max", "mean") and isinstance(found, (int, float)) and self.divisor != 1.0:
            return found / self.divisor
        return found


class Measurer:
    """Measures the configured ops.  `ops` may hold anything; what is not a number of the contents is passed over."""

    def __init__(self, ops: Sequence[str], eps: float) -> None:
        self.ops = frozenset(ops)
        self.eps = eps
        self._summed = self.ops & {"norm", "min", "max", "mean", "nans"}

    @np.errstate(all="ignore")
    def measure(self, tensors: Sequence[torch.Tensor], *, divisor: float = 1.0) -> list[Measured]:
        """The numbers of each tensor, in order; `divisor` is the loss scale that all of them are under."""
        found: list[Measured] = []
        on_device: list[tuple[Measured, torch.Tensor]] = []
        for tensor in tensors:
            measured = Measured(tuple(tensor.shape), tensor.dtype, divisor=divisor)
            found.append(measured)
            if dispatches_itself(type(tensor)) and not hasattr(tensor, "to_local"):
                continue  # its contents need not lie in memory of its own, and it would see what reads them
            local = local_values(tensor)
            if local.device.type == "cpu":
                self._on_host(measured, local)
            elif local.numel():
                on_device.append((measured, local))
        if on_device:
            self._queue(on_device, divisor)
        return found

    def _on_host(self, measured: Measured, tensor: torch.Tensor) -> None:
        if not tensor.numel():
            return
        if "sketch" in self.ops or (self._summed and is_native()):
            self._take(measured, measure(tensor))
        elif self._summed:
            lean = _lean(tensor, extremes=bool(self.ops & {"min", "max"}), mean="mean" in self.ops)
            if lean is None:
                self._take(measured, measure(tensor))
            else:
                measured.numbers.update(lean)
        if "zeros" in self.ops:
            source = shared(real_contiguous(tensor))
            limit = self.eps * measured.divisor
            small = sum(int(np.count_nonzero(np.abs(block) < limit)) for block in _blocks(source))
            measured.numbers["zeros"] = small / source.numel()
        if "id" in self.ops and tensor.dim() == 0:
            measured.numbers["id"] = tensor.item()

    def _take(self, measured: Measured, found: Statistics) -> None:
        numbers = {"norm": found.norm, "min": found.min, "max": found.max, "mean": found.mean, "nans": found.nan}
        measured.numbers.update({op: number for op, number in numbers.items() if op in self.ops})
        measured.sketch = found.sketch if "sketch" in self.ops else None

    def _queue(self, batch: Sequence[tuple[Measured, torch.Tensor]], divisor: float) -> None:
        """Queue the kernels of one batch on a device; nothing here waits for it."""
        floats = [_as_floats(tensor) for _, tensor in batch]
        if "norm" in self.ops:
            for (measured, _), norm in zip(batch, _norms(floats), strict=True):
                measured.queued["norm"] = norm
        queue = deferred.Queue()
        for (measured, tensor), values in zip(batch, floats, strict=True):
            queued = measured.queued
            if self.ops & {"min", "max"}:
                queued["min"], queued["max"] = torch.aminmax(values)
            if "mean" in self.ops:
                queued["mean"] = values.mean()
            if "nans" in self.ops:
                queued["nans"] = torch.isnan(values).sum(dtype=torch.float32)
            if "zeros" in self.ops:
                queued["zeros"] = (values.abs() < self.eps * divisor).sum(dtype=torch.float32) / values.numel()
            if "id" in self.ops and tensor.dim() == 0:
                queued["id"] = values
            if "sketch" in self.ops:
                measured.sketched = queue.take(tensor)


def settle(measured: Sequence[Measured]) -> None:
    """Bring what is still on a device to the host, in one transfer for each device and dtype.  This waits."""
    alike: dict[tuple[torch.device, torch.dtype], list[tuple[Measured, str]]] = {}
    for item in measured:
        for op, number in item.queued.items():
            alike.setdefault((number.device, number.dtype), []).append((item, op))
    for places in alike.values():
        numbers = torch.stack([item.queued[op] for item, op in places]).cpu().tolist()
        for (item, op), number in zip(places, numbers, strict=True):
            item.numbers[op] = _whole(number) if op == "nans" or not item.dtype.is_floating_point else number
    waiting = [item for item in measured if item.sketched is not None]
    for item, found in zip(waiting, deferred.fetch([item.sketched for item in waiting]), strict=True):
        if isinstance(found, RuntimeError):
            raise found
        item.sketch, item.sketched = found.sketch, None
    for item in measured:
        item.queued.clear()


def local_values(tensor: torch.Tensor) -> torch.Tensor:
    """What this rank holds: the local part of a DTensor, the values of a sparse tensor, else the tensor itself."""
    found = tensor.detach()
    if hasattr(found, "to_local"):
        found = found.to_local()
    return found.coalesce().values() if found.layout is torch.sparse_coo else found


def _lean(tensor: torch.Tensor, *, extremes: bool, mean: bool) -> dict[str, Value] | None:
    """norm, nans, and where asked for extremes and mean of a float tensor; None where it is not clean."""
    if tensor.dtype is not torch.float32:
        return None
    values = shared(real_contiguous(tensor)).numpy().reshape(-1)
    count, squares, total, high, low = values.shape[0], 0.0, 0.0, -math.inf, math.inf
    for start in range(0, count, _BLOCK):
        block = values[start : start + _BLOCK]
        squares += float(block.dot(block))
        if extremes:
            high, low = max(high, float(_most(block))), min(low, float(_least(block)))
        if mean:
            total += float(np.add.reduce(block, dtype=np.float64))
    is_clean = _LEAST_MEAN_SQUARE * count <= squares < math.inf  # a NaN makes neither true
    if not is_clean and (squares != 0.0 or values.any()):
        return None
    found: dict[str, Value] = {"norm": math.sqrt(squares), "nans": 0}
    if extremes:
        found.update(min=low, max=high)
    if mean:
        found["mean"] = total / count
    return found


def _blocks(source: torch.Tensor) -> Iterator[Floats]:
    """The elements of a contiguous host tensor in a float dtype of numpy's, block by block."""
    flat = source.view(-1)
    dtype = working_dtype(source.dtype)
    for start in range(0, flat.shape[0], _BLOCK):
        yield flat[start : start + _BLOCK].to(dtype).numpy()


def _as_floats(tensor: torch.Tensor) -> torch.Tensor:
    """On a device: real, and in float32 unless it is float64."""
    real = torch.view_as_real(tensor.resolve_conj()) if tensor.dtype.is_complex else tensor
    return real if real.dtype in (torch.float32, torch.float64) else real.to(torch.float32)


def _norms(tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Euclidean norms of floats of one or more dtypes, each dtype as one batch."""
    found: list[torch.Tensor | None] = [None] * len(tensors)
    alike: dict[tuple[torch.device, torch.dtype], list[int]] = {}
    for index, tensor in enumerate(tensors):
        alike.setdefault((tensor.device, tensor.dtype), []).append(index)
    for indices in alike.values():
        norms = foreach_norm([tensors[index] for index in indices])
        for index, norm in zip(indices, norms, strict=True):
            found[index] = norm
    return [norm for norm in found if norm is not None]


@functools.lru_cache(maxsize=4096)
def _shape_text(shape: tuple[int, ...]) -> str:
    return f"[{', '.join(map(str, shape))}]"


@functools.cache
def _dtype_text(dtype: torch.dtype) -> str:
    return str(dtype)


def _whole(number: float) -> Number:
    return int(number) if math.isfinite(number) and number == int(number) else number


def _sketch_text(sketch: npt.NDArray[np.float32], divisor: float) -> str:
    scaled = sketch if divisor == 1.0 else (sketch / np.float32(divisor)).astype(np.float32)
    return sketch_text(scaled.astype("<f4").tobytes())
