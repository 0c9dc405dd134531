"""A call's record to the arguments that it was called with: tensors from files, everything else plain values.

Nothing of a record is executed or imported: a value of a kind that is not in the table below cannot be made again.
Tensors that were one tensor (`value`) are one tensor again, and lie in memory as they did (`stride`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch

from acc_compare.messages import say
from acc_compare.operators import UNIT_ROUNDOFF
from acc_compare.replay.names import CannotReplay
from dump.format.errors import TensorFileError
from dump.format.layout import TENSOR_FOLDER
from dump.format.schema import NestedCall, Node, ScalarRecord, TensorRecord
from dump.format.tensors import NUMPY_DTYPES, AnyArray, read_tensor
from dump.record.contents import Contents

_MOST_SPAN = 16
"""A tensor's memory is laid out as it was where that takes at most so many times its elements."""

_BITS = {
    torch.float64: torch.int64,
    torch.float32: torch.int32,
    torch.float16: torch.int16,
    torch.bfloat16: torch.int16,
}
_NAMES: Mapping[str, type] = {"dtype": torch.dtype, "layout": torch.layout, "memory_format": torch.memory_format}
_WHOLE_NUMBERS = frozenset("int8 int16 int32 int64 uint8 uint16 uint32 uint64".split())
_INTEGERS = frozenset(("int", "bool", "IntEnum", *_WHOLE_NUMBERS))


