"""Records to the bytes of dump.json and its neighbours, line by line.

    {"task":"statistics",...,"data": {       opening
    "Torch.add.0.forward":{...}              record, first
    ,"Torch.mul.0.forward":{...}             record: the comma stands in front, so that every line that was
    },"complete":true}                       written whole can be read without the next; closing

A file cut at any byte has lost at worst its last line, and a closed file is strict JSON.

Numbers that strict JSON has no word for: an infinity is written as 1e999 (or -1e999), which every JSON
grammar allows and which Python, JavaScript and msprobe read as an infinity; NaN is written as null, which
msprobe reads as "not measured" (it fails on strings).  Only where msprobe is called, or config.json says
`nan_word`, are statistics and arguments that are NaN written with that word, as msprobe writes them: its own tools
look for it.  The counts `nan` and `inf` beside a tensor's statistics, and the type "float" beside a scalar's value, let
the reader put NaN back.
"""

from __future__ import annotations

import binascii
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from dump.format.fields import TENSOR_FIELDS, TENSOR_TYPE
from dump.format.layout import STACK_FILE, STACK_JOURNAL

CONSTRUCT_OPENING = b"{\n"
CONSTRUCT_CLOSING = b"}\n"

NULL = msgspec.Raw(b"null")
"""In place of a value of a tensor's: its key is to be there, and null."""

NAN_WORD = msgspec.Raw(b"NaN")
"""A statistic or an argument that is NaN, as Python and msprobe write it and JSON does not allow."""

DEEPEST = 64
"""Levels of nesting that `plain` writes and that the reader accepts."""

_TOO_DEEP = "..."
_POSITIVE_INFINITY = msgspec.Raw(b"1e999")
_NEGATIVE_INFINITY = msgspec.Raw(b"-1e999")
_MOST_INT_BITS = 1024
_encode = msgspec.json.Encoder().encode


def plain(value: object, *, depth: int = 0) -> object:
    """`value` as something that strict JSON can hold, for any value at all; never raises.

    NaN becomes null, an infinity 1e999 (see above), a string's lone surrogates their escapes, what nests
    deeper than 64 levels "...", an int of more than 1024 bits and an object of an unknown type a word for it.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _plain_text(value)
    if isinstance(value, int):
        return _plain_int(int.__index__(value))
    if isinstance(value, float):
        return _plain_float(float.__float__(value))
    if isinstance(value, msgspec.Raw):
        return value
    if depth >= DEEPEST:
        return _TOO_DEEP
    if isinstance(value, (list, tuple)):
        return [plain(item, depth=depth + 1) for item in value]
    if isinstance(value, _Tensor):
        return plain(
            {key: part for key, part in msgspec.structs.asdict(value).items() if part is not None}, depth=depth
        )
    if isinstance(value, dict):
        return {_plain_key(key): plain(item, depth=depth + 1) for key, item in value.items()}
    return str(value) if isinstance(value, complex) else type(value).__qualname__


def sketch_text(raw: bytes) -> str:
    """A sketch or waves as text: base64 with `_` for `+`, since msprobe refuses any text that begins with a plus."""
    return _base64(raw).decode("ascii")


def _base64(raw: bytes) -> bytes:
    return binascii.b2a_base64(raw, newline=False).replace(b"+", b"_")


class _Numbers(msgspec.Struct, gc=False):
    Max: float
    Min: float
    Mean: float
    Norm: float


_Tensor: Any = msgspec.defstruct(
    "_Tensor", [("type", str), *((field.key, Any, None) for field in TENSOR_FIELDS)], omit_defaults=True, gc=False
)


def tensor(*values: object) -> object:
    """The record of a tensor from what is known of it, one value a row of `fields.TENSOR_FIELDS`, in its order.

    None leaves a key out, NULL writes null.
    """
    return _Tensor(TENSOR_TYPE, *values)


def start_of_tensor(dtype: str, shape: Sequence[int]) -> bytes:
    """What the records of all tensors of a dtype and a shape begin with, for `short_tensor`."""
    return b'{"type":"%b","dtype":"%b","shape":%b,' % (*map(str.encode, (TENSOR_TYPE, dtype)), _encode([*shape]))


def short_tensor(
    start: bytes,
    numbers: tuple[float, float, float, float],
    sketch: bytes,
    *,
    requires_grad: bool,
    value: int,
    storage: int,
) -> bytes:
    """The bytes of the `tensor` of which most records are: Max, Min, Mean and Norm are finite, and beside them it has
    but a sketch and the numbers of its value and its storage.

    >>> start = start_of_tensor("torch.float32", [2])
    >>> short_tensor(start, (1.0, 0.5, 0.75, 1.1), b"", requires_grad=False, value=3, storage=1).decode()
    '{"type":"torch.Tensor","dtype":"torch.float32","shape":[2],"Max":1.0,"Min":0.5,"Mean":0.75,"Norm":1.1,"requires_grad":false,"sketch":"","value":3,"storage":1}'
    """
    grad = b"true" if requires_grad else b"false"
    told = start, _encode(_Numbers(*numbers))[1:-1], grad, _base64(sketch), value, storage
    return b'%b%b,"requires_grad":%b,"sketch":"%b","value":%d,"storage":%d}' % told


def opening(header: Mapping[str, object]) -> bytes:
    """The first line of a dump.json: the header's keys, then `"data": {` and a newline."""
    start = _encoded(dict(header))[:-1]
    return start + (b"," if len(start) > 1 else b"") + b'"data": {\n'


