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
import zlib
from base64 import b64decode, b64encode
from collections.abc import Sequence

import msgspec
import numpy as np

from acc_compare.report.columns import as_cell
from acc_compare.report.encoded import Codes, Encoded, encode

_LARGE = 1 << 18
"""Bytes from which on zlib is asked to be quick."""


def pack(values: Sequence[object]) -> str:
    """The block of the raw cells `values`; None stays null, all else is what `as_cell` makes of it."""
    cells, codes = encode(values)
    return _block(list(map(_cell, cells)), _back(codes))


def pack_column(column: Encoded) -> str:
    """The block of a column, as `pack` makes it of its raw cells."""
    cells, codes = encode(column.cells)
    codes = codes[column.codes]
    order, codes = _as_they_appear(codes, len(cells))
    return _block([_cell(cells[place]) for place in order.tolist()], _back(codes))


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


def _as_they_appear(codes: Codes, count: int) -> tuple[Codes, Codes]:
    """Of `count` codes those that occur, in the order in which they do, and all `codes` counted in that order."""
    first = np.full(count, len(codes), dtype=np.int32)
    first[codes[::-1]] = np.arange(len(codes) - 1, -1, -1)  # of several rows the last to be assigned counts
    order = np.argsort(first, kind="stable")[: np.count_nonzero(first < len(codes))].astype(np.int32)
    numbers = np.empty(count, dtype=np.int32)
    numbers[order] = np.arange(len(order))
    return order, numbers[codes]


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


def _cell(value: object) -> object:
    """JSON has no numbers that are not finite, so they are text."""
    return None if value is None else as_cell(value)


def _json(head: object) -> bytes:
    try:
        return msgspec.json.encode(head)
    except UnicodeEncodeError:  # a lone surrogate, which json writes as an escape
        return json.dumps(head, allow_nan=False).encode("ascii")
