from __future__ import annotations

import hashlib
import importlib
import json
import math
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import safetensors.numpy
import torch

from dump.config import DumpConfig
from dump.format import FORMAT_VERSION
from dump.format.errors import OutputError
from dump.format.reader import read_dump
from dump.format.schema import CallRecord, Dump, ScalarRecord, TensorRecord
from dump.format.tensors import read_tensor
from dump.intercept.points import release
from dump.record.contents import Contents
from dump.record.entries import Emission, Entry, Measured
from dump.record.recorder import StepRecorder
from dump.write.tensor_files import TensorFiles, file_stem
from dump.write.writer import StepWriter

HEADER: dict[str, object] = {
    "task": "statistics",
    "level": "L1",
    "framework": "pytorch",
    "dump_data_dir": None,
    "format_version": FORMAT_VERSION,
    "summary_mode": "statistics",
    "sketch": 1,
}
ROOT = Path(__file__).parents[3]


def _writer(folder: Path, **settings: Any) -> StepWriter:
    return StepWriter(folder, HEADER, **{"file_format": "safetensors", "hash_name": "md5", **settings})


def _emission(name: str, body: dict[str, Any] | None = None, owner: str | None = None) -> Emission:
    return Emission(name, body or {}, owner, None)


def _payload(size: int, dtype: str = "torch.uint8") -> Contents:
    return Contents(memoryview(bytes(size)), dtype, (size,))


def _close(writer: StepWriter, recorder: StepRecorder | None = None) -> Any:
    if recorder is not None:
        recorder.close()
    return writer.close({"device": "cpu", "complete": True})


def _refuse(word: str) -> None:
    raise AssertionError(f"{word} is not strict JSON")


# ---- what is written is what is read


INPUTS = [
    torch.tensor([[1.0, -2.5], [0.25, 4.0]], requires_grad=True),
    torch.tensor([math.nan, 1.0, math.inf, -math.inf]),
    torch.tensor([2**63 - 1, -5]),
    torch.tensor([True, False]),
    torch.tensor([1.5, math.inf], dtype=torch.bfloat16),
    torch.empty(0, 3),
    torch.tensor(1 - 2j),
    *(torch.tensor([2**64 - 1], dtype=kind) for kind in (getattr(torch, "uint64", None),) if kind is not None),
    torch.eye(2).to_sparse(),
]


def _expected(entry: Entry) -> TensorRecord:
    found = entry.measured.statistics if entry.measured is not None else None
    record = TensorRecord(
        str(entry.dtype),
        tuple(entry.shape),
        requires_grad=entry.requires_grad,
        grad_fn=entry.grad_fn,
        unrecorded=entry.unrecorded,
        value=entry.identity.value if entry.identity else None,
        storage=entry.identity.storage if entry.identity else None,
    )
    if found is None:
        return record
    return msgspec.structs.replace(
        record,
        max=found.max,
        min=found.min,
        mean=found.mean,
        norm=found.norm,
        nan=found.nan or None,
        inf=found.inf or None,
        sketch=None if found.sketch is None else found.sketch.tobytes(),
    )


def _same(found: object, expected: object) -> bool:
    """Equality under which NaN equals NaN."""
    return repr(found) == repr(expected)