@dataclass(slots=True)
class Arguments:
    """What to call a function with.

    `tensors` are the tensor arguments in the order of the record with their places, each given its gradient through
    `leaf`, the tensor that it was made from (itself, unless it had to be a copy that may be written to).
    """

    args: list[Any] = field(default_factory=list)
    kwargs: dict[str, Any] = field(default_factory=dict)
    tensors: list[tuple[str, torch.Tensor, torch.Tensor]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Setting:
    """In what a call is made: on `device`, with floating values as recorded or in `wide` (torch.float64) on the CPU.

    `jitter` moves each floating element by up to so much of itself, at random: what rounding the inputs would do.
    `saved` does so to what forward computes and keeps for backward, which a call has in the dtype of its result.
    `copies` hands functions copies of what autograd follows, so that they may write to it.  A `guest` runs beside a
    script of the user's, and touches no setting of the process; `keeps_graph` leaves gradients for later.  With
    `bits` the jitter is the last bit of each element.
    """

    device: torch.device
    wide: torch.dtype | None = None
    follows: bool = False
    jitter: float = 0.0
    saved: float = 0.0
    seed: int = 0
    copies: bool = False
    guest: bool = False
    keeps_graph: bool = False
    bits: bool = False


Load: TypeAlias = "Callable[[TensorRecord], torch.Tensor]"
"""Where the tensors of a record come from: a file of a dump, or memory.  Raises CannotReplay."""


def from_contents(contents: Contents) -> torch.Tensor:
    """A tensor on bytes in memory, which it shares.  Raises CannotReplay for a dtype that torch has no name for."""
    kind = named(contents.dtype, torch.dtype)
    raw = np.frombuffer(contents.data, np.uint8)
    if not raw.size:
        return torch.empty(contents.shape, dtype=kind)
    flat = torch.from_numpy(raw).view(kind)
    return (
        flat.reshape(contents.shape) if contents.strides is None else flat.as_strided(contents.shape, contents.strides)
    )


def load(folder: Path, record: TensorRecord) -> torch.Tensor:
    """The tensor of a record, contiguous on the CPU.  Raises CannotReplay where it has no file, or a wrong one."""
    if record.unrecorded is not None:
        raise CannotReplay(say("replay.reason.unrecorded", why=record.unrecorded))
    dtype = named(record.dtype, torch.dtype)
    if record.data_name is None:
        if record.numel == 0:
            return torch.empty(record.shape, dtype=dtype)
        raise CannotReplay(say("replay.reason.no_file"))
    try:
        array = read_tensor(folder / TENSOR_FOLDER, record.data_name)
    except TensorFileError as error:
        raise CannotReplay(say("replay.reason.file", why=str(error))) from error
    if array.shape != record.shape:
        raise CannotReplay(say("replay.reason.file", why=f"{record.data_name}: {array.shape}, not {record.shape}"))
    repeated = [extent > 1 and step == 0 for extent, step in zip(array.shape, array.strides, strict=True)]
    if any(repeated):  # of memory that may be a small part of its elements
        array = array[tuple(slice(0, 1) if again else slice(None) for again in repeated)]
    return _owned(array, record.dtype, dtype).reshape(array.shape).expand(record.shape)


def _owned(array: AnyArray, name: str, dtype: torch.dtype) -> torch.Tensor:
    """A copy of the elements, (n,)."""
    own = np.array(array, order="C", copy=True).reshape(-1)
    if NUMPY_DTYPES.get(name) == own.dtype and own.size and name != "torch.complex32":
        return torch.from_numpy(own.view(np.uint8)).view(dtype)
    plain = own.astype(own.dtype.newbyteorder("=")) if own.dtype.isbuiltin == 1 else own.astype(np.float32)
    return torch.from_numpy(plain).to(dtype)


def named(text: object, kind: type) -> Any:
    """`torch.float32` and the like.  Raises CannotReplay for what torch has no such name for."""
    found = getattr(torch, text.removeprefix("torch."), None) if isinstance(text, str) else None
    if not isinstance(found, kind):
        raise CannotReplay(say("replay.reason.argument", kind=str(text)[:40]))
    return found


class Builder:
    """Makes the arguments of one call, in one setting after the other; files are read once.

    Args:
        load: where tensors come from.
        tells_tuples: are lists that were tuples told apart?
        followed: the numbers of the tensor arguments that have gradients of their own.  The same memory may stand in a
            call under two of autograd's edges, as a tensor and its view.
    """

    def __init__(
        self, load: Load, call: NestedCall, *, tells_tuples: bool = True, followed: Iterable[int] = ()
    ) -> None:
        self._load = load
        self._call = call
        self._tells_tuples = tells_tuples
        self.followed = frozenset(followed)
        self._loaded: dict[str | None, torch.Tensor] = {}

    def loaded(self, record: TensorRecord) -> torch.Tensor:
        """The tensor of a record, not to be written to.  Raises CannotReplay."""
        key = record.data_name
        if key is None or key not in self._loaded:
            found = self._load(record)
            if key is None:
                return found
            self._loaded[key] = found
        return self._loaded[key]

    def arguments(self, setting: Setting) -> Arguments:
        """All arguments of the call.  Raises CannotReplay."""
        made = Arguments()
        build = _Build(self, setting, made)
        is_index = self._call.name.startswith("Tensor.__") and "item__" in self._call.name
        for index, node in enumerate(self._call.args):
            value = build(f"input.{index}", node)
            as_tuple = is_index and index == 1 and isinstance(value, list) and not self._tells_tuples
            made.args.append(tuple(value) if as_tuple else value)
        made.kwargs.update((name, build(f"input.{name}", node)) for name, node in self._call.kwargs.items())
        return made

    def gradients(self, nodes: tuple[Node, ...], setting: Setting) -> dict[int, torch.Tensor]:
        """The gradients that a backward call read, by the number of the output."""
        build = _Build(self, setting, Arguments())
        return {i: build(f"input.{i}", node) for i, node in enumerate(nodes) if isinstance(node, TensorRecord)}


class _Build:
    """One pass over the arguments of a call."""

    def __init__(self, builder: Builder, setting: Setting, made: Arguments) -> None:
        self._builder = builder
        self._setting = setting
        self._made = made
        self._known: dict[tuple[int, bool], tuple[torch.Tensor, torch.Tensor]] = {}
        self._random = torch.Generator().manual_seed(setting.seed)

    def __call__(self, place: str, node: Node) -> Any:
        if isinstance(node, TensorRecord):
            given, leaf = self._tensor(node)
            self._made.tensors.append((place, given, leaf))
            return given
        if isinstance(node, ScalarRecord):
            value = plain_value(node, device=self._setting.device)
            return _wide_dtype(value, self._setting.wide) if isinstance(value, torch.dtype) else value
        if isinstance(node, (list, tuple)):
            return type(node)(self(f"{place}.{index}", item) for index, item in enumerate(node))
        if isinstance(node, dict):
            return {key: self(f"{place}.{key}", item) for key, item in node.items()}
        return None

    def _tensor(self, record: TensorRecord) -> tuple[torch.Tensor, torch.Tensor]:
        key = None if record.value is None else (record.value, bool(record.requires_grad))
        is_own = len(self._made.tensors) in self._builder.followed
        if key is not None and key in self._known and not is_own:
            return self._known[key]
        found = self._made_anew(record)
        if key is not None:
            self._known[key] = found
        return found

    def _made_anew(self, record: TensorRecord) -> tuple[torch.Tensor, torch.Tensor]:
        setting = self._setting
        tensor = self._builder.loaded(record)
        if setting.wide is not None:
            tensor = tensor.to(_wide_dtype(tensor.dtype, setting.wide))
        if setting.jitter and (tensor.is_floating_point() or tensor.is_complex()):
            tensor = flipped(tensor) if setting.bits else moved(tensor, setting.jitter, self._random)
        leaf = laid_out(tensor.to(setting.device), record.stride)
        if leaf.data_ptr() == self._builder.loaded(record).data_ptr():  # which a kernel may write to
            leaf = leaf.clone()
        if setting.follows and record.requires_grad and (leaf.is_floating_point() or leaf.is_complex()):
            leaf.requires_grad_()
            return (leaf.clone() if setting.copies else leaf), leaf
        return leaf, leaf


def plain_value(record: ScalarRecord, *, device: torch.device) -> Any:
    """An argument that is no tensor; a device becomes `device`.  Raises CannotReplay for what has no such value."""
    kind, value = record.type, record.value
    if kind in _NAMES:
        return named(value, _NAMES[kind])
    if kind == "device":
        return device
    if kind == "slice" and isinstance(value, list) and len(value) == 3:
        if all(part is None or type(part) is int for part in value):
            return slice(*value)
    elif kind == "ellipsis":
        return ...
    elif kind == "complex" and isinstance(value, str):
        return _complex(value)
    elif kind == "float" and isinstance(value, (int, float)):
        return float(value)
    elif kind not in _UNKNOWN and type(value) in (bool, int, float, str):
        return value
    raise CannotReplay(say("replay.reason.argument", kind=kind[:40]))


_UNKNOWN = frozenset(("omitted", "slice"))


def _complex(text: str) -> complex:
    try:
        return complex(text)
    except ValueError:
        raise CannotReplay(say("replay.reason.argument", kind="complex")) from None


def _wide_dtype(dtype: torch.dtype, wide: torch.dtype | None) -> torch.dtype:
    """`dtype` as the reference computes in it: floats and complex numbers are widened, all others stay."""
    if wide is None or str(dtype) not in UNIT_ROUNDOFF:
        return dtype
    return wide.to_complex() if dtype.is_complex else wide


def moved(tensor: torch.Tensor, share: float, generator: torch.Generator) -> torch.Tensor:
    """Each element of a floating tensor moved by up to `share` of itself."""
    moves = torch.rand(tensor.shape, generator=generator, dtype=torch.float64) * 2 - 1
    return tensor * (1 + share * moves.to(tensor.dtype))


def flipped(tensor: torch.Tensor) -> torch.Tensor:
    """A floating tensor with the last bit of each finite element turned round."""
    kind = _BITS.get(tensor.dtype)
    if kind is None:
        return tensor
    turned = (tensor.contiguous().view(kind) ^ 1).view(tensor.dtype)
    return torch.where(torch.isfinite(tensor) & torch.isfinite(turned), turned, tensor)


def laid_out(tensor: torch.Tensor, stride: tuple[int, ...] | None) -> torch.Tensor:
    """`tensor` with that stride, in memory of its own, where it fits into 16 times its elements; else as it is."""
    if stride is None or len(stride) != tensor.dim() or not tensor.numel():
        return tensor
    shape = tensor.shape
    repeated = [extent > 1 and step == 0 for extent, step in zip(shape, stride, strict=True)]
    if any(repeated):
        one = tensor[tuple(slice(0, 1) if again else slice(None) for again in repeated)]
        inner = tuple(1 if again else step for again, step in zip(repeated, stride, strict=True))
        return laid_out(one.contiguous(), inner).expand(shape)
    span = 1 + sum((extent - 1) * step for extent, step in zip(shape, stride, strict=True))
    if span > _MOST_SPAN * tensor.numel() or _overlaps(shape, stride):
        return tensor
    memory = torch.zeros(span, dtype=tensor.dtype, device=tensor.device)
    return memory.as_strided(shape, stride).copy_(tensor)


def _overlaps(shape: torch.Size, stride: tuple[int, ...]) -> bool:
    """Do two elements share memory, as in the windows of unfold?"""
    reach = 1
    for step, extent in sorted((s, n) for s, n in zip(stride, shape, strict=True) if n > 1):
        if step < reach:
            return True
        reach = step * (extent - 1) + reach
    return False


def integers_of(node: Node) -> Iterator[int]:
    """All whole numbers among plain arguments: what may be a size."""
    if isinstance(node, ScalarRecord):
        if type(node.value) is int and node.type in _INTEGERS:
            yield abs(node.value)
    elif isinstance(node, (list, tuple)):
        for item in node:
            yield from integers_of(item)
    elif isinstance(node, dict):
        for item in node.values():
            yield from integers_of(item)


def tensors_in(node: Node) -> Iterator[TensorRecord]:
    """All tensors of an argument."""
    if isinstance(node, TensorRecord):
        yield node
    elif isinstance(node, (list, tuple)):
        for item in node:
            yield from tensors_in(item)
    elif isinstance(node, dict):
        for item in node.values():
            yield from tensors_in(item)


def may_be_huge(call: NestedCall, most: int) -> bool:
    """May the whole numbers that a call was given make a tensor of more than `most` elements of what it reads?"""
    nodes = (*call.args, *call.kwargs.values())
    read = sum(record.numel for node in nodes for record in tensors_in(node))
    product = math.prod(max(1, number) for node in nodes for number in integers_of(node))
    return max(1, read) * product > most
