"""What one dump holds, without another to compare it with: steps and ranks, calls by operator, one call, one tensor."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dump.format.errors import ConfigError, TensorFileError
from dump.format.layout import TENSOR_FOLDER, DumpLocation, find_dumps
from dump.format.names import BACKWARD, forward_name, parse
from dump.format.reader import read_dump
from dump.format.schema import CallRecord, Dump, ScalarRecord, TensorRecord
from dump.format.tensors import read_tensor

_BLOCK = 1 << 20
"""Elements of a tensor that are widened at a time."""

_BINS = 12
_MISSED = ("not_recordable", "failed", "scripted", "compiled")


@dataclass(frozen=True, slots=True)
class DumpContents:
    """One step of one rank.  `bytes` are those of its files, `operators` its calls by operator, most first, `nonfinite`
    counts the calls that wrote NaN or Inf, `missed` what the recorder says it could not record, and how often."""

    path: str
    step: int | None
    rank: int | None
    mode: str
    level: str
    device: str
    torch: str
    complete: bool
    calls: int
    tensors: int
    bytes: int
    nonfinite: int
    operators: dict[str, int]
    missed: dict[str, int]


@dataclass(frozen=True, slots=True)
class ArgumentContents:
    """One argument of a call; the statistics are None where none were measured, `value` is that of a scalar."""

    name: str
    type: str
    shape: tuple[int, ...] | None = None
    max: object = None
    min: object = None
    mean: object = None
    norm: object = None
    nan: int = 0
    inf: int = 0
    requires_grad: bool | None = None
    md5: str | None = None
    file: str | None = None
    value: object = None


@dataclass(frozen=True, slots=True)
class CallContents:
    """One call of one dump: what it read and wrote, the module it ran in, and its stack, innermost first; a backward
    call has that of its forward call."""

    path: str
    step: int | None
    rank: int | None
    name: str
    module: str
    arguments: tuple[ArgumentContents, ...]
    stack: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TensorContents:
    """The elements of one recorded tensor.  `max` and `min` are over finite elements, with the index of each; `edges`
    and `counts` are a histogram of them, and `values` the first elements in C order."""

    path: str
    name: str
    dtype: str
    shape: tuple[int, ...]
    nan: int
    inf: int
    zeros: int
    min: float | None
    min_index: tuple[int, ...] | None
    max: float | None
    max_index: tuple[int, ...] | None
    mean: float | None
    edges: tuple[float, ...]
    counts: tuple[int, ...]
    values: tuple[object, ...]


def contents(path: Path) -> Iterator[DumpContents]:
    """Every step and rank below `path`, one at a time.  Raises DumpError."""
    for location in find_dumps(path):
        yield contents_of(location, read_dump(location.path))


def call_contents(path: Path, name: str) -> list[CallContents]:
    """The call `name` in every dump below `path` that has it.  Raises DumpError, ConfigError where none has."""
    found = []
    near: set[str] = set()
    for location in find_dumps(path):
        dump = read_dump(location.path)
        for call in dump.calls:
            if call.name == name:
                found.append(_call(location, dump, call))
            elif name.lower() in call.name.lower() and len(near) < 5:
                near.add(call.name)
    if not found:
        hint = f"; there are {', '.join(sorted(near))}" if near else ""
        raise ConfigError(f"--call: no dump below {path} has a call {name!r}{hint}")
    return found


def tensor_contents(path: Path, name: str, *, most: int = 64) -> list[TensorContents]:
    """The elements of the tensor `name` (`Functional.gelu.0.forward.output.0`) in every dump below `path` that has it.

    Raises DumpError, and ConfigError where no dump has it, or none has its elements.
    """
    found, recorded = [], False
    for location in find_dumps(path):
        dump = read_dump(location.path)
        for call in dump.calls:
            if not name.startswith(f"{call.name}."):
                continue
            for argument, tensor in call.tensors():
                if f"{call.name}.{argument}" == name:
                    recorded = True
                    if tensor.data_name is not None:
                        found.append(_tensor(dump, name, tensor, most))
    if not found:
        why = "was recorded without its elements (--task tensor records them)" if recorded else "is in no dump"
        raise ConfigError(f"--tensor: {name!r} {why} below {path}")
    return found


def contents_of(location: DumpLocation, dump: Dump) -> DumpContents:
    """What the dump at `location` holds."""
    coverage = dump.header.coverage or {}
    missed: Counter[str] = Counter()
    for key in _MISSED:
        counts = coverage.get(key)
        if isinstance(counts, Mapping):
            for reason, number in counts.items():
                missed[f"{key}: {reason}"] += number if isinstance(number, int) else 1
    tensors = [tensor for call in dump.calls for _, tensor in call.tensors()]
    device = dump.header.device or ""
    named = dump.header.device_name or ""
    return DumpContents(
        path=str(location.path),
        step=location.step,
        rank=location.rank,
        mode=dump.mode,
        level=dump.header.level,
        device=f"{device} ({named})" if named and named != device else device,
        torch=dump.header.torch_version or "",
        complete=dump.incomplete is None,
        calls=len(dump.calls),
        tensors=len(tensors),
        bytes=_size(location.path if location.path.is_dir() else location.path.parent),
        nonfinite=sum(any(_bad(argument.leaf) for argument in (*c.outputs, *c.written)) for c in dump.calls),
        operators=dict(Counter(_operator(call.name) for call in dump.calls).most_common()),
        missed=dict(missed),
    )


def _operator(name: str) -> str:
    parsed = parse(name)
    return f"{parsed.prefix}.{parsed.api}" if parsed.api else name


def _bad(leaf: object) -> bool:
    return isinstance(leaf, TensorRecord) and bool(leaf.nan or leaf.inf)


def _size(folder: Path) -> int:
    """Bytes of the files below a folder; links are not followed."""
    total, left = 0, [folder]
    while left:
        with os.scandir(left.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    left.append(Path(entry.path))
                elif stat.S_ISREG((status := entry.stat(follow_symlinks=False)).st_mode):
                    total += status.st_size
    return total


def _call(location: DumpLocation, dump: Dump, call: CallRecord) -> CallContents:
    parsed = parse(call.name)
    owner = dump.owners.get(call.name)
    groups = (call.inputs, call.parameters, call.outputs, call.written)
    return CallContents(
        path=str(location.path),
        step=location.step,
        rank=location.rank,
        name=call.name,
        module=parsed.path if parsed.is_module else parse(owner).path if owner else "",
        arguments=tuple(_argument(argument.name, argument.leaf) for group in groups for argument in group),
        stack=tuple(dump.stacks.get(forward_name(call.name) if parsed.direction == BACKWARD else call.name, ())),
    )


def _argument(name: str, leaf: object) -> ArgumentContents:
    if isinstance(leaf, ScalarRecord):
        return ArgumentContents(name, leaf.type, value=leaf.value)
    if not isinstance(leaf, TensorRecord):
        return ArgumentContents(name, "None")
    return ArgumentContents(
        name,
        leaf.dtype,
        shape=leaf.shape,
        max=leaf.max,
        min=leaf.min,
        mean=leaf.mean,
        norm=leaf.norm,
        nan=leaf.nan or 0,
        inf=leaf.inf or 0,
        requires_grad=leaf.requires_grad,
        md5=leaf.md5,
        file=leaf.data_name,
    )


def _tensor(dump: Dump, name: str, record: TensorRecord, most: int) -> TensorContents:
    folder = (dump.path if dump.path.is_dir() else dump.path.parent) / TENSOR_FOLDER
    assert record.data_name is not None
    array = read_tensor(folder, record.data_name)
    if array.dtype.kind == "c":
        raise TensorFileError(f"{record.data_name} holds complex numbers, which have no order to describe")
    measured = _Elements()
    for number, block in enumerate(_blocks(array)):
        measured.take(block, number * _BLOCK)
    edges = _edges(measured.low, measured.high)
    counts = np.zeros(max(0, len(edges) - 1), np.int64)
    if len(edges):
        for block in _blocks(array):
            counts += np.histogram(block[np.isfinite(block)], bins=edges)[0]
    return TensorContents(
        path=str(dump.path),
        name=name,
        dtype=record.dtype,
        shape=tuple(array.shape),
        nan=measured.nan,
        inf=measured.inf,
        zeros=measured.zeros,
        min=measured.low,
        min_index=_index(measured.low_at, array.shape),
        max=measured.high,
        max_index=_index(measured.high_at, array.shape),
        mean=measured.total / measured.count if measured.count else None,
        edges=tuple(float(edge) for edge in edges),
        counts=tuple(int(count) for count in counts),
        values=tuple(element.item() for element in array.flat[: max(0, most)]),
    )


class _Elements:
    """Extremes with their places, and counts, block by block."""

    def __init__(self) -> None:
        self.nan = self.inf = self.zeros = self.count = 0
        self.total = 0.0
        self.low: float | None = None
        self.high: float | None = None
        self.low_at = self.high_at = -1

    def take(self, block: np.ndarray[Any, np.dtype[np.float64]], start: int) -> None:
        finite = np.isfinite(block)
        self.nan += int(np.isnan(block).sum())
        self.inf += int(np.isinf(block).sum())
        self.zeros += int((block == 0).sum())
        live = int(finite.sum())
        if not live:
            return
        self.count += live
        self.total += float(block[finite].sum())
        lowest = int(np.where(finite, block, np.inf).argmin())
        highest = int(np.where(finite, block, -np.inf).argmax())
        if self.low is None or block[lowest] < self.low:
            self.low, self.low_at = float(block[lowest]), start + lowest
        if self.high is None or block[highest] > self.high:
            self.high, self.high_at = float(block[highest]), start + highest


def _blocks(array: np.ndarray[Any, Any]) -> Iterator[np.ndarray[Any, np.dtype[np.float64]]]:
    """In the order of its elements; one whose elements share memory is never copied as a whole."""
    for start in range(0, array.size, _BLOCK):
        with np.errstate(all="ignore"):
            yield array.flat[start : start + _BLOCK].astype(np.float64)


def _edges(low: float | None, high: float | None) -> np.ndarray[Any, np.dtype[np.float64]]:
    if low is None or high is None:
        return np.zeros(0)
    with np.errstate(all="ignore"):
        edges = np.linspace(low, high, _BINS + 1)
    return (
        edges
        if np.isfinite(edges).all() and (np.diff(edges) > 0).all()
        else np.array([low, np.nextafter(high, np.inf)])
    )


def _index(place: int, shape: Sequence[int]) -> tuple[int, ...] | None:
    return tuple(int(part) for part in np.unravel_index(place, tuple(shape))) if place >= 0 else None
