"""What a dump holds once it is read: plain, frozen, and free of torch.

The writer never builds these (it encodes straight to bytes); the reader does, and everything that compares
takes them.  Shapes are tuples of int, dtypes are torch's own names ("torch.float32").
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

import msgspec

SKETCH_BUCKETS = 16
WAVE_NUMBERS = 4

Mode: TypeAlias = Literal["statistics", "tensor", "md5"]
Number: TypeAlias = "int | float"


class LayoutRecord(msgspec.Struct, frozen=True):
    """Which part of a whole a tensor is: the `shape` of the whole, the ranks of the `mesh` in C order with its
    `extents`, and for each of its dimensions what was done along it: `S(0)` cut along the tensor's dimension 0, `R`
    replicated, `P(sum)` a partial sum."""

    shape: tuple[int, ...]
    mesh: tuple[int, ...]
    extents: tuple[int, ...]
    placements: tuple[str, ...]


class CollectiveRecord(msgspec.Struct, frozen=True):
    """A collective: its `kind`, the name and the ranks of its group, and how many of the group's came before in the
    step.  A message is a collective of its sender and its receiver, in this order."""

    kind: str
    group: str
    ranks: tuple[int, ...]
    order: int


class TensorRecord(msgspec.Struct, frozen=True, gc=False):
    """One tensor as a call saw it.

    `max`, `min`, `mean`, `norm` are None where nothing was measured (an empty tensor, MD5 mode).  They follow
    torch: a NaN anywhere makes all four NaN.  `sketch` holds 16 little-endian float32 (`format.sketch`).
    `value` is equal for two records of one step exactly when they name the same bytes at the same version;
    `storage` is equal for two records that share memory.  `grad_fn` names the autograd node of a tensor that
    no recorded call made.  `unrecorded` says why a tensor could not be measured.  `stride` is
    that of an argument that was not contiguous, in elements.  `unwritten` says that its memory was new, and nothing was
    seen to write there.  `layout` is that of a part, which the rest describes.
    `partition` is (dimension, stride) of a parameter that says itself that it is a part, () of one that says that it
    is whole.  `waves` holds 4 little-endian float32 (`format.waves`).
    """

    dtype: str
    shape: tuple[int, ...]
    max: Number | None = None
    min: Number | None = None
    mean: Number | None = None
    norm: Number | None = None
    requires_grad: bool | None = None
    nan: int | None = None
    inf: int | None = None
    sketch: bytes | None = None
    value: int | None = None
    storage: int | None = None
    data_name: str | None = None
    md5: str | None = None
    grad_fn: str | None = None
    unrecorded: str | None = None
    stride: tuple[int, ...] | None = None
    unwritten: bool | None = None
    layout: LayoutRecord | None = None
    partition: tuple[int, ...] | None = None
    waves: bytes | None = None

    @property
    def numel(self) -> int:
        count = 1
        for extent in self.shape:
            count *= extent
        return count


class ScalarRecord(msgspec.Struct, frozen=True, gc=False):
    """An argument that is not a tensor: `type` is Python's name for it, `value` what JSON could hold of it."""

    type: str
    value: object


Leaf: TypeAlias = "TensorRecord | ScalarRecord | None"


class Argument(msgspec.Struct, frozen=True, gc=False):
    """One leaf of a call's arguments.  `name` is relative to the call: `input.0`, `input.1.2`, `output.0`,
    `input.weight`, `parameters.bias`, `written.input.3`."""

    name: str
    leaf: Leaf


_GROUPS = ("inputs", "outputs", "parameters", "written")