def test_a_dump_read_back_is_what_was_recorded(tmp_path: Path) -> None:
    writer = _writer(tmp_path / "step0" / "rank0")
    recorder = StepRecorder(DumpConfig(), writer)
    inputs = recorder.read(tuple(INPUTS), "Torch.add.0.forward.input")
    kwargs = recorder.read({"alpha": math.nan, "mode": "é\ud800", "where": [None, {"x": INPUTS[0]}]}, "k")
    scalars = recorder.read([True, 3, -math.inf, None, torch.float16, slice(0, 2), 2**70], "s")
    made = recorder.wrote([INPUTS[0] * 2], "o")
    recorder.emit(
        Emission(
            "Torch.add.0.forward",
            {"input_args": inputs, "input_kwargs": kwargs, "output": made, "is_recompute": True},
            "Module.fc.Linear.forward.0",
            None,
        )
    )
    recorder.emit(
        Emission("Module.fc.Linear.forward.0", {"input_args": scalars, "parameters": {"w": inputs[0]}}, None, None)
    )
    recorder.emit(_emission("Module.fc.Linear.parameters_grad.0", {"w": [inputs[0]]}))
    written = _close(writer, recorder)
    dump = read_dump(written.folder)

    assert dump.incomplete is None
    assert (dump.header.task, dump.header.device, dump.header.complete) == ("statistics", "cpu", True)
    assert dump.owners == {
        "Torch.add.0.forward": "Module.fc.Linear.forward.0",
        "Module.fc.Linear.forward.0": None,
        "Module.fc.Linear.parameters_grad.0": None,
    }
    add, linear, gradients = dump.calls
    assert add.is_recompute
    assert not linear.is_recompute
    assert [argument.name for argument in add.inputs[: len(INPUTS)]] == [f"input.{i}" for i in range(len(INPUTS))]
    for argument, entry in zip(add.inputs, inputs, strict=False):
        assert _same(argument.leaf, _expected(entry)), argument
    rest = {argument.name: argument.leaf for argument in add.inputs[len(INPUTS) :]}
    assert rest["input.mode"] == ScalarRecord("str", "é\\ud800")
    assert math.isnan(rest["input.alpha"].value)  # type: ignore[union-attr, arg-type]
    assert _same(rest["input.where.1.x"], _expected(kwargs["where"][1]["x"]))
    assert _same(add.outputs[0].leaf, _expected(made[0]))
    assert [argument.leaf for argument in linear.inputs] == [
        ScalarRecord("bool", True),
        ScalarRecord("int", 3),
        ScalarRecord("float", -math.inf),
        None,
        ScalarRecord("dtype", "torch.float16"),
        ScalarRecord("slice", [0, 2, None]),
        ScalarRecord("int", 2**70),
    ]
    assert _same(linear.parameters[0].leaf, _expected(inputs[0]))
    assert _same(gradients.outputs[0].leaf, _expected(inputs[0]))
    assert (written.calls, written.tensors) == (3, len(INPUTS) + 4)
    assert written.nbytes == sum(file.stat().st_size for file in written.folder.iterdir())


def test_files_are_strict_json_once_closed(tmp_path: Path) -> None:
    writer = _writer(tmp_path)
    recorder = StepRecorder(DumpConfig(), writer)
    for number in range(3):
        read = recorder.read([*INPUTS, math.nan, math.inf], "a")
        recorder.emit(Emission(f"Torch.add.{number}.forward", {"input_args": read}, None, recorder.take_stack()))
    _close(writer, recorder)
    for name in ("dump.json", "construct.json", "stack.json"):
        json.loads((tmp_path / name).read_text("utf-8"), parse_constant=_refuse)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["construct.json", "dump.json", "stack.json"]


def test_msprobes_word_for_nan_is_written_where_it_is_asked_for_and_read_back(tmp_path: Path) -> None:
    header = {"task": "statistics", "level": "L1", "framework": "pytorch", "format_version": 1}
    writer = StepWriter(tmp_path, header, file_format="npy", hash_name=None, nan_word=True)
    recorder = StepRecorder(DumpConfig(), writer)
    read = recorder.read(INPUTS, "a")
    arguments = recorder.read({"nan": math.nan, "inf": -math.inf, "of": [np.float32(math.nan)]}, "k")
    body = {"input_args": read, "input_kwargs": arguments}
    recorder.emit(Emission("Torch.add.0.forward", body, None, recorder.take_stack()))
    _close(writer, recorder)
    text = (tmp_path / "dump.json").read_text("utf-8")
    record = json.loads(text)["data"]["Torch.add.0.forward"]
    second = record["input_args"][1]
    assert [math.isnan(second[key]) for key in ("Max", "Min", "Mean", "Norm")] == [True] * 4
    assert '"nan":{"type":"float","value":NaN}' in text
    assert math.isnan(record["input_kwargs"]["of"][0]["value"])
    (call,) = read_dump(tmp_path).calls
    assert [_same(argument.leaf, _expected(entry)) for argument, entry in zip(call.inputs, read, strict=False)]
    assert _same(call.inputs[1].leaf, _expected(read[1]))
    assert _same(
        [argument.leaf for argument in call.inputs[-3:]],
        [ScalarRecord("float", math.nan), ScalarRecord("float", -math.inf), ScalarRecord("float32", math.nan)],
    )