def record(name: str, body: Mapping[str, object] | str | None, *, first: bool) -> bytes:
    """One line: a call with its record (dump.json), or with the name of its owner (construct.json)."""
    return (b"" if first else b",") + _encoded({name: body})[1:-1] + b"\n"


def body(record: object) -> bytes:
    """A record alone, as it stands in a line."""
    return _encoded(record)


def closing(trailer: Mapping[str, object]) -> bytes:
    """The last line of a dump.json: ends `data`, then come the keys known only now, such as `complete`."""
    end = _encoded(dict(trailer))[1:]
    return b"}" + (b"," if len(end) > 1 else b"") + end + b"\n"


def stack_line(number: int, frames: Iterable[str]) -> bytes:
    """A journal line that introduces a stack.  `frames` are lines of text, innermost first."""
    return _encoded({"id": number, "frames": list(frames)}) + b"\n"


def stack_use_line(call: str, number: int) -> bytes:
    """A journal line that says which stack a call had."""
    return _encoded({"call": call, "id": number}) + b"\n"


def read_journal(path: Path) -> list[tuple[list[str], list[str]]]:
    """The stacks of a journal as (call names, frames), in the order of their ids' first appearance.

    A last line without its end, and lines that are no journal lines, are left out: a journal is only ever
    read where its process may have been killed.  Raises OSError.
    """
    frames: dict[int, list[str]] = {}
    calls: dict[int, list[str]] = {}
    with path.open("rb") as lines:
        for line in lines:
            if not line.endswith(b"\n"):
                break
            try:
                entry = _decode_entry(line)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                continue
            if entry.frames is not None:
                frames[entry.id] = entry.frames
                calls.setdefault(entry.id, [])
            if entry.call is not None:
                calls.setdefault(entry.id, []).append(entry.call)
    return [(calls[number], frames[number]) for number in frames]


def finish_stacks(folder: Path) -> None:
    """Write `stack.json` in msprobe's layout from the journal, whole or not at all, and remove the journal.

    The layout is {"0": [[call names], [frames]], ...}.  Without a journal nothing happens.  Raises OSError.
    """
    journal = folder / STACK_JOURNAL
    if not journal.is_file():
        return
    stacks = read_journal(journal)
    lines = (_encoded(str(number)) + b":" + _encoded(stack) for number, stack in enumerate(stacks))
    temporary = folder / (STACK_FILE + ".tmp")
    temporary.write_bytes(b"{\n" + b",\n".join(lines) + b"\n}\n")
    os.replace(temporary, folder / STACK_FILE)
    journal.unlink()


class _Entry(msgspec.Struct):
    id: int
    frames: list[str] | None = None
    call: str | None = None


_decode_entry = msgspec.json.Decoder(_Entry).decode


def _encoded(value: object) -> bytes:
    """JSON bytes of `value`; what msgspec cannot write goes through `plain` first."""
    try:
        return _encode(value)
    except (TypeError, ValueError, RecursionError, OverflowError):  # a surrogate, a foreign type, too deep
        return _encode(plain(value))


def _plain_text(value: str) -> str:
    if value.isascii():
        return str.__str__(value)
    return value.encode("utf-8", "backslashreplace").decode("utf-8")


def _plain_int(value: int) -> object:
    if -(2**63) <= value < 2**64:
        return value
    if value.bit_length() > _MOST_INT_BITS:
        return f"int of {value.bit_length()} bits"
    return msgspec.Raw(str(value).encode("ascii"))


def _plain_float(value: float) -> object:
    if math.isfinite(value):
        return value
    if math.isnan(value):
        return None
    return _POSITIVE_INFINITY if value > 0 else _NEGATIVE_INFINITY


def _plain_key(key: object) -> str:
    if isinstance(key, str):
        return _plain_text(key)
    if isinstance(key, int) and key.bit_length() <= _MOST_INT_BITS:
        return str(int.__index__(key))
    return str(key) if isinstance(key, (float, complex)) or key is None else type(key).__qualname__
