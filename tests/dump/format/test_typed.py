"""The quick way of reading a record gives what the thorough one gives, or nothing."""

from __future__ import annotations

import contextlib
import functools
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dump.format.decode import RecordDecoder
from dump.format.encode import DEEPEST, sketch_text
from dump.format.errors import DumpCorrupt
from dump.format.schema import CallRecord
from dump.format.typed import call_of

SAMPLES = Path(__file__).resolve().parents[3] / "sample_dumps"
NAME = "Torch.add.0.forward"
TENSOR: dict[str, Any] = {
    "type": "torch.Tensor",
    "dtype": "torch.float32",
    "shape": [2, 3],
    "Max": 1.5,
    "Min": -1,
    "Mean": 0.25,
    "Norm": 2.0,
    "requires_grad": True,
    "sketch": sketch_text(bytes(64)),
    "waves": sketch_text(bytes(16)),
    "value": 3,
    "storage": 1,
    "grad_fn": "AddBackward0",
}


def _quick(text: str) -> tuple[CallRecord | None, RecordDecoder]:
    decoder = RecordDecoder("dump.json")
    return call_of(decoder, NAME, 4, msgspec.Raw(text.encode())), decoder


def _thorough(text: str) -> tuple[CallRecord, RecordDecoder]:
    decoder = RecordDecoder("dump.json")
    return decoder.call(NAME, 4, msgspec.json.decode(text)), decoder


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"Max": None, "Min": None, "Mean": None, "Norm": None},
        {"Max": 2**64 - 1, "Min": -(2**63)},
        {"md5": "0" * 32},
        {"data_name": "a.pt", "unrecorded": "meta tensor"},
        {"nan": 0, "inf": 0},
        {"dtype": "torch.int64", "type": "torch.nn.Parameter"},
        {"shape": []},
        {"unknown": {"a": [1]}},
    ],
    ids=str,
)
def test_a_plain_record_is_read_quickly(change: dict[str, Any]) -> None:
    tensor = {**TENSOR, **change}
    body = {
        "input_args": [tensor, None, "...", [tensor, [None]], {"type": "slice", "value": [0, None, 2]}],
        "input_kwargs": {"alpha": {"type": "float", "value": None}, "out": tensor},
        "output": [tensor],
        "parameters": {"weight": tensor},
        "written": {"input.0": tensor},
        "is_recompute": True,
    }
    quick, decoder = _quick(json.dumps(body))
    thorough, other = _thorough(json.dumps(body))
    assert quick is not None
    assert repr(quick) == repr(thorough)
    assert decoder.hash_digits == other.hash_digits


@pytest.mark.parametrize(
    "item",
    [
        3,
        True,
        {"type": "nested", "a": 1},
        {"weight": TENSOR, "type": 3},
        {"weight": {"nested": 1}},
        {**TENSOR, "nan": 2, "Mean": None},
        {**TENSOR, "shape": [-1]},
        {**TENSOR, "shape": [2**40, 2**40]},
        {**TENSOR, "dtype": 3},
        {**TENSOR, "value": "x"},
        {**TENSOR, "sketch": "short"},
        {**TENSOR, "Max": "inf"},
        {"type": "torch.Tensor", "value": 1},
    ],
    ids=str,
)
def test_anything_else_is_left_to_the_thorough_way(item: dict[str, Any]) -> None:
    assert _quick(json.dumps({"input_args": [item]}))[0] is None


def test_what_an_optimizer_is_given_is_read_quickly_and_shared() -> None:
    nested = {"weight": TENSOR, "groups": {"0": {"bias": TENSOR}}, "states": [TENSOR, {"step": TENSOR}], "none": {}}
    text = json.dumps({"input_kwargs": {"param": nested, "closure": None}})
    quick, _ = _quick(text)
    assert quick is not None
    assert repr(quick) == repr(_thorough(text)[0])
    first, second, *_ = (argument for argument in quick.inputs if argument.name.startswith("input.param."))
    assert (first.name, second.name) == ("input.param.weight", "input.param.groups.0.bias")
    assert first.leaf is second.leaf


def test_mappings_in_mappings_are_read_as_deep_as_the_thorough_way_reads_them() -> None:
    def text(levels: int) -> str:
        return json.dumps({"input_args": [functools.reduce(lambda inner, _: {"a": inner}, range(levels), TENSOR)]})

    assert repr(_quick(text(DEEPEST - 1))[0]) == repr(_thorough(text(DEEPEST - 1))[0])
    assert _quick(text(DEEPEST))[0] is None
    with pytest.raises(DumpCorrupt, match="nests deeper"):
        _thorough(text(DEEPEST))


@pytest.mark.parametrize(("value", "is_quick"), [([TENSOR], True), (TENSOR, False), ([TENSOR, TENSOR], False)])
def test_gradients_of_parameters_are_read_quickly_where_each_stands_alone(value: object, is_quick: bool) -> None:
    name = "Module.fc.Linear.parameters_grad.0"
    raw = msgspec.Raw(json.dumps({"weight": value}).encode())
    quick = call_of(RecordDecoder("dump.json"), name, 0, raw)
    assert (quick is not None) == is_quick
    if quick is not None:
        assert repr(quick) == repr(RecordDecoder("dump.json").call(name, 0, {"weight": value}))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*TENSOR, "nan", "md5"]), inner),
    max_leaves=6,
)  # fmt: skip
ITEMS = JSON | st.dictionaries(st.sampled_from(sorted(TENSOR)), JSON, max_size=3).map(lambda change: TENSOR | change)
BODIES = st.fixed_dictionaries(
    {},
    optional={
        "input_args": st.lists(ITEMS, max_size=3) | JSON,
        "input_kwargs": st.dictionaries(st.text(max_size=3), ITEMS, max_size=3) | JSON,
        "output": st.lists(ITEMS, max_size=3),
        "is_recompute": st.booleans() | st.none() | JSON,
    },
)


@given(BODIES)
@settings(deadline=None, max_examples=300)
def test_whatever_is_read_quickly_is_read_right(body: dict[str, Any]) -> None:
    text = json.dumps(body)
    quick, _ = _quick(text)
    if quick is not None:
        assert repr(quick) == repr(_thorough(text)[0])
        return
    with contextlib.suppress(DumpCorrupt):
        _thorough(text)


@pytest.mark.parametrize("source", sorted(SAMPLES.glob("**/dump.json")), ids=lambda path: path.parts[-4])
def test_a_dump_of_a_run_is_read_quickly(source: Path) -> None:
    try:
        records = json.loads(source.read_text(encoding="utf-8"))["data"]
    except ValueError:  # a sample that was cut short on purpose
        pytest.skip("no whole JSON")
    unread = 0
    for name, body in records.items():
        raw = json.dumps(body).encode()
        quick = call_of(RecordDecoder(source), name, 0, msgspec.Raw(raw))
        unread += quick is None and b'"nan"' not in raw
        if quick is not None:
            assert repr(quick) == repr(RecordDecoder(source).call(name, 0, body))
    assert unread <= len(records) // 10
