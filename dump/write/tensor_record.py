"""An entry of a recorder as the record of a tensor that dump.json holds."""

from __future__ import annotations

import math

from ..format import encode
from ..record.entries import Entry


def tensor_record(entry: Entry) -> dict[str, object]:
    """A tensor's record; what is not known of it is left out."""
    measured, identity = entry.measured, entry.identity
    found = measured.statistics if measured is not None else None
    told = (None, None, None, None) if found is None else (found.max, found.min, found.mean, found.norm)
    sketch = None if found is None or found.buckets is None else encode.sketch_text(found.buckets)
    return encode.tensor(
        str(entry.dtype),
        list(entry.shape),
        *(told if found is None else map(_number, told)),
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
    )


def _number(value: float | int | None) -> object:
    if value is None:
        return encode.NULL
    if isinstance(value, int) or math.isfinite(value):
        return value
    plain = encode.plain(value)
    return encode.NULL if plain is None else plain
