from __future__ import annotations

import base64
import gc
import json
import math
import os
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dump.format import FORMAT_VERSION, encode
from dump.format.errors import DumpCorrupt, DumpError, DumpNotFound
from dump.format.reader import read_dump
from dump.format.schema import Dump, ScalarRecord, TensorRecord

_FLOATS = tuple(float(i) for i in range(16))
_SKETCH = struct.pack("<16f", *_FLOATS)


def _tensor(**fields: Any) -> dict[str, Any]:
    tensor = {"type": "torch.Tensor", "dtype": "torch.float32", "shape": [2, 3], "Max": 3.0, "Min": -1}
    return {**tensor, "Mean": 0.5, "Norm": 4.0, "requires_grad": True, **fields}


def _ours(records: dict[str, Any], *, trailer: dict[str, Any] | None = None, **header: Any) -> bytes:
    head = {"task": "statistics", "level": "mix", "framework": "pytorch", "format_version": 1, **header}
    lines = [encode.record(name, body, first=not index) for index, (name, body) in enumerate(records.items())]
    return encode.opening(head) + b"".join(lines) + encode.closing({"complete": True} if trailer is None else trailer)


def _msprobe(records: dict[str, Any], **header: Any) -> bytes:
    head = {"task": "statistics", "level": "L1", "framework": "pytorch", "dump_data_dir": None, **header}
    return json.dumps({**head, "data": records}, indent=1).encode()


def _read(folder: Path, data: bytes) -> Dump:
    (folder / "dump.json").write_bytes(data)
    return read_dump(folder)


RECORDS: dict[str, Any] = {
    "Functional.linear.0.forward": {
        "input_args": [
            _tensor(value=1, storage=9, sketch=base64.b64encode(_SKETCH).decode(), nan=0, inf=0),
            [None],
        ],
        "input_kwargs": {"bias": None, "size": {"type": "int", "value": 3}, "opts": {"a": [_tensor(), None]}},
        "output": _tensor(dtype="torch.bfloat16", shape=[], grad_fn="AddmmBackward0"),
        "parameters": {"weight": _tensor(data_name="w.npy")},
        "written": {"input.0": _tensor(unrecorded="too big")},
        "is_recompute": True,
    },
    "Functional.linear.0.backward": {"input": [_tensor()], "output": [None, _tensor(Max=None)]},
    "Module.fc.Linear.parameters_grad.0": {"weight": [_tensor()], "bias": [_tensor()]},
}


@pytest.mark.parametrize("write", [_ours, _msprobe])
def test_every_part_of_a_record_finds_its_name(tmp_path: Path, write: Any) -> None:
    dump = _read(tmp_path, write(RECORDS))
    forward, backward, gradients = dump.calls
    assert dump.path == tmp_path
    assert dump.incomplete is None
    assert dump.mode == "statistics"
    assert [call.name for call in dump.calls] == list(RECORDS)
    assert [call.index for call in dump.calls] == [0, 1, 2]
    assert [each.name for each in forward.inputs] == [
        "input.0",
        "input.1.0",
        "input.bias",
        "input.size",
        "input.opts.a.0",
        "input.opts.a.1",
    ]
    assert forward.inputs[0].leaf == TensorRecord("torch.float32", (2, 3), 3.0, -1, 0.5, 4.0, True, 0, 0, _SKETCH, 1, 9)
    assert forward.inputs[1].leaf is None
    assert forward.inputs[3].leaf == ScalarRecord("int", 3)
    assert [each.name for each in forward.outputs] == ["output.0"]
    output = forward.outputs[0].leaf
    assert isinstance(output, TensorRecord)
    assert (output.dtype, output.shape, output.grad_fn) == ("torch.bfloat16", (), "AddmmBackward0")
    assert [each.name for each in forward.parameters] == ["parameters.weight"]
    assert [each.name for each in forward.written] == ["written.input.0"]
    assert forward.is_recompute
    assert [each.name for each in backward.inputs + backward.outputs] == ["input.0", "output.0", "output.1"]
    assert not backward.is_recompute
    assert [each.name for each in gradients.outputs] == ["parameters_grad.weight", "parameters_grad.bias"]
    assert gradients.inputs == ()