def test_numpys_nan_is_read_back_from_strict_json_too(tmp_path: Path) -> None:
    writer = _writer(tmp_path)
    recorder = StepRecorder(DumpConfig(), writer)
    read = recorder.read([np.float64(math.nan), np.float32(math.inf), math.nan], "a")
    recorder.emit(Emission("Torch.add.0.forward", {"input_args": read}, None, recorder.take_stack()))
    _close(writer, recorder)
    json.loads((tmp_path / "dump.json").read_text("utf-8"), parse_constant=_refuse)
    (call,) = read_dump(tmp_path).calls
    expected = [("float64", math.nan), ("float32", math.inf), ("float", math.nan)]
    assert _same([argument.leaf for argument in call.inputs], [ScalarRecord(*each) for each in expected])


def test_a_step_without_records_is_a_dump_too(tmp_path: Path) -> None:
    _close(_writer(tmp_path))
    dump = read_dump(tmp_path)
    assert dump.calls == ()
    assert dump.incomplete is None


def test_equal_stacks_are_written_once(tmp_path: Path) -> None:
    writer = _writer(tmp_path)
    recorder = StepRecorder(DumpConfig(), writer)

    def stacks() -> Any:
        return recorder.take_stack()

    taken = [stacks() for _ in range(2)]
    taken += [stacks(), stacks()]  # on a line of its own: since Python 3.12 a comprehension has no frame
    for number, stack in enumerate(taken):
        recorder.emit(Emission(f"Torch.add.{number}.forward", {}, None, stack))
    _close(writer)
    found = read_dump(tmp_path).stacks
    assert len(found) == 4
    assert "in stacks, \n return recorder.take_stack()" in found["Torch.add.0.forward"][0]
    # The two calls on one line run different code there, and read the same.
    assert [len(calls) for calls, _ in json.loads((tmp_path / "stack.json").read_text()).values()] == [2, 2]


# ---- tensors and digests


VALUES = [
    torch.randn(3, 4),
    torch.randn(3, 4).t(),
    torch.randn(5).to(torch.bfloat16),
    torch.randn(5, dtype=torch.float64),
    torch.randn(2, 2).to(torch.float16),
    torch.arange(6),
    torch.tensor([True, False]),
    torch.tensor(3.5),
    torch.empty(0, 2),
    torch.randn(3, dtype=torch.complex64),
    torch.tensor([math.nan, -0.0, math.inf]),
    torch.randn(4).to(torch.float8_e4m3fn),
]


def _record_tensors(folder: Path, tensors: list[torch.Tensor], **settings: Any) -> tuple[Dump, CallRecord]:
    writer = _writer(folder, **settings)
    recorder = StepRecorder(DumpConfig(task="tensor"), writer)
    recorder.emit(_emission("Torch.add.0.forward", {"input_args": recorder.read(tensors, "Torch.add.0.forward.input")}))
    _close(writer, recorder)
    dump = read_dump(folder)
    return dump, dump.calls[0]


