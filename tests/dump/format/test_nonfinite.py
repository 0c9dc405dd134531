"""Where the first NaN and the first infinity of one dump were made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dump.format import encode
from dump.format.nonfinite import Made, first_made
from dump.format.reader import read_dump

Value = float | str
COLLECTIVE = {"kind": "all_reduce", "group": "0", "ranks": [0, 1], "order": 0}


def _tensor(value: Value, **more: Any) -> dict[str, Any]:
    told = {"nan": (None, {"nan": 1}), "inf": (encode.plain(float("inf")), {"inf": 1})}
    extreme, counted = told.get(str(value), (value, {}))
    fields = {"type": "torch.Tensor", "dtype": "torch.float32", "shape": [2], "Max": extreme, "Min": extreme}
    return {**fields, "Mean": extreme, "Norm": extreme, **counted, **more}


def _call(name: str, read: Value, wrote: Value, **more: Any) -> tuple[str, Any]:
    return name, {"input_args": [_tensor(read)], "input_kwargs": {}, "output": [_tensor(wrote)], **more}


def _found(folder: Path, *calls: tuple[str, Any]) -> list[Made]:
    lines = [encode.opening({"task": "statistics", "level": "L1", "format_version": 1})]
    lines += [encode.record(name, body, first=not number) for number, (name, body) in enumerate(calls)]
    (folder / "dump.json").write_bytes(b"".join([*lines, encode.closing({"complete": True})]))
    return list(first_made(read_dump(folder)))


def test_each_kind_is_found_where_it_was_made(tmp_path: Path) -> None:
    exp, sub, add = "Torch.exp.0.forward", "Torch.sub.0.forward", "Torch.add.0.forward"
    found = _found(tmp_path, _call(exp, 90.0, "inf"), _call(sub, "inf", "nan"), _call(add, "nan", "nan"))
    assert found == [Made("nan", sub, "output.0"), Made("inf", exp, "output.0")]


def test_what_came_in_was_made_by_none(tmp_path: Path) -> None:
    assert _found(tmp_path, _call("Torch.add.0.forward", "nan", "nan"), _call("Torch.add.1.forward", 1.0, 2.0)) == []
    new = ("Torch.empty.0.forward", {"input_args": [], "input_kwargs": {}, "output": [_tensor("nan", unwritten=True)]})
    assert _found(tmp_path, new) == []


@pytest.mark.parametrize(
    ("name", "more"),
    [("Distributed.all_reduce.0.forward", {}), ("Module.tp.Parallel.forward.0", {"collectives": [COLLECTIVE]})],
)
def test_an_exchange_may_have_been_given_it(name: str, more: dict[str, Any], tmp_path: Path) -> None:
    (made,) = _found(tmp_path, _call(name, 1.0, "nan", **more))
    assert (made.call, made.is_exchange) == (name, True)