def test_scalars_of_every_kind(tmp_path: Path) -> None:
    values = [
        {"type": "slice", "value": [None, 2, None]},
        {"type": "torch.memory_format", "format": "channels_last"},
        {"type": "float", "value": encode.plain(math.nan)},
        {"type": "float", "value": encode.plain(-math.inf)},
        {"type": "str", "value": "nan"},
        {"class_type": "P2POp", "tensor": _tensor(), "peer": 1},
    ]
    arguments = _read(tmp_path, _ours({"Torch.f.0.forward": {"input_args": values}})).calls[0].inputs
    leaves = {each.name: each.leaf for each in arguments}
    assert leaves["input.0"] == ScalarRecord("slice", [None, 2, None])
    assert leaves["input.1"] == ScalarRecord("torch.memory_format", {"format": "channels_last"})
    assert isinstance(leaves["input.2"], ScalarRecord)
    assert math.isnan(leaves["input.2"].value)  # type: ignore[arg-type]
    assert leaves["input.3"] == ScalarRecord("float", -math.inf)
    assert leaves["input.4"] == ScalarRecord("str", "nan")
    assert leaves["input.5.peer"] == ScalarRecord("int", 1)
    assert isinstance(leaves["input.5.tensor"], TensorRecord)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (
            {"Max": math.inf, "Min": -math.inf, "Mean": math.nan, "inf": 2, "nan": 0},
            (math.inf, -math.inf, math.nan),
        ),
        ({"Max": math.nan, "Min": math.nan, "Mean": math.nan, "nan": 1}, (math.nan, math.nan, math.nan)),
        ({"Max": None, "Min": None, "Mean": None, "nan": 0, "inf": 0}, (None, None, None)),
        ({"Max": "Infinity", "Min": "-inf", "Mean": "NaN"}, (math.inf, -math.inf, math.nan)),
        ({"Max": True, "Min": False, "Mean": 2**80}, (1, 0, float(2**80))),
    ],
    ids=["infinite", "nan", "unmeasured", "words", "odd"],
)
def test_statistics_that_strict_json_has_no_number_for(
    tmp_path: Path, fields: dict[str, Any], expected: tuple[object, ...]
) -> None:
    body = {"output": [encode.plain(_tensor(**fields))]}
    leaf = _read(tmp_path, _ours({"Torch.f.0.forward": body})).calls[0].outputs[0].leaf
    assert isinstance(leaf, TensorRecord)
    assert repr((leaf.max, leaf.min, leaf.mean)) == repr(expected)


@pytest.mark.parametrize("text", ["plain", 'NaN "Infinity"', "\ud800", "\U0001f600"], ids=ascii)
def test_msprobes_words_for_non_finite_numbers(tmp_path: Path, text: str) -> None:
    body = {"input_args": [{"type": "str", "value": text}], "output": [_tensor(Max=math.nan, Min=-math.inf)]}
    call = _read(tmp_path, _msprobe({"Torch.f.0.forward": body})).calls[0]
    leaf = call.outputs[0].leaf
    assert isinstance(leaf, TensorRecord)
    assert repr((leaf.max, leaf.min)) == "(nan, -inf)"
    assert call.inputs[0].leaf == ScalarRecord("str", text.replace("\ud800", "\ufffd"))


@pytest.mark.parametrize(("digest", "algorithm"), [("0a1b2c3d", "crc32"), ("0" * 32, "md5")])
def test_a_dump_of_msprobes_with_checksums_is_known_by_them(tmp_path: Path, digest: str, algorithm: str) -> None:
    dump = _read(tmp_path, _msprobe({"Torch.f.0.forward": {"output": [_tensor(md5=digest)]}}))
    assert (dump.mode, dump.header.hash) == ("md5", algorithm)


