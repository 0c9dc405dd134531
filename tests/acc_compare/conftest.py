"""Records of small runs, made by hand from numpy arrays, for the tests of everything that compares."""

from __future__ import annotations

import hashlib
import types
from base64 import b64encode
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from acc_compare.align.calls import align
from acc_compare.judge.verdict import Setting, judge
from acc_compare.load import mode_of
from acc_compare.measured.calls import MeasuredArgument
from acc_compare.measured.errors import TensorError, tensor_error
from acc_compare.measured.pairs import measure_pairs
from acc_compare.model import Finding
from dump.format import encode, sketch
from dump.format.decode import RecordDecoder
from dump.format.layout import CONSTRUCT_FILE, DUMP_FILE, TENSOR_FOLDER
from dump.format.names import parse
from dump.format.reader import read_dump
from dump.format.schema import Dump, Header, TensorRecord
from dump.format.tensors import write_tensor

Array = np.ndarray[Any, Any]

_DTYPES = {
    "bool": "torch.bool",
    "float32": "torch.float32",
    "float64": "torch.float64",
    "float16": "torch.float16",
    "int64": "torch.int64",
}


def sketch_bytes(array: Array) -> bytes:
    """The sketch as a recording writes it: over finite elements that are no sentinels."""
    flat = np.where(np.isfinite(array), array, 0).astype(np.float64).ravel()
    if flat.size and sketch.has_sentinel(float(flat.min()), float(flat.max())):
        flat[flat <= flat.min() / 2] = 0
    sums = sketch.row_sums(flat, sketch.width(flat.size))
    return sketch.fold(sums).astype("<f4").tobytes()


def described(array: Array, **fields: object) -> dict[str, Any]:
    """A tensor's record with its statistics and sketch; `fields` change it, None takes a field out."""
    values = np.asarray(array)
    record: dict[str, Any] = {
        "type": "torch.Tensor",
        "dtype": _DTYPES[str(values.dtype)],
        "shape": list(values.shape),
        "requires_grad": False,
    }
    if values.size:
        wide = values.astype(np.float64)
        with np.errstate(all="ignore"):
            statistics = {"Max": wide.max(), "Min": wide.min(), "Mean": wide.mean(), "Norm": np.linalg.norm(wide)}
        record |= {name: float(number) for name, number in statistics.items()}
        bad = {"nan": int(np.isnan(wide).sum()), "inf": int(np.isinf(wide).sum())}
        record |= {name: number for name, number in bad.items() if number}
        record["sketch"] = b64encode(sketch_bytes(wide)).decode()
    return {key: value for key, value in {**record, **fields}.items() if value is not None}


def tensor(array: Array, **fields: object) -> TensorRecord:
    """The same as the reader gives it."""
    call = RecordDecoder("test").call("Torch.x.0.forward", 0, {"output": [described(array, **fields)]})
    leaf = call.outputs[0].leaf
    assert isinstance(leaf, TensorRecord)
    return leaf


