"""Level debug with its debug.json, and the tasks that look for the first NaN."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from dump import PrecisionDebugger
from dump.config import load_config
from dump.format.errors import ConfigError
from dump.format.layout import find_dumps
from dump.format.reader import read_dump
from dump.format.schema import TensorRecord

OF_MSPROBE = {
    "task": "statistics",
    "level": "debug",
    "framework": "pytorch",
    "dump_data_dir": None,
    "data": {
        "y.0.debug": {"type": "torch.Tensor", "dtype": "torch.float32", "shape": [2], "Max": 2.0, "Min": 2.0},
        "y_grad.0.debug": {"type": "torch.Tensor", "dtype": "torch.float32", "shape": [2], "Max": 1.0, "Min": 1.0},
        "many.0.debug": [
            {"type": "torch.Tensor", "dtype": "torch.float32", "shape": [2], "Max": 3.0, "Min": 3.0},
            {"k": {"type": "int", "value": 3}},
        ],
        "many_grad.0.debug": [
            {"type": "torch.Tensor", "dtype": "torch.float32", "shape": [2], "Max": 1.0, "Min": 1.0},
            {"k": None},
        ],
        "text.0.debug": {"type": "str", "value": "t"},
        "text_grad.0.debug": None,
    },
}


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "dump"
    PrecisionDebugger.close()


def _save(path: Path) -> None:
    PrecisionDebugger(dump_path=str(path), level="debug")
    for _ in range(2):
        x = torch.ones(2, requires_grad=True)
        y = x * 2
        PrecisionDebugger.save(y, "y")
        PrecisionDebugger.save([y + 1, {"k": 3}], "many")
        PrecisionDebugger.save("t", "text")
        y.sum().backward()
        PrecisionDebugger.step()


def _seen(folder: Path) -> dict[str, list[object]]:
    return {
        call.name: [
            argument.leaf.max if isinstance(argument.leaf, TensorRecord) else argument.name
            for argument in (*call.inputs, *call.outputs)
        ]
        for call in read_dump(folder).calls
    }


def test_only_what_is_saved_is_recorded_and_start_is_not_needed(path: Path) -> None:
    _save(path)
    first, second = (found.path for found in find_dumps(path))
    assert _seen(first) == _seen(second)
    assert _seen(first) == {
        "Saved.y.0.forward": [2.0],
        "Saved.many.0.forward": [3.0, "output.1.k"],
        "Saved.text.0.forward": ["output.0"],
        "Saved.y.0.backward": [1.0],
    }


def test_it_is_written_as_msprobe_writes_it_too(path: Path) -> None:
    _save(path)
    written = json.loads((find_dumps(path)[0].path / "debug.json").read_text())
    assert list(written)[:4] == list(OF_MSPROBE)[:4]
    assert list(written["data"]) == ["y.0.debug", "many.0.debug", "text.0.debug", "y_grad.0.debug"]
    assert written["data"]["y_grad.0.debug"]["Max"] == 1.0
    assert written["data"]["many.0.debug"][1] == {"k": {"type": "int", "value": 3}}


def test_msprobes_own_is_read_by_name(tmp_path: Path) -> None:
    folder = tmp_path / "step0" / "rank0"
    folder.mkdir(parents=True)
    (folder / "debug.json").write_text(json.dumps(OF_MSPROBE))
    (found,) = find_dumps(tmp_path)
    assert _seen(found.path) == {
        "Saved.y.0.forward": [2.0],
        "Saved.y.0.backward": [1.0],
        "Saved.many.0.forward": [3.0, "output.1.k"],
        "Saved.many.0.backward": [1.0],
        "Saved.text.0.forward": ["output.0"],
    }


def test_points_are_compared_by_name_whoever_saved_them(path: Path, tmp_path: Path) -> None:
    from acc_compare import compare

    _save(path)
    bench = tmp_path / "bench" / "step0" / "proc1"
    bench.mkdir(parents=True)
    (bench / "debug.json").write_text(json.dumps(OF_MSPROBE))
    frame = compare(path / "step0", bench.parent).to_frame()
    pairs = dict(zip(frame["NPU Name"], frame["Bench Name"], strict=True))
    assert pairs["Saved.y.0.forward.output.0"] == "Saved.y.0.forward.output.0"
    assert pairs["Saved.y.0.backward.input.0"] == "Saved.y.0.backward.input.0"


def test_at_level_debug_a_started_step_holds_what_was_saved_and_no_more(path: Path) -> None:
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    PrecisionDebugger(dump_path=str(path), level="debug")
    for _ in range(2):
        PrecisionDebugger.start(model)
        loss = model(torch.ones(1, 2)).sum()
        loss.backward()
        PrecisionDebugger.save(loss.detach(), "loss")
        optimizer.step()
        PrecisionDebugger.stop()
        PrecisionDebugger.step()
    assert [list(_seen(found.path)) for found in find_dumps(path)] == [["Saved.loss.0.forward"]] * 2


@pytest.mark.parametrize("task", ["nan_check", "overflow_check"])
def test_where_the_first_nan_was_made_is_said(path: Path, task: str, capsys: pytest.CaptureFixture[str]) -> None:
    debugger = PrecisionDebugger(None, task, str(path), "L1")
    assert debugger.task == "statistics"
    for start in (1.0, -1.0):
        debugger.start()
        (torch.full((2,), start).log() * 2).exp()
        debugger.step()
    told = [line for line in capsys.readouterr().err.splitlines() if "step" in line]
    assert told[0].endswith("step 0: no call made a NaN or an infinity")
    assert "step 1: the first NaN is output.0 of Tensor.log.0.forward (" in told[1]
    assert len(told) == 2


@pytest.mark.slow
def test_a_script_under_the_command_is_looked_through_too(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"task": "nan_check", "dump_path": "dump", "level": "L1"}))
    (tmp_path / "script.py").write_text("import torch\ntorch.ones(1) / torch.zeros(1)\n")
    command = [sys.executable, "-m", "dump", "-c", "config.json", "script.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60)
    assert "step 0: the first infinity is output.0 of Tensor.__truediv__.0.forward" in done.stderr


@pytest.mark.parametrize("task", ["acc_check", "run_ut", "grad_probe", "free_benchmark"])
def test_a_task_that_is_not_done_is_refused_by_name(tmp_path: Path, task: str) -> None:
    source = tmp_path / "config.json"
    source.write_text(json.dumps({"task": task}))
    with pytest.raises(ConfigError, match=task):
        load_config(source, unknown="pass")