def test_the_header_and_what_follows_the_data(tmp_path: Path) -> None:
    trailer = {"complete": True, "coverage": {"unseen": 3}}
    header = _read(tmp_path, _ours({}, trailer=trailer, device="npu", world_size=8, new_key=1)).header
    assert (header.task, header.level, header.device, header.world_size) == ("statistics", "mix", "npu", 8)
    assert header.coverage == {"unseen": 3}
    assert header.complete is True


def test_a_cut_file_of_ours_loses_only_its_last_line(tmp_path: Path) -> None:
    whole = _ours(RECORDS)
    starts = [0, *(at + 1 for at, byte in enumerate(whole) if byte == ord("\n"))]
    for size in range(starts[1], len(whole) - 1):
        dump = _read(tmp_path, whole[:size])
        written = sum(1 for end in starts[2:5] if end - 1 <= size)
        assert len(dump.calls) == written, size
        assert dump.incomplete is not None
        assert (dump.incomplete.kind, dump.incomplete.calls) == ("no_end", written)


def test_a_tail_of_zero_bytes_is_a_cut(tmp_path: Path) -> None:
    whole = _ours(RECORDS)
    dump = _read(tmp_path, whole[: whole.rindex(b"}") - 10] + b"\0" * 300)
    assert len(dump.calls) == 3
    assert dump.incomplete is not None


