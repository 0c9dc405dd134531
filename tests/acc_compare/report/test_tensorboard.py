"""Event files, read again by TensorBoard's own reader."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from acc_compare import compare
from acc_compare.cli import main
from acc_compare.report import tensorboard
from acc_compare.report.tensorboard import write_tensorboard
from dump.format.errors import ConfigError, OutputError

pytest.importorskip("tensorboard")
SAMPLES = Path(__file__).resolve().parents[3] / "sample_dumps"
GELU = "Functional.gelu.1.forward"


def read(folder: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder))
    found.Reload()
    return found


def graph(folder: Path) -> dict[str, Any]:
    from tensorboard.compat.proto.graph_pb2 import GraphDef

    return {node.name: node for node in GraphDef.FromString(read(folder).Graph().SerializeToString()).node}


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("several")
    for step, sample in enumerate(("healthy", "gelu_in_bfloat16")):
        for rank in (0, 1):
            place = Path(f"step{step}") / f"rank{rank}"
            name = sample if rank else "healthy"
            shutil.copytree(SAMPLES / name / "step0" / "rank0", root / "npu" / place)
            shutil.copytree(SAMPLES / "bench_statistics" / "step0" / "rank0", root / "gpu" / place)
    return root / "npu", root / "gpu"


def test_error_by_step_and_module(several: tuple[Path, Path], tmp_path: Path) -> None:
    findings = compare(*several).findings
    runs = write_tensorboard(findings, tmp_path)
    assert [run.name for run in runs] == ["rank0", "rank1"]
    events = read(tmp_path / "rank1").Scalars("error/blocks.1.act")
    assert [event.step for event in events] == [0, 1]
    assert events[0].value < 1e-6 < 1e-3 < events[1].value
    assert [event.value for event in read(tmp_path / "rank1").Scalars("suspects")] == [0, 1]
    worst = read(tmp_path / "rank1").Scalars("worst/excess")[1].value
    assert worst == pytest.approx(findings[3].worst_excess, rel=1e-6)
    assert max(event.value for event in read(tmp_path / "rank0").Scalars("worst/error")) < 1e-4


def test_the_graph_has_calls_under_their_modules_and_who_made_what_they_read(tmp_path: Path) -> None:
    finding = replace(compare(SAMPLES / "gelu_in_bfloat16", SAMPLES / "bench_statistics").overall, step=None, rank=None)
    assert write_tensorboard([finding], tmp_path) == (tmp_path,)
    nodes = graph(tmp_path)
    gelu = nodes[f"blocks/1/act/{GELU}"]
    assert (gelu.op, gelu.device) == ("gelu", "introduced")
    assert list(gelu.input) == ["blocks/1/up/Functional.linear.6.forward"]
    assert gelu.attr["relative_error"].f == pytest.approx(finding.suspects[0].rel_l2, rel=1e-5)
    assert all(source in nodes for node in nodes.values() for source in node.input)
    assert nodes["blocks/1/down/Functional.linear.7.forward"].device == "propagated"


def test_names_of_a_dump_are_names_that_tensorboard_takes(tmp_path: Path) -> None:
    finding = compare(SAMPLES / "gelu_in_bfloat16", SAMPLES / "bench_statistics").overall
    rows = tuple(msgspec.structs.replace(row, module="<b>../x y</b>") for row in finding.rows)
    (run,) = write_tensorboard([replace(finding, rows=rows)], tmp_path)
    tags = read(run).Tags()["scalars"]
    assert "error/._b_../x_y_/b_" in tags
    assert list(tmp_path.iterdir()) == [run]


def test_the_command(several: tuple[Path, Path], tmp_path: Path, capsys: Any) -> None:
    out, board = tmp_path / "out", tmp_path / "board"
    code = main(["compare", *map(str, several), "-o", str(out), "--tensorboard", str(board), "--no-html"])
    assert code == 1
    assert str(board) in capsys.readouterr().out
    assert read(board / "rank1").Scalars("error/blocks.1.act")[1].step == 1


def test_without_the_package_it_is_refused_before_the_work(
    several: tuple[Path, Path], tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(tensorboard.importlib, "import_module", missing)
    with pytest.raises(ConfigError, match="acc-compare\\[tensorboard\\]"):
        tensorboard.require_tensorboard()
    code = main(["compare", *map(str, several), "-o", str(tmp_path / "out"), "--tensorboard", str(tmp_path / "board")])
    assert (code, list(tmp_path.iterdir())) == (2, [])
    assert capsys.readouterr().err.count("\n") == 1


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    finding = compare(SAMPLES / "healthy", SAMPLES / "bench_statistics").overall
    with pytest.raises(OutputError, match="--tensorboard"):
        write_tensorboard([finding], tmp_path / "file" / "board")
