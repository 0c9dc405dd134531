"""Operators on torch's own samples: a sound device is sound, a wrong kernel is wrong, and two tables compare."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from acc_compare.replay.bench_ops import bench_operators
from acc_compare.replay.operator_table import BenchedOperator, OperatorTable, read_table, worse_than
from acc_compare.report.operator_table import table_text, write_table
from dump import sim
from dump.format.errors import ConfigError, DumpCorrupt, DumpNotFound

if sim.device_kind() != "npu":
    pytest.skip("this torch has no device in Python", allow_module_level=True)
sim.enable()

SOUND = ["gelu", "softmax", "layer_norm", "matmul", "cross_entropy", "conv2d", "index_add", "sort", "log", "batch_norm"]


@pytest.mark.slow
def test_the_cpu_is_sound() -> None:
    table = bench_operators("cpu", SOUND, samples=2)
    assert table.wrong == ()
    assert {row.operator.rpartition(".")[2] for row in table.operators} >= {"gelu", "matmul", "sort"}
    assert all(row.samples and not row.refused for row in table.operators)


@pytest.mark.parametrize("fault", ["aten::gelu=scale:1.001", "gelu_backward=scale:1.001", "aten::gelu=nan:3"])
def test_a_wrong_kernel_is_named(fault: str) -> None:
    with sim.npu(faults=[fault]):
        table = bench_operators("npu", ["gelu", "silu"], dtypes=["float32"], samples=1)
    assert [row.operator for row in table.wrong] == ["nn.functional.gelu"]
    assert table.wrong[0].first.startswith("sample 0")


def test_what_draws_or_is_not_unique_is_left_out() -> None:
    table = bench_operators("cpu", ["dropout", "svd", "empty_like"], dtypes=["float32"], samples=1)
    assert table.operators == ()
    assert table.left_out >= 3


@pytest.mark.parametrize(("ops", "dtypes"), [(["layer_nor"], ["float32"]), (["gelu"], ["float99"])])
def test_names_that_are_not_known(ops: list[str], dtypes: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"layer_norm|float32"):
        bench_operators("cpu", ops, dtypes=dtypes)


def row(operator: str, relative: float, *, wrong: int = 0, refused: int = 0) -> BenchedOperator:
    return BenchedOperator(operator, "float32", 4, wrong, relative, 1.0, 1e-6, refused)


def table(*rows: BenchedOperator) -> OperatorTable:
    return OperatorTable("npu", "2.13.0", rows)


def test_what_is_worse_than_elsewhere() -> None:
    there = table(row("a", 1e-7), row("b", 1e-7), row("c", 1e-3, wrong=1), row("d", 1e-7), row("e", 1e-7))
    here = table(
        row("a", 2e-7), row("b", 1e-2, wrong=1), row("c", 1e-3, wrong=1), row("d", 1e-5), row("e", 0, refused=1)
    )
    assert [pair[0].operator for pair in worse_than(here, there)] == ["b", "d", "e"]
    assert worse_than(there, there) == ()
    told = table_text(here, there)
    assert "3 rows" in told
    assert table_text(there, there, lang="zh")


def test_a_table_comes_back_as_it_was_written(tmp_path: Path) -> None:
    written = table(row("a", 1e-7))
    (document, text) = write_table(written, tmp_path, timestamp="1")
    assert read_table(document) == written
    assert text.read_text()
    with pytest.raises(DumpNotFound):
        read_table(tmp_path / "nowhere.json")
    document.write_bytes(msgspec.json.encode({"device": 3}))
    with pytest.raises(DumpCorrupt):
        read_table(document)
