"""An entry of a recorder as the record of a tensor that dump.json holds."""

from __future__ import annotations

import math
from typing import TypeGuard

import msgspec
import torch

from ..format import encode
from ..record.entries import Entry, Measured
from ..record.identity import Identity
from ..record.statistics import EMPTY

_MOST_KEPT = 1024


class TensorRecords:
    """Makes the records of one step.  A value is mentioned by the call that writes it and, soon after, by those that
    read it, so the text of the last thousand or so is kept.  A statistic that is NaN stands as `nan`."""

    def __init__(self, *, nan: object = encode.NULL) -> None:
        self._nan = nan
        self._texts: dict[int, msgspec.Raw] = {}
        self._starts: dict[tuple[torch.dtype, tuple[int, ...]], bytes] = {}

    def of(self, entry: Entry, data_name: str | None = None) -> object:
        """A tensor's record, its contents in the file `data_name`; what is not known of it is left out."""
        identity, measured = entry.identity, entry.measured
        if (
            identity is None
            or measured is None
            or data_name is not None
            or entry.grad_fn is not None
            or entry.unrecorded is not None
            or measured.failure is not None
            or entry.stride is not None
            or entry.layout is not None
            or entry.partition is not None
        ):
            return self._record(entry, data_name)
        key = 2 * identity.value + entry.requires_grad  # from which all that is left to be said of it follows
        text = self._texts.get(key)
        if text is None:
            if len(self._texts) >= _MOST_KEPT:
                self._texts.clear()
            text = self._texts[key] = msgspec.Raw(
                self._short(entry, identity, measured) or encode.body(self._record(entry))
            )
        return text

    def _short(self, entry: Entry, identity: Identity, measured: Measured) -> bytes:
        """As most tensors are told, which are measured, and finite; b"" where more, or less, is to be said."""
        found = measured.statistics
        if (
            found is None
            or found.nan
            or found.inf
            or found.waves is not None
            or measured.md5 is not None
            or identity.blank
        ):
            return b""
        numbers = found.max, found.min, found.mean, found.norm
        if found.buckets is None or not _are_finite(numbers):
            return b""
        key = entry.dtype, entry.shape
        start = self._starts.get(key)
        if start is None:
            start = self._starts[key] = encode.start_of_tensor(str(entry.dtype), entry.shape)
        return encode.short_tensor(
            start,
            numbers,
            found.buckets,
            requires_grad=entry.requires_grad,
            value=identity.value,
            storage=identity.storage,
        )

    def _record(self, entry: Entry, data_name: str | None = None) -> object:
        measured, identity = entry.measured, entry.identity
        found = None if measured is None else measured.statistics
        numbers: list[object] = [None] * 4
        if found is None:
            found = EMPTY
        else:
            numbers = [self._number(each) for each in (found.max, found.min, found.mean, found.norm)]
        return encode.tensor(
            str(entry.dtype),
            entry.shape,
            *numbers,
            entry.requires_grad,
            entry.grad_fn,
            entry.unrecorded or (None if measured is None else measured.failure),
            None if measured is None else measured.md5,
            data_name,
            found.nan or None,
            found.inf or None,
            None if found.buckets is None else encode.sketch_text(found.buckets),
            None if identity is None else identity.value,
            None if identity is None else identity.storage,
            entry.stride,
            True if identity is not None and identity.blank else None,
            None if entry.layout is None else entry.layout.record(),
            entry.partition,
            None if found.waves is None else encode.sketch_text(found.waves),
        )

    def _number(self, value: float | int | None) -> object:
        if value is None:
            return encode.NULL
        if isinstance(value, int) or math.isfinite(value):
            return value
        return self._nan if math.isnan(value) else encode.plain(value)


def _are_finite(numbers: tuple[float | int | None, ...]) -> TypeGuard[tuple[float, float, float, float]]:
    return all(type(each) is float and math.isfinite(each) for each in numbers)
