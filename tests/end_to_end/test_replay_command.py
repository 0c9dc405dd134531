"""`acc replay` as users run it: a run recorded in one process, its calls made again in others."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import dump.sim

ROOT = Path(__file__).parents[2]
ACC = "import sys; from acc_compare.cli import main; sys.exit(main())"
SCRIPT = """
import torch
import torch.nn.functional as F

torch.manual_seed(1)
x = torch.randn(32, 16).to("npu").requires_grad_()
weight = torch.randn(16, 16).to("npu").requires_grad_()
for step in range(2):
    y = F.gelu(F.linear(F.gelu(F.linear(x, weight)), weight))
    y.square().mean().backward()
"""


def acc(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", ACC, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording on a simulated NPU whose second gelu is one in a thousand off."""
    if dump.sim.device_kind() != "npu":
        pytest.skip("this torch has no device in Python")
    found = tmp_path_factory.mktemp("replay")
    (found / "train.py").write_text(SCRIPT)
    fault = "aten::gelu=scale:1.001@1"
    ran = acc(
        *("dump", "--task", "tensor", "--simulated-npu", "--simulated-fault", fault, "-o", "npu", "train.py"), cwd=found
    )
    assert ran.returncode == 0, ran.stderr
    return found


def document(folder: Path, out: str) -> dict[str, Any]:
    (path,) = (folder / out / "replay").glob("replay_*.json")
    found: dict[str, Any] = json.loads(path.read_bytes())
    return found


@pytest.mark.slow
def test_the_fault_is_confirmed_and_all_others_are_cleared(folder: Path) -> None:
    ran = acc("replay", "npu", "--simulated-npu", "-o", "out", cwd=folder)
    assert ran.returncode == 1, ran.stderr
    assert ran.stdout.startswith("CONFIRMED: 1 of ")
    found = document(folder, "out")
    wrong = [(call["name"], call["cause"]) for call in found["calls"] if call["verdict"] == "confirmed"]
    assert wrong == [("Functional.gelu.1.forward", "elsewhere")]  # the fault is not planted again
    assert found["counts"]["cleared"] > 8
    assert found["device"] == "npu"
    assert list((folder / "out" / "replay").glob("*.xlsx"))


@pytest.mark.slow
def test_on_the_cpu_one_innocent_call(folder: Path) -> None:
    ran = acc("replay", "npu", "--call", "Functional.gelu.0", "--format", "none", "-o", "one", "-q", cwd=folder)
    assert (ran.returncode, ran.stdout.count("\n")) == (0, 1), ran.stderr
    found = document(folder, "one")
    assert [call["verdict"] for call in found["calls"]] == ["cleared", "cleared"]
    assert (found["device"], found["recorded_on"]) == ("cpu", "npu")


def test_suspects_of_an_advisor(folder: Path) -> None:
    suspects = [{"name": "Functional.gelu.1.forward", "step": 0, "rank": None, "kind": "operator"}]
    (folder / "advisor.json").write_text(json.dumps({"verdict": "different", "suspects": suspects}))
    ran = acc("replay", "npu", "--suspects", "advisor.json", "-o", "two", cwd=folder)
    assert ran.returncode == 1, ran.stderr
    causes = {call["name"]: call["cause"] for call in document(folder, "two")["calls"]}
    assert causes["Functional.gelu.1.forward"] == "recorded_device"


@pytest.mark.parametrize(
    "arguments",
    [
        ("replay", "nowhere"),
        ("replay", "npu", "--call", "Functional.nothing"),
        ("replay", "npu", "--call", "a", "--all"),
        ("replay", "npu", "--device", "cuda"),
        ("replay", "npu", "--against", "nowhere"),
        ("replay", "npu", "--import", "no_such_module"),
        ("replay", "npu", "--format", "docx"),
        ("replay", "npu", "--suspects", "train.py"),
        ("repro", "npu", "--call", "Functional.nothing"),
        ("repro", "npu", "--call", "Functional.gelu.1.forward", "-o", "."),
    ],
)
def test_what_cannot_be_done_is_one_line(folder: Path, arguments: tuple[str, ...]) -> None:
    ran = acc(*arguments, cwd=folder)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.startswith("acc: error: ")
    assert ran.stderr.count("\n") == 1


@pytest.mark.slow
def test_a_reproduction_runs_with_torch_alone(folder: Path) -> None:
    ran = acc("repro", "npu", "--call", "Functional.gelu.1.forward", cwd=folder)
    assert ran.returncode == 0, ran.stderr
    script = folder / "repro_Functional.gelu.1.forward" / "repro.py"
    ran = subprocess.run(
        [sys.executable, "-I", str(script), "cpu"], cwd="/", capture_output=True, text=True, timeout=60, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    here, recorded = ran.stdout.splitlines()
    assert here.endswith("right")
    assert recorded.endswith("WRONG")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "code", "wrong"),
    [((), 0, set()), (("--simulated-fault", "gelu_backward=scale:1.001"), 1, {"Functional.gelu.0.backward"})],
)
def test_a_check_on_one_machine(tmp_path: Path, fault: tuple[str, ...], code: int, wrong: set[str]) -> None:
    (tmp_path / "train.py").write_text(f"import sys\nassert sys.argv[1:] == ['--lr', '0.1']\n{SCRIPT}")
    options = ("--simulated-npu", *fault, "--each", 1, "--list", "gelu", "-o", "out")
    ran = acc("check", *options, "train.py", "--lr", 0.1, cwd=tmp_path)
    assert ran.returncode == code, ran.stderr
    calls = document(tmp_path, "out")["calls"]
    assert [call["name"] for call in calls] == ["Functional.gelu.0.forward", "Functional.gelu.0.backward"]
    assert {call["name"] for call in calls if call["cause"] == "operator"} == wrong
    assert (tmp_path / "out" / "dump").exists() == bool(wrong)  # kept where something is wrong
