"""One column of a table as a short text: distinct cells once, and for each row which of them it has.

A block is base64 of zlib over

    4 bytes    the length of the JSON that follows, little-endian
    JSON       {"cells": [...], "planes": p}: the distinct cells, in the order in which they first appear
    p x rows   for each row how many distinct cells back its own was first seen, 0 for a cell that is new here,
               as the low bytes of all rows, then the next bytes of all rows, and so on

Most rows of a comparison repeat what a row shortly before them has, so that the numbers are small and zlib leaves
little of them.
"""

from __future__ import annotations

import json
import math
import zlib
from base64 import b64decode, b64encode
from collections.abc import Hashable, Sequence
from typing import Any, TypeAlias

import msgspec
import numpy as np

from acc_compare.report.columns import as_cell

Codes: TypeAlias = "np.ndarray[Any, np.dtype[np.int64]]"

_NUMBERS, _FLAGS = frozenset((float, int, str, type(None))), frozenset((bool, str, type(None)))
_LARGE = 1 << 18
"""Bytes from which on zlib is asked to be quick."""


def pack(values: Sequence[object]) -> str:
    """The block of the raw cells `values`; None stays null, all else is what `as_cell` makes of it."""
    keys: Sequence[Hashable] = values
    kinds = set(map(type, values))
    if not (kinds <= _NUMBERS or kinds <= _FLAGS):  # True and 1 are one key of a dictionary, but not one cell
        keys = [value if type(value) in _NUMBERS else (type(value), as_cell(value)) for value in values]
    distinct = {key: code for code, key in enumerate(dict.fromkeys(keys))}
    codes = np.fromiter(map(distinct.__getitem__, keys), dtype=np.int64, count=len(values))
    return _block(list(map(_cell, distinct)), _back(codes))


def unpack(block: str) -> list[object]:
    """The cells of a block that `pack` made."""
    raw = zlib.decompress(b64decode(block))
    length = int.from_bytes(raw[:4], "little")
    head = json.loads(raw[4 : 4 + length])
    planes = np.frombuffer(raw, np.uint8, offset=4 + length).reshape(head["planes"], -1).astype(np.int64)
    back = sum((plane << (8 * number) for number, plane in enumerate(planes)), np.zeros(planes.shape[1], np.int64))
    codes, seen = [], 0
    for distance in back.tolist():
        codes.append(seen - distance if distance else seen)
        seen += not distance
    return [head["cells"][code] for code in codes]


def _back(codes: Codes) -> Codes:
    """How far back each code was first seen; codes count up in the order of their first appearance."""
    if not len(codes):
        return codes
    highest = np.maximum.accumulate(codes)
    seen = np.concatenate([[0], highest[:-1] + 1])
    back: Codes = seen - codes
    return back


def _block(cells: list[object], back: Codes) -> str:
    planes = max(1, (int(back.max(initial=0)).bit_length() + 7) // 8)
    head = _json({"cells": cells, "planes": planes})
    low_first = back.astype("<i8").view(np.uint8).reshape(-1, 8)[:, :planes].T
    raw = len(head).to_bytes(4, "little") + head + np.ascontiguousarray(low_first).tobytes()
    return b64encode(zlib.compress(raw, 6 if len(raw) < _LARGE else 1)).decode("ascii")


def _cell(key: Hashable) -> object:
    """The cell of a key; JSON has no numbers that are not finite, so they are text."""
    if type(key) is float:
        return key if math.isfinite(key) else str(key)
    return key[1] if isinstance(key, tuple) else key


def _json(head: object) -> bytes:
    try:
        return msgspec.json.encode(head)
    except UnicodeEncodeError:  # a lone surrogate, which json writes as an escape
        return json.dumps(head, allow_nan=False).encode("ascii")
