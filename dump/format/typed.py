"""The records that nearly every dump is made of, decoded in one step to objects of the shape that they have.

msgspec checks types while it reads, which takes a third of the time of looking at dicts one by one.  What does not fit
exactly (a mapping of arguments, a number that JSON has no word for, a wrong type) is left to `decode`, which knows
every form and says what is wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from sys import intern
from typing import Any, TypeAlias

import msgspec
from msgspec import UNSET, UnsetType

from dump.format.decode import RecordDecoder
from dump.format.errors import DumpCorrupt
from dump.format.names import PARAMETERS_GRAD, parse
from dump.format.schema import Argument, CallRecord, Leaf, TensorRecord


class _Leaf(msgspec.Struct, gc=False):
    """A tensor or a scalar, by the keys of the file."""

    type: str
    dtype: str | UnsetType = UNSET
    shape: tuple[int, ...] | UnsetType = UNSET
    Max: float | int | None = None
    Min: float | int | None = None
    Mean: float | int | None = None
    Norm: float | int | None = None
    requires_grad: bool | None = None
    nan: int | None = None
    inf: int | None = None
    sketch: str | None = None
    value: Any = UNSET
    storage: int | None = None
    data_name: str | None = None
    md5: str | None = None
    grad_fn: str | None = None
    unrecorded: str | None = None


_Item: TypeAlias = _Leaf | list[Any] | str | bool | int | float | None


class _Record(msgspec.Struct, gc=False):
    input_args: list[_Item] | None = None
    input: list[_Item] | None = None
    input_kwargs: dict[str, _Item] | None = None
    output: list[_Item] | None = None
    parameters: dict[str, _Item] | None = None
    written: dict[str, _Item] | None = None
    is_recompute: bool | None = None


class _Unusual(Exception):
    """A record that fits, and yet means something that only `decode` knows."""


_decode = msgspec.json.Decoder(_Record).decode


def call_of(decoder: RecordDecoder, name: str, index: int, raw: msgspec.Raw) -> CallRecord | None:
    """What `decoder.call` makes of the record, in half the time; None where it must be asked itself."""
    if parse(name).direction == PARAMETERS_GRAD:
        return None
    try:
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
        )
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, DumpCorrupt, _Unusual):
        return None


def _listed(decoder: RecordDecoder, group: str, items: Sequence[_Item] | None) -> list[Argument]:
    found: list[Argument] = []
    for position, item in enumerate(items or ()):
        _add(decoder, decoder.item_name(group, position), item, found)
    return found


def _named(decoder: RecordDecoder, group: str, items: Mapping[str, _Item] | None) -> list[Argument]:
    found: list[Argument] = []
    if items:
        for key, item in items.items():
            _add(decoder, intern(f"{group}.{key}"), item, found)
    return found


def _add(decoder: RecordDecoder, name: str, item: _Item, into: list[Argument]) -> None:
    if type(item) is _Leaf:
        into.append(Argument(name, _leaf(decoder, name, item)))
    else:
        decoder.walk(name, item, into, depth=1)


def _leaf(decoder: RecordDecoder, name: str, leaf: _Leaf) -> Leaf:
    dtype, shape = leaf.dtype, leaf.shape
    if dtype is UNSET or shape is UNSET:
        if leaf.value is UNSET or leaf.type == "torch.Tensor":
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
        None if sketch is None else decoder.sketch(name, sketch),
        None if value is UNSET else decoder.identity(name, "value", value),
        None if storage is None else decoder.identity(name, "storage", storage),
        leaf.data_name,
        digest,
        None if leaf.grad_fn is None else intern(leaf.grad_fn),
        leaf.unrecorded,
    )
