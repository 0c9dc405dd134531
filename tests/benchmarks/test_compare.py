"""The benchmark's own parts: inputs are what they claim to be, and the table says what was measured."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from acc_compare import compare
from benchmarks.compare.results import BEGIN, END, Case, Timing, put_table, table
from benchmarks.compare.running import BenchError, Measured, Tool, measure, read_all
from benchmarks.compare.synthesis import lengthen
from dump.format.reader import read_dump

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "sample_dumps"


def source(name: str) -> Path:
    return next((SAMPLES / name).glob("step0/*/dump.json")).parent


@pytest.fixture(scope="module")
def long_pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("long")
    for side, name in (("npu", "gelu_in_bfloat16"), ("bench", "bench_statistics")):
        lengthen(source(name), folder / side / "step0" / "rank0", 300)
    return folder / "npu", folder / "bench"


def test_a_longer_dump_has_new_calls_with_new_values(long_pair: tuple[Path, Path]) -> None:
    short, long = read_dump(source("bench_statistics")), read_dump(long_pair[1] / "step0" / "rank0")
    length = len(short.calls)
    assert len(long.calls) == len({call.name for call in long.calls}) == 300
    assert long.calls[:length] == short.calls
    second = long.calls[length : 2 * length]
    for before, after in zip(short.calls, second, strict=True):
        for (name, old), (other, new) in zip(before.tensors(), after.tensors(), strict=True):
            assert (name, old.shape, old.dtype) == (other, new.shape, new.dtype)
            if "float" in old.dtype and old.norm:
                assert new.norm == old.norm * (1 + 1 / 1024)
            assert old.value != new.value
    assert set(long.owners) == {call.name for call in long.calls}
    assert set(long.stacks) <= set(long.owners)


def test_the_sides_differ_in_each_copy_as_in_the_real_step(long_pair: tuple[Path, Path]) -> None:
    found = compare(*long_pair)
    assert found.overall.coverage.calls == 300
    assert found.suspects[0].name == "Functional.gelu.1.forward"
    assert not [suspect for suspect in found.suspects if suspect.kind != "operator"]


def test_a_command_is_measured(tmp_path: Path) -> None:
    code = "import time; x = bytearray(50 << 20); time.sleep(0.2)"
    found = measure([sys.executable, "-c", code], {}, tmp_path)
    assert found.wall >= 0.2
    assert found.memory > 50 << 20
    assert found.ended
    assert not measure([sys.executable, "-c", "while 1: pass"], {}, tmp_path, limit=0.2).ended
    with pytest.raises(BenchError, match=r"ended with 3:\nwhy"):
        measure([sys.executable, "-c", "print('why'); raise SystemExit(3)"], {}, tmp_path)


def test_all_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "c").write_bytes(bytes(3 << 20))
    (tmp_path / "d").write_bytes(bytes(5))
    assert read_all(tmp_path)[1] == (3 << 20) + 5


def test_peers_are_called_as_their_versions_want(tmp_path: Path) -> None:
    for side in ("npu", "bench"):
        (tmp_path / side / "step0" / "proc1").mkdir(parents=True)
        (tmp_path / side / "step0" / "proc1" / "dump.json").write_text("{}")
    sides = tmp_path / "npu", tmp_path / "bench"
    new = Tool("msprobe 26.2.0", Path("/x/python"), "26.2.0").compare(*sides, tmp_path / "out")
    assert new[:4] == ["/x/msprobe", "compare", "--target_path", str(tmp_path / "npu" / "step0")]
    old = Tool("msprobe 8.3.3", Path("/x/python"), "8.3.3").compare(*sides, tmp_path / "out")
    assert old[:4] == ["/x/msprobe", "-f", "pytorch", "compare"]
    assert str(tmp_path / "bench" / "step0" / "proc1" / "dump.json") in (tmp_path / "out" / "compare.json").read_text()


def test_the_table_is_in_ratios(tmp_path: Path) -> None:
    case = Case("a case", tmp_path)
    timings = [
        Timing(case, "acc compare", Measured(2.0, 3.0, 10**8, 0.0), 4 * 10**9, worst=2.5),
        Timing(case, "msprobe 1", Measured(50.0, 50.0, 10**9, 0.5, ended=False), 4 * 10**9, worst=50.0),
    ]
    lines = table(timings).splitlines()
    assert lines[2] == "| a case, 4.00 GB | acc compare | 2.00 | 2.50 | 3.00 | 1.00 | 2.00 | 100 | 0.0 |"
    assert lines[3] == "| a case, 4.00 GB | msprobe 1 | over 50.00 | 50.00 | 50.00 | over 25.00 | 0.08 | 1000 | 0.5 |"
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}old\n{END}after\n")
    put_table(page, timings)
    assert page.read_text().startswith("before\n" + BEGIN)
    assert page.read_text().endswith(f"{lines[3]}\n{END}after\n")
    assert "old" not in page.read_text()