@pytest.mark.parametrize("file_format", ["pack", "safetensors", "npy", "pt"])
def test_tensor_files_hold_every_bit(tmp_path: Path, file_format: str) -> None:
    if file_format == "pt" and release(torch.__version__) < (2, 2):
        pytest.skip("torch.save of torch 2.1 stores no float8")
    _, call = _record_tensors(tmp_path, VALUES, file_format=file_format)
    for tensor, argument in zip(VALUES, call.inputs, strict=True):
        leaf = argument.leaf
        assert isinstance(leaf, TensorRecord)
        assert leaf.data_name is not None
        own = f"Torch.add.0.forward.{argument.name}.{file_format}"
        assert leaf.data_name == own or (file_format == "pack" and leaf.data_name.startswith("tensors.pack#"))
        found = read_tensor(tmp_path / "dump_tensor_data", leaf.data_name)
        narrow = tensor.dtype in (torch.bfloat16, torch.float8_e4m3fn)
        if file_format == "npy" and narrow:  # npy has no word for them and widens
            tensor = tensor.to(torch.float32)
        plain = tensor.contiguous()
        assert found.shape == tuple(tensor.shape)
        assert found.tobytes() == bytes(plain.clone().untyped_storage().tolist())
    if file_format == "pt":
        for tensor, argument in zip(VALUES, call.inputs, strict=True):
            loaded = torch.load(tmp_path / "dump_tensor_data" / argument.leaf.data_name, weights_only=True)  # type: ignore[union-attr]
            assert loaded.dtype == tensor.dtype


def test_a_second_mention_names_the_first_ones_file(tmp_path: Path) -> None:
    tensor = torch.randn(3)
    _, call = _record_tensors(tmp_path, [tensor, tensor, tensor.view(3, 1)])
    names = [argument.leaf.data_name for argument in call.inputs]  # type: ignore[union-attr]
    assert names[0] == names[1] != names[2]
    assert sorted(os.listdir(tmp_path / "dump_tensor_data")) == sorted({name for name in names if name})


@pytest.mark.parametrize("helpers", [0, 3])
def test_all_tensors_of_a_step_lie_in_one_pack_at_the_same_places_each_time(tmp_path: Path, helpers: int) -> None:
    tensors = [torch.full((1 << (3 * number % 19), 3), float(number)) for number in range(40)]
    calls = []
    for folder in (tmp_path / "one", tmp_path / "other"):
        _, call = _record_tensors(folder, [*tensors, torch.empty(0)], file_format="pack", helpers=helpers)
        calls.append(call)
        (pack,) = (folder / "dump_tensor_data").iterdir()
        for tensor, argument in zip(tensors, call.inputs, strict=False):
            name = str(argument.leaf.data_name)  # type: ignore[union-attr]
            found = read_tensor(pack.parent, name)
            assert np.array_equal(found, tensor.numpy())
            start, end = map(int, name.removeprefix("tensors.pack#").split("-"))
            assert start % 8 == 0
            assert safetensors.numpy.load(pack.read_bytes()[start:end])["tensor"].tolist() == found.tolist()
        assert read_tensor(pack.parent, str(call.inputs[-1].leaf.data_name)).shape == (0,)  # type: ignore[union-attr]
    assert calls[0] == calls[1]


def test_every_mention_has_a_pt_file_of_its_own_name(tmp_path: Path) -> None:
    writer = _writer(tmp_path, file_format="pt")
    recorder = StepRecorder(DumpConfig(task="tensor"), writer)
    value = torch.arange(3.0)
    name = "Torch.add.0.forward"
    body = {"input_args": recorder.read((value, value), f"{name}.input"), "input_kwargs": {}}
    recorder.emit(_emission(name, {**body, "output": recorder.wrote([value], f"{name}.output")}))
    _close(writer, recorder)
    folder = tmp_path / "dump_tensor_data"
    files = {f"{name}.{place}.pt" for place in ("input.0", "input.1", "output.0")}
    assert {path.name for path in folder.iterdir()} == files
    assert len({path.stat().st_ino for path in folder.iterdir()}) == 1
    (call,) = read_dump(tmp_path).calls
    assert {tensor.data_name for _, tensor in call.tensors()} == files


