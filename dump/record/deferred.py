"""Statistics of a tensor on a device, computed there and fetched later.

Nothing here waits for the device: `launch` queues kernels and keeps their results where they are; `fetch` brings
the results of many tensors back in one transfer for each dtype.  The sums are elementwise products and plain sums
rather than matrix products, so that TF32, HF32 and autocast cannot lower their precision.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..format import sketch
from .statistics import EMPTY, Statistics

_SCALARS = 6  # max, min, mean, norm, nan, non-finite: then 16 sketch buckets
_signs_on: dict[torch.device, tuple[torch.Tensor, torch.Tensor]] = {}


@dataclass(frozen=True, slots=True)
class Launched:
    """Results still on the device: `floats` (22,) float32, `integers` (2,) int64 for integer tensors."""

    floats: torch.Tensor
    integers: torch.Tensor | None


def _signs(device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Both sign tables on `device`, copied there once."""
    found = _signs_on.get(device)
    if found is None:
        columns, rows = torch.from_numpy(sketch.column_signs().copy()), torch.from_numpy(sketch.row_signs().copy())
        found = _signs_on[device] = (columns.to(device), rows.to(device))
    return found


def launch(tensor: torch.Tensor) -> Launched | None:
    """Queue the statistics of a non-empty device tensor; None for an empty one.  Returns without waiting.

    Autocast, gradients and `__torch_function__` must be off around the call (`recorder` sees to it).
    """
    flat = tensor.detach()
    if flat.is_conj() or flat.is_neg():
        flat = flat.resolve_conj().resolve_neg()
    if flat.dtype.is_complex:
        flat = torch.view_as_real(flat.contiguous())
    flat = flat.contiguous().view(-1)
    if flat.shape[0] == 0:
        return None
    integers = None
    if not flat.dtype.is_floating_point:
        flat = flat.to(torch.int64)
        integers = torch.stack([flat.amax(), flat.amin()])
    values = flat.to(torch.float32)
    finite = torch.isfinite(values)
    zero = torch.zeros((), dtype=torch.float32, device=values.device)
    live = torch.where(finite, values, zero)
    low, high = live.amin(), live.amax()
    masked = (low <= sketch.SENTINEL_FLOOR) & (-low >= sketch.SENTINEL_RATIO * high.abs().clamp(min=1.0))
    live = torch.where((live <= low / 2) & masked, zero, live)
    scalars = torch.stack(
        [
            values.amax(),
            values.amin(),
            values.mean(),
            torch.linalg.vector_norm(values),
            torch.isnan(values).sum().to(torch.float32),
            (~finite).sum().to(torch.float32),
        ]
    )
    return Launched(torch.cat([scalars, _buckets(live)]), integers)


def _buckets(live: torch.Tensor) -> torch.Tensor:
    """The sketch of a flat float32 tensor (n,), as float32 (16,) on its device."""
    columns, row_signs = _signs(live.device)
    count = live.shape[0]
    span = sketch.width(count)
    rows, rest = divmod(count, span)
    heads = (live[: rows * span].view(rows, span) * columns[:span]).sum(1)
    if rest:
        tail = (live[rows * span :] * columns[:rest]).sum().view(1)
        heads = torch.cat([heads, tail])
    total = heads.shape[0]
    padded = -(-total // sketch.BUCKETS) * sketch.BUCKETS
    if padded > total:
        heads = torch.cat([heads, torch.zeros(padded - total, dtype=heads.dtype, device=heads.device)])
    repeats = -(-padded // sketch.ROW_PERIOD)
    signs = row_signs if repeats == 1 else row_signs.repeat(repeats)
    return (heads * signs[:padded]).view(-1, sketch.BUCKETS).sum(0)


def fetch(launched: Sequence[Launched | None]) -> list[Statistics]:
    """Bring results back, in order; one transfer for each dtype on each device.  This waits for the device."""
    floats = _transfer([item.floats if item is not None else None for item in launched])
    integers = _transfer([item.integers if item is not None else None for item in launched])
    return [
        EMPTY if values is None else _statistics(values, whole) for values, whole in zip(floats, integers, strict=True)
    ]


def _transfer(parts: Sequence[torch.Tensor | None]) -> list[np.ndarray | None]:
    found: list[np.ndarray | None] = [None] * len(parts)
    by_device: dict[torch.device, list[tuple[int, torch.Tensor]]] = {}
    for index, part in enumerate(parts):
        if part is not None:
            by_device.setdefault(part.device, []).append((index, part))
    for members in by_device.values():
        table = torch.stack([part for _, part in members]).cpu().numpy()
        for row, (index, _) in enumerate(members):
            found[index] = table[row]
    return found


def _statistics(values: np.ndarray, whole: np.ndarray | None) -> Statistics:
    high, low, mean, norm, nan, bad = (float(v) for v in values[:_SCALARS])
    buckets = values[_SCALARS:].astype(np.float32)
    if whole is not None:
        return Statistics(int(whole[0]), int(whole[1]), mean, norm, 0, 0, buckets)
    if nan:
        high = low = norm = math.nan
    return Statistics(high, low, mean, norm, int(nan), int(bad - nan), buckets)
