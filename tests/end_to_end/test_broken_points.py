"""A torch in which something is not as it was: what can be recorded is, the rest is named, and the script runs on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from acc_compare import compare

ROOT = Path(__file__).parents[2]
SCRIPT = """
import sys, torch
model = torch.nn.Linear(2, 2)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
model(torch.ones(1, 2)).relu().sum().backward()
optimizer.step()
print(model.weight.sum().item())
sys.exit(int(sys.argv[1]))
"""
_RUN = "import sys; from acc_compare.cli import main; sys.exit(main())"
_NO_HOOKS = """
import torch.optim.optimizer as o
def gone(*_): raise RuntimeError("no such hook in this build")
o.register_optimizer_step_pre_hook = gone
"""
_NO_GRADIENTS = """
import dump.torch_internals as t, dump.intercept.autograd as a
def gone(*_): raise RuntimeError("no such node")
a.next_sequence_number = gone
"""
_NO_REMOVAL = """
import dump.intercept.callers as c
def gone(*_): raise RuntimeError("nothing to forget")
c.forget = gone
"""
_NO_NODES = """
import torch.autograd.graph
node = torch.autograd.graph.Node
del torch.autograd.graph.Node
"""
DEBUGGED = """
from dump import PrecisionDebugger, TrainerMon, module_dump, register_custom_api
torch.autograd.graph.Node = node  # torch itself may need it
debugger = PrecisionDebugger(task="statistics", dump_path="dump")
debugger.start()
PrecisionDebugger.stop()
debugger.step()
module_dump(None, "x")
TrainerMon("monitor.json").set_monitor(None, None)
"""
_NO_SCALER = """
import torch
del torch.amp.GradScaler, torch.cuda.amp.GradScaler
"""


def _dump(folder: Path, name: str, *, damage: str = "", status: int = 0) -> subprocess.CompletedProcess[str]:
    (folder / "train.py").write_text(SCRIPT)
    return subprocess.run(
        [sys.executable, "-c", f"{damage}{_RUN}", "dump", "--seed", "1", "-o", name, "train.py", str(status)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


def test_a_point_that_raises_while_it_is_installed(tmp_path: Path) -> None:
    whole, broken = _dump(tmp_path, "whole", status=7), _dump(tmp_path, "broken", damage=_NO_HOOKS, status=7)
    assert (whole.returncode, broken.returncode) == (7, 7)
    assert broken.stdout == whole.stdout
    told = "optimizer steps: RuntimeError: no such hook in this build"
    lines = [line for line in broken.stderr.splitlines() if told in line]
    assert len(lines) == 2  # as it begins, and in the closing line
    assert all("not recorded with torch" in line for line in lines)
    coverage = json.loads(next((tmp_path / "broken").rglob("dump.json")).read_text())["coverage"]
    assert coverage["left_out"] == {"optimizer steps": "RuntimeError: no such hook in this build"}
    notes = {note.key: dict(note.values) for note in compare(tmp_path / "broken", tmp_path / "whole").overall.notes}
    assert notes["note.left_out"]["text"] == "optimizer steps (RuntimeError: no such hook in this build)"
    assert notes["note.left_out"]["side"].key == "name.npu"


def test_a_point_that_raises_while_it_works(tmp_path: Path) -> None:
    whole, broken = _dump(tmp_path, "whole"), _dump(tmp_path, "broken", damage=_NO_GRADIENTS)
    assert (broken.returncode, broken.stdout) == (0, whole.stdout)
    told = "RuntimeError: no such node"
    assert len([line for line in broken.stderr.splitlines() if told in line]) == 2
    coverage = json.loads(next((tmp_path / "broken").rglob("dump.json")).read_text())["coverage"]
    assert [told in reason for reason in coverage["failed"]] == [True]
    assert "note.missed" in {note.key for note in compare(tmp_path / "broken", tmp_path / "whole").overall.notes}


def test_a_torch_without_gradient_scalers(tmp_path: Path) -> None:
    ran = _dump(tmp_path, "none", damage=_NO_SCALER, status=7)
    assert ran.returncode == 7
    (header,) = (json.loads(path.read_text()) for path in (tmp_path / "none").rglob("dump.json"))
    assert list(header["coverage"]["left_out"]) == ["steps that a gradient scaler skips"]
    assert len([line for line in ran.stderr.splitlines() if "steps that a gradient scaler skips: Attr" in line]) == 2


def test_what_fails_while_torch_is_put_back(tmp_path: Path) -> None:
    whole, broken = _dump(tmp_path, "whole", status=7), _dump(tmp_path, "broken", damage=_NO_REMOVAL, status=7)
    assert (whole.returncode, broken.returncode) == (7, 7)
    assert broken.stdout == whole.stdout
    assert len([line for line in broken.stderr.splitlines() if "nothing to forget" in line]) == 1
    assert next((tmp_path / "broken").rglob("dump.json")).exists()


def test_where_nothing_can_be_begun_the_script_runs_by_itself(tmp_path: Path) -> None:
    ran = _dump(tmp_path, "none", damage=_NO_NODES, status=7)
    assert ran.returncode == 7
    assert len(ran.stdout.splitlines()) == 1
    (line,) = [line for line in ran.stderr.splitlines() if "error: " in line]
    assert "ImportError" in line
    assert not (tmp_path / "none").exists()


def test_where_nothing_can_be_imported_a_script_with_a_debugger_runs_on(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(_NO_NODES + DEBUGGED + SCRIPT)
    ran = subprocess.run(
        [sys.executable, "train.py", "7"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert (ran.returncode, len(ran.stdout.splitlines())) == (7, 1)
    (line,) = ran.stderr.splitlines()
    assert "nothing is recorded" in line
    assert "ImportError" in line