@pytest.mark.parametrize(("first", "second"), [("a.grad", "a.grad"), ("Tensor.T.0", "Tensor.t.0")])
def test_no_file_is_written_twice(tmp_path: Path, first: str, second: str) -> None:
    writer = _writer(tmp_path)
    recorder = StepRecorder(DumpConfig(task="tensor"), writer)
    for number, place in enumerate((first, second)):
        entry = recorder.read(torch.full((2,), float(number)), place)
        recorder.emit(_emission(f"Torch.add.{number}.forward", {"input_args": [entry]}))
    _close(writer, recorder)
    for number, call in enumerate(read_dump(tmp_path).calls):
        name = call.inputs[0].leaf.data_name  # type: ignore[union-attr]
        assert name is not None
        assert read_tensor(tmp_path / "dump_tensor_data", name).tolist() == [number, number]
    assert len({name.casefold() for name in os.listdir(tmp_path / "dump_tensor_data")}) == 2


@pytest.mark.parametrize(
    ("file_format", "name"), [("pack", "tensors.pack#0-76"), ("safetensors", "a.input.1.safetensors")]
)
def test_a_tensor_that_the_format_cannot_hold_is_named_and_the_rest_is_kept(
    tmp_path: Path, file_format: str, name: str
) -> None:
    writer = _writer(tmp_path, file_format=file_format)
    odd, even = Measured(), Measured()
    writer.store(odd, "a.input.0", _payload(4, "torch.bits8"))
    writer.store(even, "a.input.1", _payload(4))
    entries = [Entry(torch.uint8, torch.Size([4]), False, measured, None) for measured in (odd, even)]
    writer.record(_emission("Torch.add.0.forward", {"input_args": entries}))
    _close(writer)
    first, second = (argument.leaf for argument in read_dump(tmp_path).calls[0].inputs)
    assert isinstance(first, TensorRecord)
    assert isinstance(second, TensorRecord)
    assert "torch.bits8" in (first.unrecorded or "")
    assert (first.data_name, second.data_name) == (None, name)


def _digest(raw: bytes, name: str) -> str:
    if name == "xxh3":
        return importlib.import_module("xxhash").xxh3_128(raw).hexdigest()
    return hashlib.md5(raw).hexdigest() if name == "md5" else f"{zlib.crc32(raw):08x}"


@pytest.mark.parametrize("hash_name", ["md5", "crc32", "xxh3"])
def test_digests(tmp_path: Path, hash_name: str) -> None:
    if hash_name == "xxh3":
        pytest.importorskip("xxhash")
    writer = _writer(tmp_path, hash_name=hash_name)
    recorder = StepRecorder(DumpConfig(summary_mode="md5", hash=hash_name), writer)
    values = [*VALUES, torch.arange(2000.0), torch.arange(2000.0).view(40, 50).t()]
    recorder.emit(_emission("Torch.add.0.forward", {"input_args": recorder.read(values, "a")}))
    _close(writer, recorder)
    for tensor, argument in zip(values, read_dump(tmp_path).calls[0].inputs, strict=True):
        raw = bytes(tensor.contiguous().clone().untyped_storage().tolist())
        expected = _digest(raw, hash_name)
        leaf = argument.leaf
        assert isinstance(leaf, TensorRecord)
        assert (leaf.md5, leaf.max, leaf.sketch) == (expected, None, None)


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("Torch.add.0.forward.input.0", "Torch.add.0.forward.input.0"),
        ("Module.a_b-c.0", "Module.a_b-c.0"),
        ("../../etc/passwd", ".._.._etc_passwd-"),
        ("a b", "a_b-"),
        ("模块.0", "__.0-"),
        ("x" * 300, "x" * 150 + "-"),
        ("\ud800", "_-"),
    ],
)
def test_file_stem(place: str, expected: str) -> None:
    found = file_stem(place)
    if not expected.endswith("-"):
        assert found == expected
        return
    assert found.startswith(expected)
    assert len(found) == len(expected) + 12
    assert found != file_stem(place + "x")


