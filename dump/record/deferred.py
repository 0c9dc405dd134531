"""Statistics of a tensor on a device, computed there and fetched later.

Nothing here waits for the device: a `Queue` copies tensors and queues kernels (`batched`) and leaves the results where
they are; `fetch` brings those of many tensors back in one transfer for each dtype.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch

from ..environment.device import current_stream, download, on_stream, wait_for
from . import reading
from .batched import CAPACITY, Batch, Kind
from .contents import as_laid_out, real_contiguous
from .statistics import EMPTY, Statistics, measure
from .waves import has_waves

_MOST_SENT = 1 << 22
"""Bytes of a tensor that is measured on the host because it does not lie in order."""

_MOST_UNDER_WAY = 1 << 28
"""Bytes of all of them until they are fetched."""

_MOST_OF_A_WIDTH = 1 << 16
"""Elements of a batch of narrow sketches for each element of the width: 128 of the largest such tensors."""


@dataclass(frozen=True, slots=True)
class Launched:
    """One of a batch, whose results are still on the device or not yet asked for."""

    batch: Batch
    number: int
    stream: Any

    @property
    def device(self) -> torch.device:
        return self.batch.kind.device


@dataclass(frozen=True, slots=True)
class Fetched:
    """A small tensor that does not lie in order, on its way to the host as it lies: there once `device` has done its
    work, and measured there.  The device's kernel that would put it in order may be what is looked for."""

    host: torch.Tensor
    device: torch.device
    waves: bool


UnderWay: TypeAlias = "Launched | Fetched"
Result: TypeAlias = "Statistics | RuntimeError"


class Queue:
    """What is to be measured on devices, until it is fetched: batches that still take tensors, a stream's and a kind's
    own, and how much is on its way to the host."""

    def __init__(self) -> None:
        self._open: dict[tuple[Hashable, Kind, bool], Batch] = {}
        self._nbytes = 0

    def take(self, tensor: torch.Tensor, *, waves: bool = False) -> UnderWay | None:
        """Queue the statistics of a tensor on any device, with `waves` as `statistics.measure` gives them; None for an
        empty one.  Returns without waiting.

        Autocast, gradients and `__torch_function__` must be off around the call (`recorder` sees to it).
        """
        waves = waves and has_waves(tensor)
        return self._send(tensor, waves) or self._launch(tensor, waves)

    def _send(self, tensor: torch.Tensor, waves: bool) -> Fetched | None:
        """Send a tensor to the host as it lies; None where it lies in order, takes more than a few MB, or too much is
        under way."""
        laid_out = as_laid_out(reading.detached(tensor))
        if laid_out is None:
            return None
        nbytes = reading.count_of(laid_out) * reading.bytes_of_one(laid_out)
        if nbytes > _MOST_SENT or self._nbytes > _MOST_UNDER_WAY:
            return None
        self._nbytes += nbytes
        host = reading.laid_out(download(laid_out), reading.shape_of(tensor), reading.strides_of(tensor))
        return Fetched(host, reading.device_of(tensor), waves)

    def _launch(self, tensor: torch.Tensor, waves: bool) -> Launched | None:
        flat = reading.viewed(real_contiguous(tensor), -1)
        count = reading.count_of(flat)
        if not count:
            return None
        kind = Kind.of(flat)
        stream = current_stream(kind.device)
        batch = self._open.get((stream, kind, waves))
        if batch is None or not batch.takes(count):
            if batch is not None:
                batch.measure()
            batch = Batch(kind, max(min(CAPACITY, _MOST_OF_A_WIDTH * kind.span), count), waves=waves)
            self._open[stream, kind, waves] = batch
        return Launched(batch, batch.add(flat, reading.shape_of(tensor)), stream)


def fetch(under_way: Sequence[UnderWay | None]) -> list[Result]:
    """Bring results back, in order, or why there are none; one transfer for each dtype and device.  This waits for the
    device."""
    batches = {id(item.batch): item for item in under_way if isinstance(item, Launched)}
    for item in batches.values():
        with on_stream(item.stream, item.device):  # after the copies, in their order
            item.batch.measure()
    for device in {item.device for item in under_way if item is not None}:
        wait_for(device)
    _transfer([item.batch for item in batches.values()])
    return [_result(item) for item in under_way]


def _result(item: UnderWay | None) -> Result:
    if item is None:
        return EMPTY
    return measure(item.host, waves=item.waves) if isinstance(item, Fetched) else item.batch.result(item.number)


def _transfer(batches: Sequence[Batch]) -> None:
    """Give each batch its results on the host, or what went wrong."""
    alike: dict[tuple[torch.device, torch.dtype, int], list[tuple[Batch, torch.Tensor, torch.Tensor]]] = {}
    for batch in batches:
        if batch.floats is not None and batch.whole is not None:
            found = (batch, batch.floats, batch.whole)
            kind = (batch.kind.device, batch.floats.dtype, batch.floats.shape[1])  # with waves a line has more
            alike.setdefault(kind, []).append(found)
    for members in alike.values():
        try:
            floats = reading.as_numpy(reading.fetched(torch.cat([own for _, own, _ in members])))
            whole = reading.as_numpy(reading.fetched(torch.cat([own for _, _, own in members])))
        except RuntimeError as error:
            for batch, _, _ in members:
                batch.failure = error
            continue
        start = 0
        for batch, own, _ in members:
            end = start + own.shape[0]
            batch.take(floats[start:end], whole[start:end])
            start = end
