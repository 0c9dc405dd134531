from __future__ import annotations

import binascii
import json
import math
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dump.format import encode
from dump.format.fields import TENSOR_FIELDS, TENSOR_TYPE


def _strict(data: bytes) -> Any:
    """JSON by the letter of the standard: no NaN, no Infinity, valid UTF-8."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is not strict JSON")

    return json.loads(data.decode("utf-8"), parse_constant=refuse)


def test_the_bytes_of_a_dump() -> None:
    written = (
        encode.opening({"task": "statistics", "level": "L1"})
        + encode.record("Torch.add.0.forward", {"output": [None]}, first=True)
        + encode.record("Torch.mul.0.forward", {}, first=False)
        + encode.closing({"complete": True})
    )
    assert written == (
        b'{"task":"statistics","level":"L1","data": {\n'
        b'"Torch.add.0.forward":{"output":[null]}\n'
        b',"Torch.mul.0.forward":{}\n'
        b'},"complete":true}\n'
    )
    assert list(_strict(written)["data"]) == ["Torch.add.0.forward", "Torch.mul.0.forward"]


def test_nothing_between_opening_and_closing_is_json_too() -> None:
    assert _strict(encode.opening({}) + encode.closing({})) == {"data": {}}


def test_the_bytes_of_a_construct() -> None:
    written = (
        encode.CONSTRUCT_OPENING
        + encode.record("Torch.add.0.forward", "Module.fc.Linear.forward.0", first=True)
        + encode.record("Module.fc.Linear.forward.0", None, first=False)
        + encode.CONSTRUCT_CLOSING
    )
    assert written == (
        b'{\n"Torch.add.0.forward":"Module.fc.Linear.forward.0"\n,"Module.fc.Linear.forward.0":null\n}\n'
    )


class _Name(str):
    def __str__(self) -> str:
        raise AssertionError("a user's code must not run while recording")


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (None, b"null"),
        (True, b"true"),
        (1.5, b"1.5"),
        (math.nan, b"null"),
        (math.inf, b"1e999"),
        (-math.inf, b"-1e999"),
        ([1, (2, math.inf)], b"[1,[2,1e999]]"),
        ({"a": -math.inf, 3: None}, b'{"a":-1e999,"3":null}'),
        (2**70, b"1180591620717411303424"),
        (2**5000, b'"int of 5001 bits"'),
        ("\ud800", b'"\\\\ud800"'),
        ("é", '"é"'.encode()),
        (1 + 2j, b'"(1+2j)"'),
        (object(), b'"object"'),
        (_Name("x"), b'"x"'),
        ({(1, 2): 1}, b'{"tuple":1}'),
    ],
    ids=range(16),
)
def test_any_value_has_a_strict_form(value: object, written: bytes) -> None:
    line = encode.record("c", {"v": encode.plain(value)}, first=True)
    assert line == b'"c":{"v":' + written + b"}\n"
    _strict(b"{" + line + b"}")


def test_an_infinity_reads_as_one_and_a_deep_value_ends() -> None:
    assert _strict(encode.record("c", {"v": encode.plain(math.inf)}, first=True).join([b"{", b"}"])) == {
        "c": {"v": math.inf}
    }
    deep: list[Any] = []
    for _ in range(5000):
        deep = [deep]
    line = encode.record("c", {"v": encode.plain(deep)}, first=True)
    assert line.count(b"[") <= encode.DEEPEST
    assert b'"..."' in line


def test_what_was_not_made_plain_is_still_written() -> None:
    assert encode.record("\ud800", {"v": object()}, first=True) == b'"\\\\ud800":{"v":"object"}\n'


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.complex_numbers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.integers(), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(st.text(st.characters()), st.dictionaries(st.text(st.characters()), _VALUES, max_size=4))
def test_a_record_is_one_line_of_strict_json(name: str, body: dict[str, Any]) -> None:
    plain = encode.plain(body)
    assert isinstance(plain, dict)
    line = encode.record(name, plain, first=True)
    assert line.count(b"\n") == 1
    assert len(_strict(b"{" + line + b"}")) == 1


def test_the_journal_becomes_stack_json(tmp_path: Path) -> None:
    journal = tmp_path / "stack.partial.jsonl"
    lines = [
        encode.stack_line(7, ["File a.py, line 1", "File b.py, line 2"]),
        encode.stack_use_line("Torch.add.0.forward", 7),
        encode.stack_line(8, ["File c.py, line 3"]),
        encode.stack_use_line("Torch.mul.0.forward", 8),
        encode.stack_use_line("Torch.add.1.forward", 7),
    ]
    assert lines[0] == b'{"id":7,"frames":["File a.py, line 1","File b.py, line 2"]}\n'
    assert lines[1] == b'{"call":"Torch.add.0.forward","id":7}\n'
    journal.write_bytes(b"".join(lines) + lines[0][:20])
    encode.finish_stacks(tmp_path)
    assert os.listdir(tmp_path) == ["stack.json"]
    assert _strict((tmp_path / "stack.json").read_bytes()) == {
        "0": [["Torch.add.0.forward", "Torch.add.1.forward"], ["File a.py, line 1", "File b.py, line 2"]],
        "1": [["Torch.mul.0.forward"], ["File c.py, line 3"]],
    }


def test_without_a_journal_no_stack_json_appears(tmp_path: Path) -> None:
    encode.finish_stacks(tmp_path)
    assert os.listdir(tmp_path) == []


def test_an_empty_journal_gives_an_empty_stack_json(tmp_path: Path) -> None:
    (tmp_path / "stack.partial.jsonl").write_bytes(b"")
    encode.finish_stacks(tmp_path)
    assert _strict((tmp_path / "stack.json").read_bytes()) == {}


def test_no_sketch_begins_with_a_sign_that_msprobe_refuses() -> None:
    for first in range(256):
        raw = bytes([first]) + bytes(range(63))
        text = encode.sketch_text(raw)
        assert text[0] not in "+-=@"
        assert binascii.a2b_base64(text.replace("_", "+")) == raw


def test_a_tensor_beside_what_json_cannot_hold_is_written_all_the_same() -> None:
    record = encode.tensor("torch.float32", [2], encode.NULL, *[None] * (len(TENSOR_FIELDS) - 3))
    line = encode.record("f", {"input_args": [record, {"type": "str", "value": "\ud800"}]}, first=True)
    tensor, text = json.loads(line.partition(b":")[2])["input_args"]
    assert tensor == {"type": TENSOR_TYPE, "dtype": "torch.float32", "shape": [2], "Max": None}
    assert text == {"type": "str", "value": "\\ud800"}