def test_the_longest_name_fits_a_file_system(tmp_path: Path) -> None:
    _record_tensors(tmp_path, [torch.ones(1)])
    writer = _writer(tmp_path / "long")
    writer.store(Measured(), "x" * 5000, _payload(3))
    writer.store(Measured(), "x" * 5000, _payload(3))
    _close(writer)
    assert len(os.listdir(tmp_path / "long" / "dump_tensor_data")) == 2


# ---- refusals and failures


@pytest.mark.parametrize("left", ["dump.json", "construct.json", "stack.json", "dump_tensor_data/a.npy"])
def test_a_folder_that_was_used_is_refused(tmp_path: Path, left: str) -> None:
    (tmp_path / left).parent.mkdir(exist_ok=True)
    (tmp_path / left).write_bytes(b"precious")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(OutputError, match=r"holds a dump already .* Give another dump_path"):
        _writer(tmp_path)
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / left).read_bytes() == b"precious"


def test_other_files_and_an_empty_tensor_folder_are_no_dump(tmp_path: Path) -> None:
    (tmp_path / "dump_tensor_data").mkdir()
    (tmp_path / "notes.txt").write_text("mine")
    _close(_writer(tmp_path))
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("file_format", ["pack", "safetensors"])
def test_a_folder_that_was_removed_meanwhile_is_told(tmp_path: Path, file_format: str) -> None:
    writer = _writer(tmp_path / "gone", file_format=file_format)
    measured = Measured()
    writer.store(measured, "a", _payload(3))
    writer.record(_emission("Torch.add.0.forward"))
    writer.rest()
    assert measured.data_name is not None
    shutil.rmtree(tmp_path / "gone")
    with pytest.raises(OutputError, match="cannot be written"):
        _close(writer)


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        _writer(tmp_path / "file" / "step0")


@contextmanager
def _disk_with_room_for(nbytes: int) -> Iterator[None]:
    """No file may grow beyond `nbytes`; the write that tries fails with an OSError, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (nbytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("file_format", ["pack", "safetensors", "npy", "pt"])
@pytest.mark.parametrize("task", ["statistics", "tensor"])
def test_a_full_disk_gives_one_error_and_keeps_what_was_written(tmp_path: Path, task: Any, file_format: str) -> None:
    writer = _writer(tmp_path, file_format=file_format)
    recorder = StepRecorder(DumpConfig(task=task), writer)
    with _disk_with_room_for(20_000):
        for number in range(120):
            name = f"Torch.add.{number}.forward"
            read = recorder.read([torch.full((100 if number < 40 else 10_000,), float(number))], f"{name}.input")
            recorder.emit(_emission(name, {"input_args": read}))
        recorder.close()
        with pytest.raises(OutputError, match=r"make room|Free space"):
            writer.close({"complete": True})
    dump = read_dump(tmp_path)
    assert dump.incomplete is not None
    assert 30 <= len(dump.calls) < 120
    assert [call.name for call in dump.calls] == [f"Torch.add.{n}.forward" for n in range(len(dump.calls))]
    assert not list(tmp_path.rglob("*.part"))
    if task == "tensor":
        for number, call in enumerate(dump.calls):
            leaf = call.inputs[0].leaf
            assert isinstance(leaf, TensorRecord)
            assert leaf.data_name is not None
            found = read_tensor(tmp_path / "dump_tensor_data", leaf.data_name)
            assert set(found.tolist()) == {float(number)}


def _python(source: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", source, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )


_ENDLESS = """
import sys, torch
from pathlib import Path
from dump.config import DumpConfig
from dump.record.entries import Emission
from dump.record.recorder import StepRecorder
from dump.write.writer import StepWriter