def test_a_sparse_file_of_gigabytes_takes_the_memory_of_its_text(tmp_path: Path) -> None:
    path = tmp_path / "dump.json"
    path.write_bytes(_ours(RECORDS))
    whole = path.stat().st_size
    os.truncate(path, 5 << 30)
    tracemalloc.start()
    dump = read_dump(tmp_path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100 << 20
    assert len(dump.calls) == len(RECORDS)
    assert dump.incomplete is not None
    with path.open("r+b") as file:
        file.seek(-2, os.SEEK_END)
        file.write(b"}}")
    with pytest.raises(DumpCorrupt, match=f"NUL at byte {whole:,}"):
        read_dump(tmp_path)


def test_a_dump_closed_early_is_incomplete_and_msprobes_is_not(tmp_path: Path) -> None:
    for trailer in ({"complete": False}, {}):
        incomplete = _read(tmp_path, _ours(RECORDS, trailer=trailer)).incomplete
        assert incomplete is not None
        assert incomplete.kind == "early"
    assert _read(tmp_path, _msprobe(RECORDS)).incomplete is None


def test_a_bad_line_among_good_ones_is_named(tmp_path: Path) -> None:
    lines = _ours(RECORDS).split(b"\n")
    lines[2] = lines[2][:-5]
    with pytest.raises(DumpCorrupt, match="line 3 is not a record"):
        _read(tmp_path, b"\n".join(lines))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"\x80\x02}q", "bytes of another kind"),
        (b"PK\x03\x04", "bytes of another kind"),
        (b"[1]", "bytes of another kind"),
        (b'{"task":"statistics","level"', "ends at byte 28 in the middle"),
        (_msprobe(RECORDS)[:700], "ends at byte 700 in the middle"),
        (_msprobe({"a": math.nan})[:-3], "not valid JSON"),
        (b"{}", "lacks the key 'data'"),
        (b'{"data": []}', "an object with the key 'data'"),
        (b'{"data": {}}', "task: expected a string, found null"),
        (_msprobe({}, level=3), "level: expected a string, found 3"),
        (_msprobe({}, task=["x"]), "task: expected a string, found a list of 1"),
        (_ours({}, format_version=FORMAT_VERSION + 1), f"written in format {FORMAT_VERSION + 1}"),
        (_ours({}, world_size="8"), "world_size: expected an integer, found '8'"),
        (_ours({}, trailer={"complete": 1}), "complete: expected true or false, found 1"),
        (b'{"task":"s","level":"\xff","data":{}}', "not valid JSON"),
    ],
    ids=range(17),
)
def test_what_is_no_dump_is_refused_in_one_line(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(DumpCorrupt, match=message) as caught:
        _read(tmp_path, data)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_a_byte_order_mark_is_no_fault(tmp_path: Path) -> None:
    assert len(_read(tmp_path, b"\xef\xbb\xbf" + _msprobe(RECORDS)).calls) == 3


def test_a_missing_file_is_not_found(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none", tmp_path / "none.json"):
        with pytest.raises(DumpNotFound, match="no such file"):
            read_dump(path)
    (tmp_path / "dump.json").mkdir()
    with pytest.raises(DumpNotFound):
        read_dump(tmp_path)


def test_a_file_of_another_name_is_read(tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_bytes(_ours(RECORDS))
    assert len(read_dump(tmp_path / "mine.json").calls) == 3


_HUGE = encode.msgspec.Raw(b"1" * 5000)
_BAD_FIELDS: list[tuple[dict[str, Any], str]] = [
    ({"dtype": None}, "dtype: expected a string"),
    ({"shape": 3}, "shape: expected a list"),
    ({"shape": [-1]}, "shape: expected sizes of 0 or more, found -1"),
    ({"shape": [1.0]}, "shape: expected sizes"),
    ({"shape": [True]}, "shape: expected sizes of 0 or more, found true"),
    ({"shape": [[]]}, "shape: expected sizes"),
    ({"shape": [2**62, 4]}, "shape: expected at most"),
    ({"shape": [1] * 65}, "shape: expected at most 64 dimensions"),
    ({"Norm": []}, "Norm: expected a number, found a list of 0"),
    ({"Max": "big"}, "Max: expected a number, found 'big'"),
    ({"Min": {"a": 1}}, "Min: expected a number"),
    ({"Mean": 10**400}, "Mean: expected a number, found an integer of"),
    ({"nan": -1}, "nan: expected a count"),
    ({"inf": 0.5}, "inf: expected a count"),
    ({"requires_grad": 1}, "requires_grad: expected true or false"),
    ({"value": "1"}, "value: expected an integer"),
    ({"storage": 2**80}, "storage: expected an integer"),
    ({"sketch": "AAAA"}, "sketch: expected base64 of 64 bytes"),
    ({"sketch": "é"}, "sketch: expected base64"),
    ({"sketch": 5}, "sketch: expected base64"),
    ({"md5": 0.5}, "md5: expected a string"),
    ({"data_name": ["a"]}, "data_name: expected a string"),
]


@pytest.mark.parametrize(("fields", "message"), _BAD_FIELDS, ids=range(len(_BAD_FIELDS)))
def test_a_wrong_field_of_a_tensor_is_named_with_its_call(tmp_path: Path, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(DumpCorrupt, match=rf"Torch\.f\.0\.forward: output\.0\.{message}"):
        _read(tmp_path, _ours({"Torch.f.0.forward": {"output": [_tensor(**fields)]}}))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ([], "record: expected an object, found a list"),
        ({"input_kwargs": []}, "input_kwargs: expected an object"),
        ({"parameters": 3}, "parameters: expected an object"),
        ({"written": [1]}, "written: expected an object"),
        ({"output": 5}, "output: expected a list, found 5"),
        ({"output": [_tensor(), 5]}, r"output\.1: expected an object, found 5"),
        ({"input_args": [["...", True]]}, r"input\.0\.1: expected an object, found true"),
        ({"input_args": "x"}, "input: expected a list, found 'x'"),
        ({"is_recompute": "no"}, "is_recompute: expected true or false"),
        ({"output": [{"type": "torch.Tensor"}]}, "output.0.dtype: expected a string, found null"),
        ({"output": [_HUGE]}, "not valid JSON"),
        ({"input_kwargs": {"k" * 2000: [1]}}, "a name of at most 1024"),
    ],
    ids=range(12),
)
def test_a_wrong_record_is_named_with_its_call(tmp_path: Path, body: Any, message: str) -> None:
    with pytest.raises(DumpCorrupt, match=rf"Torch\.f\.0\.forward: .*{message}"):
        _read(tmp_path, _ours({"Torch.f.0.forward": body}))


@pytest.mark.parametrize("depth", [65, 300, 10_000, 100_000])
@pytest.mark.parametrize("inside", ['{"input_args":[%s]}', '{"output":[{"type":"int","value":%s}]}', "%s"])
@pytest.mark.parametrize("header", [b'{"task":"s","level":"L1","data": {\n', b'{"task":"s","level":"L1","data":{\r'])
def test_deep_nesting_is_refused_with_the_calls_name(tmp_path: Path, depth: int, inside: str, header: bytes) -> None:
    body = (inside % ("[" * depth + "]" * depth)).encode()
    with pytest.raises(DumpCorrupt, match=r"Torch\.f\.0\.forward"):
        _read(tmp_path, header + b'"Torch.f.0.forward":' + body + b"\n}}\n")


def test_nesting_within_the_bound_is_read(tmp_path: Path) -> None:
    body = b'{"input_args":' + b"[" * 64 + b"null" + b"]" * 64 + b"}"
    dump = _read(tmp_path, b'{"task":"s","level":"L1","data":{"Torch.f.0.forward":' + body + b"}}")
    assert dump.calls[0].inputs[0].name == "input" + ".0" * 64


def test_stacks_and_owners_are_read_beside_the_dump(tmp_path: Path) -> None:
    (tmp_path / "stack.json").write_text(json.dumps({"0": [["a", "b"], ["f1", "f2"]], "1": [["c"], []]}))
    (tmp_path / "construct.json").write_text(json.dumps({"a": "Module.m.M.forward.0", "b": None}, indent=1))
    dump = _read(tmp_path, _ours(RECORDS))
    assert dump.stacks == {"a": ("f1", "f2"), "b": ("f1", "f2"), "c": ()}
    assert dump.owners == {"a": "Module.m.M.forward.0", "b": None}


def test_without_neighbours_there_are_none(tmp_path: Path) -> None:
    dump = _read(tmp_path, _ours(RECORDS))
    assert (dump.stacks, dump.owners) == ({}, {})


def test_the_older_stack_json_of_msprobe(tmp_path: Path) -> None:
    (tmp_path / "stack.json").write_text(json.dumps({"a": ["f1", "f2"]}))
    assert _read(tmp_path, _ours(RECORDS)).stacks == {"a": ("f1", "f2")}


def test_a_stack_journal_stands_in_for_stack_json(tmp_path: Path) -> None:
    lines = [encode.stack_line(0, ["f1"]), encode.stack_use_line("a", 0), encode.stack_use_line("b", 5)]
    (tmp_path / "stack.partial.jsonl").write_bytes(b"".join(lines) + b'{"call":"c","id')
    assert _read(tmp_path, _ours(RECORDS)).stacks == {"a": ("f1",)}


def test_a_cut_construct_json_is_read_up_to_its_last_whole_line(tmp_path: Path) -> None:
    (tmp_path / "dump.json").write_bytes(_ours(RECORDS))
    entries = [encode.record(name, "m", first=name == "a") for name in "abc"]
    for whole in (
        encode.CONSTRUCT_OPENING + b"".join(entries) + encode.CONSTRUCT_CLOSING,
        json.dumps(dict.fromkeys("abc", "m"), indent=1).encode(),
    ):
        for size in range(len(whole)):
            (tmp_path / "construct.json").write_bytes(whole[:size])
            owners = read_dump(tmp_path).owners
            assert owners == dict.fromkeys("abc"[: len(owners)], "m")
            assert len(owners) >= whole[:size].count(b"\n") - 1 - (size > whole.rindex(b"}"))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("stack.json", '{"0": 3}', "0: expected .*call names"),
        ("stack.json", '{"0": [["a"], [1]]}', "0: expected .*call names"),
        ("stack.json", "{", "middle of a value"),
        ("construct.json", '{"a": 3}', "a: expected the name of a module's call"),
        ("construct.json", '{\n"a": x\n,"b": null\n}', "not valid JSON"),
        ("construct.json", "[]", "bytes of another kind. Move it away"),
        ("stack.json", "garbled", "bytes of another kind. Move it away"),
        ("construct.json", '{"a":' * 5000, "nests deeper"),
    ],
    ids=range(8),
)
def test_a_neighbour_that_is_wrong_is_named(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(DumpCorrupt, match=rf"{name}: .*{message}"):
        _read(tmp_path, _ours(RECORDS))


def test_reading_leaves_the_garbage_collector_as_it_was(tmp_path: Path) -> None:
    _read(tmp_path, _ours(RECORDS))
    assert gc.isenabled()
    with pytest.raises(DumpCorrupt):
        _read(tmp_path, _ours({"a": 1}))
    assert gc.isenabled()


_anything = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "dtype", "shape", "value", "Max", "x"]) | st.text(), inner, max_size=4
        )
    ),
    max_leaves=12,
)


