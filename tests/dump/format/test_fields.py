"""The tables of keys are what the code goes by, and what docs/format.md says."""

from __future__ import annotations

import dataclasses
import json
import runpy
from pathlib import Path

import msgspec
import pytest
import torch

from dump.config import DumpConfig
from dump.format import encode
from dump.format.decode import RecordDecoder
from dump.format.errors import DumpCorrupt
from dump.format.fields import CALL_FIELDS, FORMAT_VERSION, HEADER_FIELDS, HISTORY, TENSOR_FIELDS, TENSOR_TYPE, keys
from dump.format.schema import CallRecord, CollectiveRecord, Header, LayoutRecord, TensorRecord
from dump.format.typed import call_of
from dump.write.header import closing_keys, opening_keys

ROOT = Path(__file__).parents[3]
VALUES = ["torch.float32", [2], 1.5, -2, 0.5, 2.5, True, "MulBackward0", "why", "ab" * 16, "f.npy", None, None]
VALUES += [encode.sketch_text(bytes(64)), 7, 3, [4]]
VALUES += [True, {"shape": [4], "mesh": [[0], [1]], "placements": ["S(0)", "R"]}, [0, 3]]
VALUES += [encode.sketch_text(bytes(16))]


def test_a_key_stands_once_and_becomes_an_attribute() -> None:
    for fields, kind in ((TENSOR_FIELDS, TensorRecord), (HEADER_FIELDS, Header)):
        names = [field.name for field in fields]
        assert len(set(names)) == len(names)
        own = kind.__struct_fields__ if kind is TensorRecord else [each.name for each in dataclasses.fields(kind)]
        assert set(names) == set(own)


def test_the_current_version_is_the_last_of_the_history() -> None:
    assert max(HISTORY) == FORMAT_VERSION
    assert all(field.since in HISTORY for field in (*TENSOR_FIELDS, *HEADER_FIELDS, *CALL_FIELDS))


def test_what_is_encoded_is_decoded_both_ways() -> None:
    record = encode.tensor(*VALUES)
    assert list(json.loads(encode.body({"record": record}))["record"]) == [
        "type",
        *(f.key for f, value in zip(TENSOR_FIELDS, VALUES, strict=True) if value is not None),
    ]
    line = encode.record("Torch.mul.0.forward", {"input_args": [record], "input_kwargs": {}, "output": []}, first=True)
    body = line.partition(b":")[2]
    slow = RecordDecoder("a test").call("Torch.mul.0.forward", 0, json.loads(body))
    assert call_of(RecordDecoder("a test"), "Torch.mul.0.forward", 0, msgspec.Raw(body)) == slow
    (_, found), *_ = slow.tensors()
    assert (found.dtype, found.shape, found.max, found.min) == ("torch.float32", (2,), 1.5, -2)
    assert (found.sketch, found.value, found.storage, found.data_name) == (bytes(64), 7, 3, "f.npy")
    assert found.stride == (4,)
    assert found.unwritten
    assert found.partition == (0, 3)
    assert found.layout == LayoutRecord((4,), (0, 1), (2, 1), ("S(0)", "R"))


def test_a_collective_is_decoded_both_ways() -> None:
    told = {"kind": "all_reduce", "group": "0", "ranks": [0, 3], "order": 7}
    line = encode.record("Distributed.all_reduce.0.forward", {"input_args": [], "collectives": [told]}, first=True)
    body = line.partition(b":")[2]
    slow = RecordDecoder("a test").call("Distributed.all_reduce.0.forward", 0, json.loads(body))
    assert slow.collectives == (CollectiveRecord("all_reduce", "0", (0, 3), 7),)
    assert call_of(RecordDecoder("a test"), "Distributed.all_reduce.0.forward", 0, msgspec.Raw(body)) == slow


@pytest.mark.parametrize(
    "collectives",
    [{}, [1], [{"kind": "k", "group": "g", "ranks": 1, "order": 0}], [{"kind": 1}], [{"kind": "k", "group": "g"}]],
)
def test_a_collective_of_the_wrong_kind_is_refused(collectives: object) -> None:
    with pytest.raises(DumpCorrupt, match="collectives"):
        RecordDecoder("a test").call("Distributed.all_reduce.0.forward", 0, {"collectives": collectives})


@pytest.mark.parametrize(
    "layout",
    [
        1,
        {"shape": [2], "mesh": [0, 1], "placements": []},
        {"shape": [2], "mesh": [[0], [1, 2]], "placements": ["R", "R"]},
        {"shape": [2], "mesh": [0.5], "placements": ["R"]},
        {"shape": None, "mesh": [0], "placements": ["R"]},
        {"shape": [2], "mesh": [0], "placements": [3]},
    ],
)
def test_a_layout_of_the_wrong_kind_is_refused(layout: object) -> None:
    with pytest.raises(DumpCorrupt, match="layout"):
        RecordDecoder("a test").layout("input.0", layout)


def test_a_key_left_out_and_a_key_that_is_null() -> None:
    record = encode.tensor(*[encode.NULL if field.key == "Max" else None for field in TENSOR_FIELDS])
    assert json.loads(encode.record("c", {"record": record}, first=True).partition(b":")[2])["record"] == {
        "type": TENSOR_TYPE,
        "Max": None,
    }


def test_the_header_that_is_written_is_in_the_table(tmp_path: Path) -> None:
    first = opening_keys(DumpConfig(), tmp_path)
    last = closing_keys({"cpu"}, {}, complete=True)
    order = [field.key for field in HEADER_FIELDS]
    assert [*first] == order[: len(first)]
    assert set(last) <= set(order[len(first) :])
    assert first["torch_version"] == torch.__version__


def test_the_parts_of_a_call_are_in_the_table() -> None:
    assert {field.key for field in CALL_FIELDS} >= {"parameters", "written", "is_recompute"}
    assert set(CallRecord.__struct_fields__) >= {"parameters", "written", "is_recompute"}


@pytest.mark.parametrize(
    ("kinds", "expected"), [(("number",), ("Max", "Min", "Mean", "Norm")), (("sketch",), ("sketch",))]
)
def test_keys_by_kind(kinds: tuple[str, ...], expected: tuple[str, ...]) -> None:
    assert keys(TENSOR_FIELDS, *kinds) == expected  # type: ignore[arg-type]


def test_the_page_is_up_to_date() -> None:
    made = runpy.run_path(str(ROOT / "docs" / "format.py"))
    assert made["PAGE"].read_text(encoding="utf-8") == made["page"](), "python docs/format.py"