header = {"task": "tensor", "level": "L1", "format_version": 1}
writer = StepWriter(Path(sys.argv[1]), header, file_format=sys.argv[2], hash_name="md5")
recorder = StepRecorder(DumpConfig(task="tensor"), writer)
number = 0
while True:
    name = f"Torch.add.{number}.forward"
    read = recorder.read([torch.full((50,), float(number))], f"{name}.input")
    recorder.emit(Emission(name, {"input_args": read}, "Module.m.M.forward.0", recorder.take_stack()))
    number += 1
    if number == 200:
        print("going", flush=True)
"""


@pytest.mark.parametrize("file_format", ["pack", "safetensors"])
def test_a_killed_process_leaves_every_finished_line(tmp_path: Path, file_format: str) -> None:
    folder = tmp_path / "dump"
    child = _python(_ENDLESS, folder, file_format)
    assert child.stdout is not None
    assert child.stdout.readline() == "going\n"
    time.sleep(0.2)
    child.send_signal(signal.SIGKILL)
    child.communicate()
    assert child.returncode == -signal.SIGKILL
    finished = (folder / "dump.json").read_bytes().count(b"\n") - 1
    dump = read_dump(folder)
    assert dump.incomplete is not None
    assert len(dump.calls) == finished > 0
    for number, call in enumerate(dump.calls):
        leaf = call.inputs[0].leaf
        assert isinstance(leaf, TensorRecord)
        assert (call.name, leaf.max) == (f"Torch.add.{number}.forward", float(number))
        assert leaf.data_name is not None
        assert read_tensor(folder / "dump_tensor_data", leaf.data_name).tolist() == [float(number)] * 50
    assert len(dump.owners) >= finished - 1
    assert len(dump.stacks) >= finished - 1


def test_an_unfinished_dump_can_be_read_while_it_grows(tmp_path: Path) -> None:
    writer = _writer(tmp_path)
    writer.record(_emission("Torch.add.0.forward"))
    deadline = time.monotonic() + 10
    while (tmp_path / "dump.json").read_bytes().count(b"\n") < 2:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    assert len(read_dump(tmp_path).calls) == 1
    _close(writer)


@pytest.mark.parametrize("many", [1, 63, 64, 65, 200])
def test_records_keep_their_order_however_many_go_together(tmp_path: Path, many: int) -> None:
    writer = _writer(tmp_path)
    names = [f"Torch.add.{number}.forward" for number in range(many)]
    for name in names:
        writer.record(_emission(name))
    assert writer.close({"complete": True}).calls == many
    assert list(json.loads((tmp_path / "dump.json").read_bytes())["data"]) == names


def test_a_bug_of_ours_reaches_the_user_as_one_error(tmp_path: Path) -> None:
    writer = _writer(tmp_path)
    writer.record(_emission("Torch.add.0.forward"))
    writer.record(_emission("Torch.add.1.forward", None))
    writer.record(Emission("Torch.add.2.forward", 3, None, None))  # type: ignore[arg-type]
    writer.record(_emission("Torch.add.3.forward"))
    with pytest.raises(OutputError, match="a record could not be written"):
        _close(writer)
    assert len(read_dump(tmp_path).calls) == 2


# ---- the queue


class _Held(dict[str, Any]):
    """A record's body that keeps the writer's thread until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()

    def items(self) -> Any:
        self.go.wait(20)
        return super().items()