class Run:
    """One side, recorded by hand.  An array is a tensor, one array object one value; anything else a scalar.

    `foreign` leaves out what only our recorder writes.
    """

    def __init__(self, *, mode: str = "statistics", foreign: bool = False, **header: object) -> None:
        self.mode = mode
        self.foreign = foreign
        self.bodies: dict[str, dict[str, Any]] = {}
        self.owners: dict[str, str] = {}
        self._header = header
        self._arrays: list[Array] = []
        self._fields: dict[int, dict[str, object]] = {}
        self._values: dict[int, int] = {}
        self._storages: dict[int, int] = {}

    def parameter(self, array: Array) -> Array:
        """Mark it as one that autograd trains."""
        return self.mark(array, requires_grad=True)

    def mark(self, array: Array, **fields: object) -> Array:
        """Fields of the array's record, such as grad_fn."""
        self._identity(array)
        self._fields.setdefault(id(array), {}).update(fields)
        return array

    def same_memory(self, array: Array, other: Array) -> Array:
        """`array` is what the memory of `other` holds later."""
        self._identity(array)
        self._storages[id(array)] = self._storages.get(id(other), self._identity(other))
        return array

    def call(
        self,
        name: str,
        args: Sequence[object] = (),
        output: Sequence[object] = (),
        *,
        kwargs: Mapping[str, object] | None = None,
        parameters: Mapping[str, object] | None = None,
        written: Mapping[str, object] | None = None,
        owner: str | None = None,
    ) -> None:
        """One call; of a backward call `args` are the gradients that came and `output` those that left."""
        body: dict[str, Any] = {"output": [self._leaf(value) for value in output]}
        if parse(name).direction == "backward":
            body["input"] = [self._leaf(value) for value in args]
        else:
            body["input_args"] = [self._leaf(value) for value in args]
            body["input_kwargs"] = {key: self._nested(value) for key, value in (kwargs or {}).items()}
        for key, group in (("parameters", parameters), ("written", written)):
            if group is not None:
                body[key] = {name: self._leaf(value) for name, value in group.items()}
        self.bodies[name] = body
        if owner is not None:
            self.owners[name] = owner

    def dump(self) -> Dump:
        """As the reader gives it; for modes without tensor files."""
        decoder = RecordDecoder("test")
        calls = tuple(decoder.call(name, index, body) for index, (name, body) in enumerate(self.bodies.items()))
        header = {**self._head(), "complete": True}
        fields = {key: value for key, value in header.items() if key in Header.__slots__}
        return Dump(Path("test"), Header(**fields), calls, self.owners)

    def write(self, folder: Path, *, closed: bool = True) -> Path:
        """Write it to `folder` as a recording does; gives the folder."""
        folder.mkdir(parents=True, exist_ok=True)
        lines = [encode.record(name, body, first=not index) for index, (name, body) in enumerate(self.bodies.items())]
        ending = [encode.closing({"complete": True})] if closed else []
        (folder / DUMP_FILE).write_bytes(b"".join([encode.opening(self._head()), *lines, *ending]))
        if self.owners:
            lines = [encode.record(name, owner, first=not n) for n, (name, owner) in enumerate(self.owners.items())]
            (folder / CONSTRUCT_FILE).write_bytes(b"".join([b"{\n", *lines, b"}\n"]))
        if self.mode == "tensor":
            self._write_tensors(folder / TENSOR_FOLDER)
        return folder

    def _write_tensors(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        for array in self._arrays:
            data = np.ascontiguousarray(array)
            name = _DTYPES[str(data.dtype)]
            write_tensor(
                folder / f"{self._values[id(array)]}.safetensors", data=data.data, dtype=name, shape=data.shape
            )

    def _head(self) -> dict[str, object]:
        task = "tensor" if self.mode == "tensor" else "statistics"
        head: dict[str, object] = {"task": task, "level": "L1", "framework": "pytorch", "dump_data_dir": None}
        if self.mode == "md5":
            head |= {"summary_mode": "md5", "hash": "md5"}
        if not self.foreign:
            head |= {"format_version": 1, "sketch": 1, "device": "cpu", "torch_version": "2.13.0"}
        return head | self._header

    def _identity(self, array: Array) -> int:
        if id(array) not in self._values:
            self._arrays.append(array)  # keeps it alive, so that its id stays its own
            self._values[id(array)] = len(self._values)
            self._storages.setdefault(id(array), self._values[id(array)])
        return self._values[id(array)]

    def _nested(self, value: object) -> object:
        return {key: self._leaf(item) for key, item in value.items()} if isinstance(value, dict) else self._leaf(value)

    def _leaf(self, value: object) -> object:
        if value is None or isinstance(value, dict):
            return value
        if isinstance(value, list):
            return [self._leaf(item) for item in value]
        if not isinstance(value, np.ndarray):
            return {"type": type(value).__name__, "value": value}
        number = self._identity(value)
        fields: dict[str, object] = dict(self._fields.get(id(value), {}))
        if self.mode == "md5":
            left_out: dict[str, object] = dict.fromkeys(("Max", "Min", "Mean", "Norm", "sketch", "nan", "inf"))
            fields |= {**left_out, "md5": hashlib.md5(value.tobytes(), usedforsecurity=False).hexdigest()}
        if self.mode == "tensor":
            fields["data_name"] = f"{number}.safetensors"
        if self.foreign:
            fields["sketch"] = fields["nan"] = fields["inf"] = None
        else:
            fields |= {"value": number, "storage": self._storages[id(value)]}
        return described(value, **fields)


def judged(npu: Run | Dump, bench: Run | Dump, **setting: Any) -> Finding:
    """What comes of comparing two runs; runs with tensor files are given as dumps that were read."""
    ours = npu.dump() if isinstance(npu, Run) else npu
    theirs = bench.dump() if isinstance(bench, Run) else bench
    alignment = align(ours, theirs)
    mode = mode_of(ours, theirs)
    return judge(alignment, measure_pairs(alignment, mode), mode, Setting(**setting))


def measured(npu: Run, bench: Run) -> list[Any]:
    """The measured pairs of two runs, for the parts of the judging by themselves."""
    alignment = align(npu.dump(), bench.dump())
    return list(measure_pairs(alignment, mode_of(alignment.npu, alignment.bench)))


def argument(
    name: str, npu: Array, bench: Array, error: TensorError | None = None, **fields: object
) -> MeasuredArgument:
    """One measured tensor; `error` instead of what its statistics say."""
    ours, theirs = tensor(npu, **fields), tensor(bench, **fields)
    return MeasuredArgument.of(name, ours, theirs, error if error is not None else tensor_error(ours, theirs))


def normal(*shape: int, seed: int = 0) -> Array:
    """Standard normal float32."""
    values: Array = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    return values


def off(array: Array, size: float, *, seed: int = 99) -> Array:
    """`array` with a relative L2 error of about `size`, each element off by its own chance."""
    noise = np.random.default_rng(seed).standard_normal(array.shape)
    values: Array = np.asarray(array * (1 + size * noise), array.dtype)
    return values


@pytest.fixture
def make() -> types.SimpleNamespace:
    """The builders of this file: `make.Run()`, `make.judged(npu, bench)`, `make.normal(4, 8)` ..."""
    return types.SimpleNamespace(
        Run=Run,
        argument=argument,
        described=described,
        judged=judged,
        measured=measured,
        normal=normal,
        off=off,
        read=read_dump,
        tensor=tensor,
    )