def _read_or_refuse(folder: Path, data: bytes) -> None:
    refusal = ""
    try:
        dump = _read(folder, data)
        assert all(tensor.numel >= 0 for call in dump.calls for _, tensor in call.tensors())
    except DumpError as error:
        refusal = str(error)
    assert "\n" not in refusal


@_anything
@given(data=st.binary(max_size=200))
def test_random_bytes_give_a_dump_or_a_dump_error(tmp_path: Path, data: bytes) -> None:
    _read_or_refuse(tmp_path, data)


@_anything
@given(body=_JSON, key=st.sampled_from(["input_args", "output", "parameters", "written", "is_recompute"]))
def test_random_records_give_a_dump_or_a_dump_error(tmp_path: Path, body: Any, key: str) -> None:
    _read_or_refuse(tmp_path, _msprobe({"Torch.f.0.forward": {key: body}, "Torch.g.0.forward": body}))


@_anything
@given(
    ours=st.booleans(),
    at=st.floats(0, 1),
    cut=st.integers(0, 40),
    put=st.one_of(
        st.binary(max_size=4),
        st.sampled_from([b"NaN", b"-", b"[", b"}", b'"', b"null", b"\\ud800", b"1e999"]),
    ),
)
def test_mutated_dumps_give_a_dump_or_a_dump_error(tmp_path: Path, ours: bool, at: float, cut: int, put: bytes) -> None:
    whole = _ours(RECORDS) if ours else _msprobe(RECORDS)
    start = int(at * len(whole))
    _read_or_refuse(tmp_path, whole[:start] + put + whole[start + cut :])


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("NAN", "line 2 is not a record"),
        ("9" * 5000, "thousands of digits"),
    ],
)
def test_a_number_that_json_does_not_have_is_named(tmp_path: Path, value: str, message: str) -> None:
    data = _ours({name: {"input_args": [_tensor()]} for name in ("Torch.add.0.forward", "Torch.add.1.forward")})
    (tmp_path / "dump.json").write_bytes(data.replace(b"3.0", value.encode(), 1))
    with pytest.raises(DumpCorrupt, match=message) as found:
        read_dump(tmp_path)
    assert len(str(found.value)) < 400


