from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from acc_compare.cli import main
from acc_compare.report.inspection import call_contents, contents, tensor_contents
from acc_compare.report.inspection_text import as_json, call_text, dumps_text, size_text, tensor_text
from dump.format.errors import ConfigError, DumpNotFound

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def recorded(make: Any, tmp_path: Path) -> Path:
    """Two ranks; whole tensors; the second has a NaN."""
    for rank in (0, 1):
        run = make.Run(mode="tensor", device="npu", device_name="Ascend910B")
        x = make.normal(4, 8, seed=rank)
        y = np.abs(x)
        y[1, 2] = 50.0
        y[3, 7] = np.nan if rank else -3.0
        run.call("Functional.relu.0.forward", [x], [y], kwargs={"inplace": False}, owner="Module.act.ReLU.forward.0")
        run.call("Functional.relu.1.forward", [y], [y])
        run.write(tmp_path / "step0" / f"rank{rank}")
    return tmp_path


def test_a_dump_is_counted(recorded: Path) -> None:
    first, second = contents(recorded)
    assert (first.step, first.rank, first.mode, first.complete) == (0, 0, "tensor", True)
    assert first.device == "npu (Ascend910B)"
    assert (first.calls, first.tensors, first.operators) == (2, 4, {"Functional.relu": 2})
    assert (first.nonfinite, second.nonfinite) == (0, 2)
    files = [path.stat().st_size for path in (recorded / "step0" / "rank0").rglob("*") if path.is_file()]
    assert first.bytes == sum(files)


def test_a_recording_that_did_not_end_is_not_complete(make: Any, tmp_path: Path) -> None:
    run = make.Run()
    run.call("Functional.relu.0.forward", [make.normal(3)], [make.normal(3)])
    run.write(tmp_path, closed=False)
    (found,) = contents(tmp_path)
    assert not found.complete
    assert " NO " in dumps_text([found])


def test_a_call_is_shown_on_every_rank(recorded: Path) -> None:
    first, second = call_contents(recorded, "Functional.relu.0.forward")
    assert (first.rank, second.rank) == (0, 1)
    assert first.module == "act"
    names = [argument.name for argument in first.arguments]
    assert names == ["input.0", "input.inplace", "output.0"]
    assert first.arguments[1].value is False
    assert second.arguments[2].nan == 1
    assert first.arguments[2].max == 50.0
    assert "50" in call_text(first)


def test_a_backward_call_has_the_stack_of_its_forward_call() -> None:
    dump = ROOT / "sample_dumps" / "gelu_in_bfloat16"
    (forward,) = call_contents(dump, "Functional.gelu.1.forward")
    (backward,) = call_contents(dump, "Functional.gelu.1.backward")
    assert forward.stack == backward.stack != ()


def test_elements_of_a_tensor(recorded: Path, make: Any) -> None:
    first, second = tensor_contents(recorded, "Functional.relu.0.forward.output.0", most=5)
    expected = np.abs(make.normal(4, 8))
    assert (first.max, first.max_index, first.min, first.min_index) == (50.0, (1, 2), -3.0, (3, 7))
    assert (first.nan, second.nan) == (0, 1)
    assert first.values == tuple(float(value) for value in expected.ravel()[:5])
    assert sum(first.counts) == 32
    assert sum(second.counts) == 31
    assert second.mean == pytest.approx(np.delete(_faulty(make), 31).mean())
    assert "(1, 2)" in tensor_text(first)


def _faulty(make: Any) -> np.ndarray:
    values = np.abs(make.normal(4, 8, seed=1)).astype(np.float64).ravel()
    values[10] = 50.0
    return values


@pytest.mark.parametrize("values", [[], [1.0, 1.0], [np.nan, np.inf], [-1e30, 1e30], [0.0]])
def test_every_histogram_holds_all_finite_elements(make: Any, tmp_path: Path, values: list[float]) -> None:
    run = make.Run(mode="tensor")
    array = np.array(values, np.float64)
    run.call("Functional.relu.0.forward", [array], [array])
    run.write(tmp_path)
    (found,) = tensor_contents(tmp_path, "Functional.relu.0.forward.input.0")
    assert sum(found.counts) == np.isfinite(array).sum()
    assert found.shape == array.shape
    tensor_text(found)


def test_json_is_strict(recorded: Path) -> None:
    found = [
        *contents(recorded),
        *call_contents(recorded, "Functional.relu.0.forward"),
        *tensor_contents(recorded, "Functional.relu.0.forward.output.0"),
    ]
    read = json.loads(as_json(found), parse_constant=lambda name: pytest.fail(name))
    assert len(read) == 6
    assert read[-1]["values"][-1] == "nan"


def test_what_is_not_there_is_said_in_one_line(recorded: Path, make: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"there are Functional\.relu\.0\.forward"):
        call_contents(recorded, "relu")
    with pytest.raises(ConfigError, match="is in no dump"):
        tensor_contents(recorded, "Functional.relu.0.forward.output.7")
    run = make.Run()
    run.call("Functional.relu.0.forward", [make.normal(3)], [make.normal(3)])
    run.write(tmp_path / "statistics")
    with pytest.raises(ConfigError, match="--task tensor"):
        tensor_contents(tmp_path / "statistics", "Functional.relu.0.forward.output.0")
    with pytest.raises(DumpNotFound):
        list(contents(tmp_path / "nowhere"))


def test_names_cannot_break_the_table(make: Any, tmp_path: Path) -> None:
    run = make.Run()
    run.call("Functional.a\x1b[31m\nb.0.forward", [make.normal(3), "x\ny"], [make.normal(3)])
    run.write(tmp_path)
    text = dumps_text(list(contents(tmp_path)))
    assert "\x1b" not in text
    assert len(text.splitlines()) == 5


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (1500, "1.5 kB"), (2_000_000, "2.0 MB"), (3_100_000_000, "3.1 GB")]
)
def test_sizes(size: int, text: str) -> None:
    assert size_text(size) == text


def test_the_command(recorded: Path, capsys: Any) -> None:
    assert main(["inspect", str(recorded)]) == 0
    assert "Functional.relu" in capsys.readouterr().out
    assert main(["inspect", str(recorded), "--call", "Functional.relu.0.forward", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 2
    assert main(["inspect", str(recorded), "--tensor", "Functional.relu.0.forward.output.0"]) == 0
    assert "first 32 elements" in capsys.readouterr().out
    assert main(["inspect", str(recorded), "--call", "a", "--tensor", "b"]) == 2
    assert capsys.readouterr().err == "acc: error: --call and --tensor exclude each other\n"