def test_contents_wait_within_their_budget(tmp_path: Path) -> None:
    writer = _writer(tmp_path, budget=1000, helpers=0)
    body = _Held()
    writer.store(Measured(), "a", _payload(400))  # after contents, records are the thread's
    while writer._backlog.nbytes:
        time.sleep(0.001)
    writer.record(Emission("Torch.add.0.forward", body, None, None))
    for place in ("b", "c", "d"):
        writer.store(Measured(), place, _payload(400))
    files = os.listdir(tmp_path / "dump_tensor_data")
    assert (writer._backlog.nbytes, len(files)) == (800, 2)  # the last did not wait, and has no name yet
    body.go.set()
    _close(writer)
    assert sorted(os.listdir(tmp_path / "dump_tensor_data")) == [f"{stem}.safetensors" for stem in "abcd"]


def test_a_record_is_written_after_the_files_that_it_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go = threading.Event()
    write = TensorFiles.write

    def late(files: TensorFiles, name: str, payload: Contents) -> int:
        go.wait(20)
        return write(files, name, payload)

    monkeypatch.setattr(TensorFiles, "write", late)
    writer = _writer(tmp_path, helpers=2)
    recorder = StepRecorder(DumpConfig(task="tensor"), writer)
    for number in range(3):
        name = f"Torch.add.{number}.forward"
        recorder.emit(_emission(name, {"input_args": recorder.read((torch.ones(number + 1),), f"{name}.input")}))
    time.sleep(0.05)
    assert read_dump(tmp_path).calls == ()
    go.set()
    _close(writer, recorder)
    assert len(read_dump(tmp_path).calls) == 3


@pytest.mark.parametrize("file_format", ["pack", "safetensors"])
def test_a_recorder_is_never_left_waiting_after_a_failure(tmp_path: Path, file_format: str) -> None:
    writer = _writer(tmp_path, budget=10, file_format=file_format)
    (tmp_path / "dump_tensor_data").rmdir()
    for number in range(50):
        writer.store(Measured(), f"a.{number}", _payload(400))
    with pytest.raises(OutputError):
        _close(writer)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_leaves_the_parents_dump_alone(tmp_path: Path) -> None:
    writer = _writer(tmp_path)
    writer.record(_emission("Torch.add.0.forward"))
    child = os.fork()
    if not child:  # as a loader's worker: more records than the queue holds, and no thread to take them
        try:
            for number in range(5000):
                writer.record(_emission(f"Torch.sub.{number}.forward"))
            writer.store(Measured(), "a", _payload(3))
            writer.close({"complete": False})
        finally:
            os._exit(0)
    deadline = time.monotonic() + 20
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            pytest.fail("the child waits for a thread that it does not have")
        time.sleep(0.01)
    writer.record(_emission("Torch.add.1.forward"))
    _close(writer)
    dump = read_dump(tmp_path)
    assert dump.incomplete is None
    assert [call.name for call in dump.calls] == ["Torch.add.0.forward", "Torch.add.1.forward"]


def _ours_at_a_fork(writer: StepWriter) -> bool:
    """Are there threads of ours when the process forks?"""
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
    return writer._thread is not None or bool(writer._backlog._threads)


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")  # threads of torch's
def test_a_fork_meets_no_thread_of_ours_and_loses_nothing(tmp_path: Path) -> None:
    writer = _writer(tmp_path / "dump", helpers=2)
    names = [f"Torch.add.{number}.forward" for number in range(200)]
    for number, name in enumerate(names):
        if number in (50, 100):
            entry = Measured()
            writer.store(entry, f"{name}.input.0", _payload(1 << 22))
            assert not _ours_at_a_fork(writer)
        writer.record(_emission(name))
    assert writer._thread is not None
    assert writer._thread.is_alive()
    assert writer.close({}).calls == 200
    assert [call.name for call in read_dump(tmp_path / "dump").calls] == names
    assert not _ours_at_a_fork(writer)


def test_what_waits_is_written_before_a_fork(tmp_path: Path) -> None:
    writer = _writer(tmp_path / "dump")
    writer.record(_emission("Torch.add.0.forward"))
    assert not _ours_at_a_fork(writer)
    assert b"Torch.add.0.forward" in (tmp_path / "dump" / "dump.json").read_bytes()
    writer.close({})
