"""`acc check` and `acc dump --against` as users run them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from .test_replay_command import acc

SCRIPT = """
import sys, torch
import torch.nn as nn
import torch.nn.functional as F

device = sys.argv[1]
torch.manual_seed(1)
model = nn.Sequential(nn.Linear(16, 32), nn.LayerNorm(32), nn.GELU(), nn.Dropout(0.1), nn.Linear(32, 8)).to(device)
optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
for step in range(3):
    x, y = torch.randn(64, 16).to(device), torch.randint(0, 8, (64,)).to(device)
    loss = F.cross_entropy(model(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    print(loss.item().hex())
"""
FAULT = ("--simulated-npu", "--simulated-fault", "aten::gelu=scale:1.001")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "train.py").write_text(SCRIPT)
    return tmp_path


def losses(printed: str) -> list[str]:
    return [line for line in printed.splitlines() if line.startswith("0x")]


def calls(folder: Path) -> list[dict[str, Any]]:
    (path,) = (folder / "replay").glob("replay_*.json")
    found: list[dict[str, Any]] = json.loads(path.read_bytes())["calls"]
    return found


def wrong(folder: Path) -> set[tuple[str, str]]:
    return {(call["name"], call["cause"]) for call in calls(folder) if call["cause"]}


@pytest.mark.slow
def test_a_healthy_run_is_checked_and_not_changed(folder: Path) -> None:
    import subprocess
    import sys

    alone = subprocess.run([sys.executable, "train.py", "cpu"], cwd=folder, capture_output=True, text=True, check=True)
    ran = acc("check", "-o", "out", "train.py", "cpu", cwd=folder)
    assert ran.returncode == 0, ran.stderr
    assert losses(ran.stdout) == losses(alone.stdout)
    found = calls(folder / "out")
    assert {call["step"] for call in found} == {0, 1, 2}
    assert {call["verdict"] for call in found} == {"cleared", "not_replayed"}  # dropout draws
    assert not (folder / "out" / "dump").exists()


@pytest.mark.slow
def test_a_fault_is_found_kept_and_put_right(folder: Path) -> None:
    ran = acc("check", *FAULT, "--each", 1, "-o", "out", "train.py", "npu", cwd=folder)
    assert ran.returncode == 1, ran.stderr
    assert wrong(folder / "out") == {("Functional.gelu.0.forward", "operator")}
    told = [line for line in ran.stderr.splitlines() if "acc repro" in line]
    arguments = told[0].partition("acc repro ")[2].split()
    assert acc("repro", *arguments, cwd=folder).returncode == 0
    fixed = acc("check", *FAULT, "--fix", "Functional.gelu", "-o", "fixed", "train.py", "npu", cwd=folder)
    healthy = acc("check", "--simulated-npu", "-o", "healthy", "train.py", "npu", cwd=folder)
    assert losses(fixed.stdout) == losses(healthy.stdout) != losses(ran.stdout)


@pytest.mark.slow
def test_against_a_bench_and_to_the_end_of_the_first_step(folder: Path) -> None:
    assert (
        acc("dump", "--task", "tensor", "--step", "all", "-o", "bench", "train.py", "cpu", cwd=folder).returncode == 0
    )
    ran = acc("dump", *FAULT, "--against", "bench", "--stop", "-o", "out/dump", "train.py", "npu", cwd=folder)
    assert ran.returncode == 1, ran.stderr
    assert wrong(folder / "out") == {("Functional.gelu.0.forward", "operator")}
    assert losses(ran.stdout) == []  # it ended there
    loaded = acc("check", "--simulated-npu", "--load", "bench", "-o", "loaded", "train.py", "npu", cwd=folder)
    assert loaded.returncode == 0, loaded.stderr


@pytest.mark.slow
def test_how_sensitive_the_run_is(folder: Path) -> None:
    ran = acc("check", "--perturb", "bit", "-o", "out", "train.py", "cpu", cwd=folder)
    assert ran.returncode == 0, ran.stderr
    (path,) = (folder / "out" / "replay").glob("sensitivity_*.json")
    found = {call["name"].rsplit(".", 2)[0] for call in json.loads(path.read_bytes())["calls"]}
    assert {"Functional.linear", "Functional.gelu", "Functional.layer_norm"} <= found


@pytest.mark.slow
def test_the_first_nan_ends_the_run_and_its_inputs_are_kept(folder: Path) -> None:
    fault = ("--simulated-npu", "--simulated-fault", "aten::gelu=nan:3")
    ran = acc("dump", "--stop-at-nan", *fault, "-o", "out", "train.py", "npu", cwd=folder)
    assert (ran.returncode, losses(ran.stdout)) == (1, []), ran.stderr
    assert "Functional.gelu.0.forward" in ran.stderr
    assert acc("nan", "out", cwd=folder).returncode == 1
    assert acc("repro", "out", "--call", "Functional.gelu.0.forward", cwd=folder).returncode == 0


@pytest.mark.slow
def test_a_script_that_fails_is_the_scripts_failure(folder: Path) -> None:
    (folder / "bad.py").write_text(f"{SCRIPT}\nraise ValueError('its own')\n")
    ran = acc("check", "-o", "out", "bad.py", "cpu", cwd=folder)
    assert ran.returncode == 1
    assert "ValueError: its own" in ran.stderr
    assert calls(folder / "out")


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "nowhere.py"),
        ("check", "--against", "nowhere", "train.py"),
        ("check", "--perturb", "bit", "--against", "cpu", "train.py"),
        ("check", "--calls", "Functional.gelu", "train.py"),
        ("dump", "--fix", "Functional.gelu", "train.py"),
        ("dump", "--each", "3", "train.py"),
        ("dump", "--stop-at-nan", "--self-check", "train.py"),
    ],
)
def test_what_cannot_be_done_is_one_line(folder: Path, arguments: tuple[str, ...]) -> None:
    ran = acc(*arguments, cwd=folder)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.splitlines()[-1].startswith("acc: error: ")
    assert "Traceback" not in ran.stderr
