"""Layout files: what they say, and what is refused in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from acc_compare.align.layout_file import read_layouts
from acc_compare.declared import NO_LAYOUTS, Layout
from acc_compare.wholes import Way
from dump.format.errors import ConfigError

FILE = """
npu:
  mesh: {dp: 2, tp: 4}
  tensors:
    layers.*.qkv.weight: {tp: interleaved 0 3}
    "*.output.0": {tp: partial, dp: shard 1}
    head.grad: {dp: average, tp: replicated}
bench:
  mesh: {tp: 1}
"""


def test_a_file_is_ways_along_the_dimensions_of_a_mesh(tmp_path: Path) -> None:
    (tmp_path / "layout.yaml").write_text(FILE)
    found = read_layouts(tmp_path / "layout.yaml")
    source = str(tmp_path / "layout.yaml")
    rules = (
        ("layers.*.qkv.weight", (Way("same"), Way("dealt", 0, groups=3))),
        ("*.output.0", (Way("dealt", 1), Way("summed"))),
        ("head.grad", (Way("summed", mean=True), Way("same"))),
    )
    assert found.npu == Layout(source, (2, 4), rules)
    assert found.bench == Layout(source, (1,))


def test_no_file_says_nothing() -> None:
    assert read_layouts(None) == NO_LAYOUTS


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("npu: {tensors: {}}", "a mesh is missing"),
        ("npu: {mesh: {tp: 0}}", "a number of ranks"),
        ("npu: {mesh: {tp: [2]}}", "a number of ranks"),
        ("npu: {mesh: {tp: 2}, tensors: {a: {dp: partial}}}", "unknown key 'dp'"),
        ("npu: {mesh: {tp: 2}, tensors: {a: {tp: shard}}}", "expected one of"),
        ("npu: {mesh: {tp: 2}, tensors: {a: {tp: interleaved 0 0}}}", "expected one of"),
        ("npu: {mesh: {tp: 2}, tensors: {a: partial}}", "expected a table"),
        ("gpu: {mesh: {tp: 2}}", "unknown key 'gpu'"),
        ("- npu", "expected a table"),
        ("npu: &a {mesh: {tp: 2}}", "anchors"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "layout.yaml").write_text(content)
    with pytest.raises(ConfigError, match=said) as raised:
        read_layouts(tmp_path / "layout.yaml")
    assert "\n" not in str(raised.value)