class CallRecord(msgspec.Struct, frozen=True, gc=False):
    """One call, in order of execution.  For a backward call `inputs` are the gradients of its outputs and
    `outputs` the gradients of its inputs; a `parameters_grad` record has outputs only.  `collectives` are those
    that the call is or ran."""

    name: str
    index: int
    inputs: tuple[Argument, ...] = ()
    outputs: tuple[Argument, ...] = ()
    parameters: tuple[Argument, ...] = ()
    written: tuple[Argument, ...] = ()
    is_recompute: bool = False
    collectives: tuple[CollectiveRecord, ...] = ()

    def arguments(self) -> Iterator[Argument]:
        """Everything read, then everything written."""
        for group in (self.inputs, self.parameters, self.outputs, self.written):
            yield from group

    def mapped(self, told: Callable[[Argument], Argument], **fields: object) -> CallRecord:
        """The call with other arguments, one for each, and other `fields`."""
        groups = {name: tuple(map(told, getattr(self, name))) for name in _GROUPS}
        return msgspec.structs.replace(self, **groups, **fields)

    def tensors(self) -> Iterator[tuple[str, TensorRecord]]:
        """(argument name, tensor) of everything read, then of everything written."""
        for argument in self.arguments():
            if isinstance(argument.leaf, TensorRecord):
                yield argument.name, argument.leaf


def tensor_records(arguments: Iterable[Argument]) -> Iterator[TensorRecord]:
    """Those of the arguments that are tensors, in their order."""
    return (argument.leaf for argument in arguments if isinstance(argument.leaf, TensorRecord))


def values_of(arguments: Iterable[Argument]) -> list[int]:
    """The numbers of the values of all tensors among the arguments that have one."""
    return [record.value for record in tensor_records(arguments) if record.value is not None]


Node: TypeAlias = "Leaf | list[Any] | tuple[Any, ...] | dict[str, Any]"
"""An argument with its nesting: a leaf, or lists, tuples and mappings of further nodes."""


@dataclass(frozen=True, slots=True)
class NestedCall:
    """One call with the nesting of its arguments.  A backward call has `args` (gradients of the forward's outputs) and
    `outputs` (those of its tensor arguments, in their order) alone.

    `autocast` is the dtype that autocast computed in, "" where it was off.
    """

    name: str
    args: tuple[Node, ...] = ()
    kwargs: Mapping[str, Node] = field(default_factory=dict)
    outputs: tuple[Node, ...] = ()
    written: Mapping[str, Node] = field(default_factory=dict)
    autocast: str = ""


@dataclass(frozen=True, slots=True)
class Header:
    """What is said about the whole dump.  Every field that is ours is None in a dump written by msprobe.

    `environment` says what the run had under it ({"npu": "ok", "cann": "8.0"}), `numerics` which settings that change
    results were in force when the step ended ({"float32_matmul.npu": "hf32"}); `dump.numerics` names them all.
    `ended_by` names the limit of the user's that cut the step short.
    """

    task: str
    level: str
    framework: str = "pytorch"
    dump_data_dir: str | None = None
    format_version: int | None = None
    device: str | None = None
    device_name: str | None = None
    torch_version: str | None = None
    summary_mode: str | None = None
    hash: str | None = None
    sketch: int | None = None
    world_size: int | None = None
    complete: bool | None = None
    ended_by: str | None = None
    coverage: Mapping[str, object] | None = None
    environment: Mapping[str, object] | None = None
    numerics: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True)
class CutShort:
    """A dump without a proper end: closed `early`, `by_limit` (which), or never, as of a recording that was killed or
    still runs.  `source` is its file, `calls` how many were read all the same."""

    kind: Literal["early", "by_limit", "no_end"]
    source: str
    calls: int
    limit: str = ""


@dataclass(frozen=True, slots=True)
class Dump:
    """One `dump.json` with its neighbours.  `incomplete` says why, where the file had no proper end."""

    path: Path
    header: Header
    calls: tuple[CallRecord, ...]
    owners: Mapping[str, str | None] = field(default_factory=dict)
    stacks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    incomplete: CutShort | None = None

    @property
    def mode(self) -> Mode:
        """`statistics`, `md5` or `tensor`: what there is to compare."""
        if self.header.task == "tensor":
            return "tensor"
        if self.header.summary_mode == "md5":
            return "md5"
        return "statistics"
