"""An entry of a recorder as the record of a tensor that dump.json holds."""

from __future__ import annotations

import functools
import math

from ..format import encode
from ..record.entries import Entry


def tensor_record(entry: Entry, *, nan: object = encode.NULL) -> dict[str, object]:
    """A tensor's record; what is not known of it is left out, a statistic that is NaN stands as `nan`."""
    measured, identity = entry.measured, entry.identity
    found = measured.statistics if measured is not None else None
    told = (None, None, None, None) if found is None else (found.max, found.min, found.mean, found.norm)
    sketch = None if found is None or found.buckets is None else encode.sketch_text(found.buckets)
    return encode.tensor(
        str(entry.dtype),
        list(entry.shape),
        *(told if found is None else map(functools.partial(_number, nan=nan), told)),
        entry.requires_grad,
        entry.grad_fn,
        entry.unrecorded or (None if measured is None else measured.failure),
        None if measured is None else measured.md5,
        None if measured is None else measured.data_name,
        (found.nan or None) if found is not None else None,
        (found.inf or None) if found is not None else None,
        sketch,
        None if identity is None else identity.value,
        None if identity is None else identity.storage,
        entry.stride,
        True if identity is not None and identity.blank else None,
        None if entry.layout is None else entry.layout.record(),
        entry.partition,
    )


def _number(value: float | int | None, *, nan: object) -> object:
    if value is None:
        return encode.NULL
    if isinstance(value, int) or math.isfinite(value):
        return value
    return nan if math.isnan(value) else encode.plain(value)
