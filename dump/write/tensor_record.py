"""An entry of a recorder as the record of a tensor that dump.json holds."""

from __future__ import annotations

import math
from typing import Any

from ..format import encode
from ..record.entries import Entry, Measured

_UNTOLD = (None,) * 8


def tensor_record(entry: Entry, data_name: str | None, *, nan: object = encode.NULL) -> object:
    """A tensor's record, its contents in the file `data_name`; what is not known of it is left out, a statistic that is
    NaN stands as `nan`."""
    measured, identity = entry.measured, entry.identity
    high, low, mean, norm, nans, infinities, sketch, waves = _UNTOLD if measured is None else _told(measured, nan)
    return encode.tensor(
        str(entry.dtype),
        tuple(entry.shape),
        high,
        low,
        mean,
        norm,
        entry.requires_grad,
        entry.grad_fn,
        entry.unrecorded or (None if measured is None else measured.failure),
        None if measured is None else measured.md5,
        data_name,
        nans,
        infinities,
        sketch,
        None if identity is None else identity.value,
        None if identity is None else identity.storage,
        entry.stride,
        True if identity is not None and identity.blank else None,
        None if entry.layout is None else entry.layout.record(),
        entry.partition,
        waves,
    )


def _told(measured: Measured, nan: object) -> tuple[Any, ...]:
    """Extremes, mean, norm, counts, sketch and waves; made once for all records that mention a value, except of one
    with NaN, which writers tell in different words."""
    found = measured.statistics
    if found is None:
        return _UNTOLD
    if measured.told is not None:
        return measured.told
    told = (
        *(_number(value, nan) for value in (found.max, found.min, found.mean, found.norm)),
        *(found.nan or None, found.inf or None),
        None if found.buckets is None else encode.sketch_text(found.buckets),
        None if found.waves is None else encode.sketch_text(found.waves),
    )
    if nan not in told:
        measured.told = told
    return told


def _number(value: float | int | None, nan: object) -> object:
    if value is None:
        return encode.NULL
    if isinstance(value, int) or math.isfinite(value):
        return value
    return nan if math.isnan(value) else encode.plain(value)
