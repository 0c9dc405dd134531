"""Calls keep the nesting of their arguments, and what is no such record is refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dump.format import encode
from dump.format.errors import DumpCorrupt
from dump.format.nested import NestedDump, read_nested
from dump.format.schema import ScalarRecord, TensorRecord

TENSOR = {"type": "torch.Tensor", "dtype": "torch.float32", "shape": [2, 3], "stride": [1, 2], "data_name": "x.npy"}
ONE = {"type": "int", "value": 1}


def dump_of(folder: Path, body: Any, **header: Any) -> NestedDump:
    document = {"task": "tensor", "level": "L1", **header, "data": {"Tensor.__getitem__.0.forward": body}}
    (folder / "dump.json").write_text(json.dumps(document))
    return read_nested(folder)


def call_of(folder: Path, body: Any) -> Any:
    dump = dump_of(folder, body)
    return dump.call(dump.names[0])


def test_lists_tuples_and_mappings_nest(tmp_path: Path) -> None:
    body = {
        "input_args": [TENSOR, [[ONE], []], None],
        "input_kwargs": {"size": [ONE, {"deep": [ONE]}]},
        "tuples": ["input.1", "input.size.1.deep"],
        "autocast": "torch.bfloat16",
        "output": [TENSOR],
        "written": {"input.0": TENSOR},
    }
    call = call_of(tmp_path, body)
    one, tensor = ScalarRecord("int", 1), TensorRecord("torch.float32", (2, 3), stride=(1, 2), data_name="x.npy")
    assert call.args == (tensor, ([one], []), None)
    assert call.kwargs == {"size": [one, {"deep": (one,)}]}
    assert (call.outputs, call.written, call.autocast) == ((tensor,), {"input.0": tensor}, "torch.bfloat16")


def test_the_gradients_of_a_backward_call(tmp_path: Path) -> None:
    call = call_of(tmp_path, {"input": [TENSOR, None], "output": [None, TENSOR]})
    assert [leaf is None for leaf in (*call.args, *call.outputs)] == [False, True, True, False]


def test_which_dumps_tell_tuples(tmp_path: Path) -> None:
    assert not dump_of(tmp_path, {}).tells_tuples
    assert dump_of(tmp_path, {}, format_version=1, complete=True).tells_tuples


def test_a_call_that_is_not_there(tmp_path: Path) -> None:
    assert dump_of(tmp_path, {}).call("Torch.add.0.forward") is None


def deep(levels: int) -> Any:
    found: Any = ONE
    for _ in range(levels):
        found = [found]
    return found


@pytest.mark.parametrize(
    "body",
    [
        [],
        {"tuples": "input.1"},
        {"tuples": [1]},
        {"autocast": 7},
        {"input_kwargs": [ONE]},
        {"written": [ONE]},
        {"input_args": [{**TENSOR, "shape": [-1]}]},
        {"input_args": [{**TENSOR, "stride": [-1]}]},
        {"input_args": [{**TENSOR, "stride": "11"}]},
        {"input_args": deep(encode.DEEPEST + 1)},
    ],
)
def test_a_wrong_record_is_refused_by_name(tmp_path: Path, body: Any) -> None:
    with pytest.raises(DumpCorrupt, match=r"Tensor\.__getitem__\.0\.forward"):
        call_of(tmp_path, body)
