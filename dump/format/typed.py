"""The records that nearly every dump is made of, decoded in one step to objects of the shape that they have.

msgspec checks types while it reads, which takes a third of the time of looking at dicts one by one.  What does not fit
exactly (a number that JSON has no word for, a wrong type) is left to `decode`, which knows
every form and says what is wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from sys import intern
from typing import Any

import msgspec
from msgspec import UNSET

from dump.format.decode import RecordDecoder
from dump.format.errors import DumpCorrupt
from dump.format.fields import TENSOR_FIELDS, TENSOR_TYPE, Field, Kind
from dump.format.json_text import split_object
from dump.format.names import PARAMETERS_GRAD, parse
from dump.format.schema import Argument, CallRecord, Leaf, TensorRecord

_TYPES: dict[Kind, Any] = {
    "text": str | None,
    "flag": bool | None,
    "integer": int | None,
    "count": int | None,
    "number": float | int | None,
    "sizes": tuple[int, ...] | None,
    "strides": tuple[int, ...] | None,
    "sketch": str | None,
    "waves": str | None,
    "layout": dict[str, Any] | None,
}
_VALUE = "value"  # a tensor's identity, a scalar's content: of any type, and there or not


def _leaf_field(field: Field) -> tuple[str, Any, Any]:
    if field.key == _VALUE:
        return field.key, Any, UNSET
    return field.key, _TYPES[field.kind], None


_Leaf: Any = msgspec.defstruct("_Leaf", [("type", str), *map(_leaf_field, TENSOR_FIELDS)], gc=False)
"""A tensor or a scalar, by the keys of the file."""


class _Record(msgspec.Struct, gc=False):
    input_args: list[msgspec.Raw] | None = None
    input: list[msgspec.Raw] | None = None
    input_kwargs: dict[str, msgspec.Raw] | None = None
    output: list[msgspec.Raw] | None = None
    parameters: dict[str, msgspec.Raw] | None = None
    written: dict[str, msgspec.Raw] | None = None
    is_recompute: bool | None = None
    collectives: list[Any] | None = None


class _Unusual(Exception):
    """A record that fits, and yet means something that only `decode` knows."""


_decode = msgspec.json.Decoder(_Record).decode
_decode_leaf = msgspec.json.Decoder(_Leaf).decode
_decode_items = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_other = msgspec.json.Decoder().decode


def call_of(decoder: RecordDecoder, name: str, index: int, raw: msgspec.Raw) -> CallRecord | None:
    """What `decoder.call` makes of the record, in half the time; None where it must be asked itself."""
    try:
        if parse(name).direction == PARAMETERS_GRAD:
            return CallRecord(name, index, outputs=tuple(_gradients(decoder, split_object(raw))))
        record = _decode(raw)
        inputs = _listed(decoder, "input", record.input_args) + _listed(decoder, "input", record.input)
        return CallRecord(
            name,
            index,
            tuple(inputs + _named(decoder, "input", record.input_kwargs)),
            tuple(_listed(decoder, "output", record.output)),
            tuple(_named(decoder, "parameters", record.parameters)),
            tuple(_named(decoder, "written", record.written)),
            record.is_recompute or False,
            decoder.collectives(record.collectives) if record.collectives else (),
        )
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, DumpCorrupt, _Unusual):
        return None


def _listed(decoder: RecordDecoder, group: str, items: Sequence[msgspec.Raw] | None) -> list[Argument]:
    found: list[Argument] = []
    for position, item in enumerate(items or ()):
        _add(decoder, decoder.item_name(group, position), bytes(item), found)
    return found


def _named(decoder: RecordDecoder, group: str, items: Mapping[str, msgspec.Raw] | None) -> list[Argument]:
    found: list[Argument] = []
    if items:
        for key, item in items.items():
            _add(decoder, intern(f"{group}.{key}"), bytes(item), found)
    return found


def _gradients(decoder: RecordDecoder, items: Mapping[str, msgspec.Raw]) -> list[Argument]:
    """Each stands in a list of its own."""
    found: list[Argument] = []
    for parameter, item in items.items():
        values = _decode_items(item)
        if len(values) != 1:
            raise _Unusual
        _add(decoder, intern(f"{PARAMETERS_GRAD}.{parameter}"), bytes(values[0]), found)
    return found


def _add(decoder: RecordDecoder, name: str, item: bytes, into: list[Argument], *, depth: int = 1) -> None:
    """One call writes a value and others read it: what has the same text is one object."""
    leaf = decoder.known_leaves.get(item)
    if leaf is not None:
        into.append(Argument(name, leaf))
    elif item.startswith(b"{"):
        try:
            leaf = _leaf(decoder, name, _decode_leaf(item))
        except msgspec.ValidationError:
            _add_nested(decoder, name, split_object(item), into, depth=depth)
            return
        decoder.remember(item, leaf)
        into.append(Argument(name, leaf))
    elif item.startswith((b"[", b"n", b'"')):
        decoder.walk(name, _decode_other(item), into, depth=depth)
    else:
        raise _Unusual


def _add_nested(
    decoder: RecordDecoder, name: str, items: Mapping[str, msgspec.Raw], into: list[Argument], *, depth: int
) -> None:
    """The leaves below a mapping, as the parameters that an optimizer updates."""
    if "type" in items:
        raise _Unusual  # it says what it is, and has a field that no such thing has
    decoder.check_nesting(name, depth)
    for key, item in items.items():
        _add(decoder, intern(f"{name}.{key}"), bytes(item), into, depth=depth + 1)


def _leaf(decoder: RecordDecoder, name: str, leaf: Any) -> Leaf:
    dtype, shape = leaf.dtype, leaf.shape
    if dtype is None or shape is None:
        if leaf.value is UNSET or leaf.type == TENSOR_TYPE:
            raise _Unusual
        return decoder.scalar(name, leaf.type, leaf.value)
    if leaf.nan or leaf.inf:
        raise _Unusual  # what stands as null among its statistics was NaN
    value = leaf.value
    sketch, storage, digest = leaf.sketch, leaf.storage, leaf.md5
    if digest:
        decoder.note_digest(digest)
    high, low, mean, norm = leaf.Max, leaf.Min, leaf.Mean, leaf.Norm
    return TensorRecord(
        intern(dtype),
        decoder.shape(name, shape),
        high if type(high) is float or high is None else decoder.number(name, "Max", high),
        low if type(low) is float or low is None else decoder.number(name, "Min", low),
        mean if type(mean) is float or mean is None else decoder.number(name, "Mean", mean),
        norm if type(norm) is float or norm is None else decoder.number(name, "Norm", norm),
        leaf.requires_grad,
        leaf.nan,
        leaf.inf,
        None if sketch is None else decoder.floats(name, "sketch", sketch),
        None if value is UNSET else decoder.identity(name, "value", value),
        None if storage is None else decoder.identity(name, "storage", storage),
        leaf.data_name,
        digest,
        None if leaf.grad_fn is None else intern(leaf.grad_fn),
        leaf.unrecorded,
        None if leaf.stride is None else decoder.strides(name, "stride", leaf.stride),
        leaf.unwritten,
        None if leaf.layout is None else decoder.layout(name, leaf.layout),
        None if leaf.partition is None else decoder.shape(name, leaf.partition),
        None if leaf.waves is None else decoder.floats(name, "waves", leaf.waves),
    )
