"""Frameworks that call msprobe where nobody edits them: every pattern records, and changes no bit of the run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dump.format.layout import find_dumps
from dump.format.reader import read_dump

ROOT = Path(__file__).parents[2]
SCRIPT = Path(__file__).with_name("msprobe_callers.py")
SHIM = ROOT / "shims" / "msprobe"

# Pattern by pattern: the folders below `dump` that hold steps, the steps in each, and a call that each step must have.
RECORDED = {
    "sglang": ({"."}, [0, 1, 2], "Module.0.Linear.forward.0"),
    "vllm_ascend": ({"."}, [0, 2], "Functional.gelu.0.forward"),
    "verl": (
        {f"step_{step}/{phase}" for step in range(2) for phase in ("ref_compute_log_prob", "actor_update")},
        [0],
        "Functional.linear.1.forward",
    ),
    "slime": ({"own/generate", "own/train"}, [0, 1], "Functional.linear.1.forward"),
    "mindspeed_rl": ({"actor_update"}, [0, 1], "Module.0.Linear.forward.0"),
    "ms_swift": ({"."}, [0, 1], "Module.3.Linear.backward.0"),
    "mindspeed": ({"."}, [0, 1], "Optimizer.Adam.0.forward"),
    "torchtitan": ({"."}, [0, 1], "Module.1.0.Linear.forward.0"),
}


def _run(folder: Path, *arguments: str, path: Path | None = None) -> str:
    folder.mkdir(exist_ok=True)
    settings = {"task": "statistics", "dump_path": "dump", "level": "mix", "seed": 1, "step": []}
    sections = {"statistics": {"request_id": "request-2"}} if "vllm_ascend" in arguments else {}
    (folder / "config.json").write_text(json.dumps({**settings, **sections}))
    (folder / "monitor_config.json").write_text(json.dumps({"targets": {}, "wg_distribution": True, "ops": ["norm"]}))
    env = {name: value for name, value in os.environ.items() if not name.startswith("ACC_")}
    env["PYTHONPATH"] = os.pathsep.join([*([str(path)] if path else []), str(ROOT)])
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=env, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


@pytest.mark.slow
@pytest.mark.parametrize("pattern", RECORDED)
def test_a_framework_records_and_computes_the_same_bits(pattern: str, tmp_path: Path) -> None:
    folders, steps, call = RECORDED[pattern]
    bare = _run(tmp_path / "bare", str(SCRIPT), pattern, "config.json", "bare")
    command = ["-m", "dump", "--as-msprobe", str(SCRIPT), pattern, "config.json"]
    assert _run(tmp_path / "recorded", *command) == bare
    root = tmp_path / "recorded" / "dump"
    found = {(location.path.parent.parent.relative_to(root).as_posix(), location.step) for location in _dumps(root)}
    wanted = [2] if pattern == "vllm_ascend" else steps
    assert found == {(folder, step) for folder in folders for step in wanted}
    for location in _dumps(root):
        dump = read_dump(location.path)
        assert dump.incomplete is None
        assert call in {each.name for each in dump.calls} or "linear" in call
        assert dict(dump.header.environment or {})["called_as"] == "msprobe 26.2.0+acc"


def _dumps(root: Path) -> list:  # type: ignore[type-arg]
    return [
        found
        for folder in sorted({path.parents[2] for path in root.rglob("dump.json")})
        for found in find_dumps(folder)
    ]


@pytest.mark.slow
def test_the_shim_does_what_the_command_does(tmp_path: Path) -> None:
    bare = _run(tmp_path / "bare", str(SCRIPT), "ms_swift", "config.json", "bare")
    assert _run(tmp_path / "shim", str(SCRIPT), "ms_swift", "config.json", path=SHIM) == bare
    assert sorted(location.step or 0 for location in _dumps(tmp_path / "shim" / "dump")) == [0, 1]


@pytest.mark.slow
@pytest.mark.parametrize("command", [["-m", "dump"], ["-m", "dump.monitor"]], ids=["acc dump", "acc monitor"])
def test_the_monitor_is_found_in_torch_npu(command: list[str], tmp_path: Path) -> None:
    bare = _run(tmp_path / "bare", str(SCRIPT), "trainer_mon", "config.json", "bare")
    assert _run(tmp_path / "watched", *command, str(SCRIPT), "trainer_mon", "config.json") == bare
    (run,) = (tmp_path / "watched" / "monitor_output").iterdir()
    assert len(list(run.glob("grad_reduced_*.csv"))) == 3
    if command[1] == "dump":
        assert (tmp_path / "watched" / "acc_dump" / "step0").is_dir()


@pytest.mark.slow
def test_the_monitor_takes_a_wrapped_optimizer_under_its_old_names(tmp_path: Path) -> None:
    bare = _run(tmp_path / "bare", str(SCRIPT), "chatlearn", "config.json", "bare")
    assert _run(tmp_path / "watched", str(SCRIPT), "chatlearn", "config.json", path=SHIM) == bare
    (run,) = (tmp_path / "watched" / "monitor_output").iterdir()
    assert len(list(run.glob("grad_reduced_*.csv"))) == 3


_MONITOR = """
    from torch_npu.contrib.monitor import TrainerMon

    monitor = TrainerMon(config_file_path="./monitor_config.json", params_have_main_grad=False)
    monitor.set_monitor(model, grad_acc_steps=1, optimizer=optimizer, dp_group=None, tp_group=None, start_iteration=0)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(torch, "accelerator"), reason="torch.accelerator came with torch 2.6")
@pytest.mark.parametrize("command", [["-m", "dump"], ["-m", "dump.monitor"]], ids=["acc dump", "acc monitor"])
def test_the_imagenet_example_is_monitored(command: list[str], tmp_path: Path) -> None:
    example = (ROOT / "examples" / "imagenet_accelerator.py").read_text(encoding="utf-8")
    line = next(line for line in example.splitlines(keepends=True) if line.lstrip().startswith("optimizer = "))
    script = tmp_path / "imagenet.py"
    flags = ["-b", "2", "--dummy", "--image-size", "32", "--classes", "4"]
    script.write_text(example, encoding="utf-8")
    bare = _run(tmp_path / "bare", str(script), *flags)
    script.write_text(example.replace(line, line + _MONITOR), encoding="utf-8")
    assert _run(tmp_path / "watched", *command, str(script), *flags) == bare
    (run,) = (tmp_path / "watched" / "monitor_output").iterdir()
    rows = (run / "grad_reduced_1-1.csv").read_text(encoding="utf-8").splitlines()
    assert rows[0].startswith("vpp_stage,name,step,norm")
    assert len(rows) > 50