@pytest.mark.parametrize("ending", [b"", b"cut"], ids=["closed", "killed"])
def test_the_word_nan_is_read_in_a_dump_of_ours(tmp_path: Path, ending: bytes) -> None:
    """As a recording under msprobe's name writes it; a call of that name hides nothing."""
    names = ("Torch.add.0.forward", "Functional.NaN.0.forward")
    data = _ours({name: {"input_args": [_tensor(Max=3.0)], "output": [_tensor()]} for name in names})
    data = data.replace(b'"Max":3.0', b'"Max":NaN')
    if ending:
        data = data[: data.rindex(b"}", 0, data.rindex(b"}", 0, -3))]
    (tmp_path / "dump.json").write_bytes(data)
    dump = read_dump(tmp_path)
    assert (dump.incomplete is not None) == bool(ending)
    (argument,) = dump.calls[0].inputs
    assert isinstance(argument.leaf, TensorRecord)
    assert math.isnan(argument.leaf.max or 0.0)


def test_names_of_calls_are_one_object_in_a_dump_and_its_neighbours_and_on_both_sides() -> None:
    one, other = (read_dump(Path(f"sample_dumps/{name}/step0/rank0")) for name in ("healthy", "bench_statistics"))
    name = one.calls[0].name
    assert all(any(name is each for each in names) for names in (one.owners, one.stacks, other.owners, other.stacks))
    assert name is other.calls[0].name
