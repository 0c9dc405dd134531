from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import dump.sim
from dump.environment import device

ROOT = Path(__file__).parents[3]

BROKEN = """
import os
import torch_npu.sub
print("noise from a failing import")
os.environ["TORCH_DEVICE_BACKEND_AUTOLOAD"] = "0"
raise Exception("ASCEND_OPP_PATH is not set\\nsecond line")
"""
WORKING = """
import types, torch
torch.utils.rename_privateuse1_backend("npu")
torch.npu = types.SimpleNamespace(
    is_available=lambda: torch.npu.count > 0,
    device_count=lambda: torch.npu.count,
    get_device_name=lambda index: f"Ascend910B-{index}",
    current_device=lambda: 1,
    count=0,
)
"""
CHILD = """
import json, os, sys
import torch
from dump.environment import device

found = {}

def look(name):
    before = dict(os.environ)
    npu = device.detect_npu()
    traces = sorted(module for module in sys.modules if "torch_npu" in module)
    found[name] = [npu.state, npu.detail, dict(os.environ) == before, traces]

look("absent")
sys.path.append(sys.argv[1] + "/broken")
device._import_torch_npu.cache_clear()
look("broken")
look("broken again")
sys.path[-1] = sys.argv[1] + "/working"
import torch_npu  # what failed for us has come right for the user
look("no device")
torch.npu.count = 2
look("ok")
found["best"] = device.best_device()
found["name"] = device.device_name("npu")

def fails():
    raise RuntimeError("driver not loaded")

torch.npu.is_available = fails
look("driver")
print(json.dumps(found))
"""
FOREIGN = """
import torch
torch.utils.rename_privateuse1_backend("maia")
from dump.environment import device
print(device.detect_npu())
"""


def _python(source: str, *arguments: object) -> subprocess.Popen[str]:
    variables = {key: value for key, value in os.environ.items() if key != "TORCH_DEVICE_BACKEND_AUTOLOAD"}
    return subprocess.Popen(
        [sys.executable, "-c", source, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**variables, "PYTHONPATH": str(ROOT)},
    )


@pytest.mark.slow
@pytest.mark.skipif(device.detect_npu().state in ("ok", "no-device"), reason="torch_npu is installed here")
def test_detect_npu(tmp_path: Path) -> None:
    for name, source in (("broken", BROKEN), ("working", WORKING)):
        (tmp_path / name / "torch_npu").mkdir(parents=True)
        (tmp_path / name / "torch_npu" / "__init__.py").write_text(source)
        (tmp_path / name / "torch_npu" / "sub.py").write_text("")
    child, foreign = _python(CHILD, tmp_path), _python(FOREIGN)
    out, err = child.communicate(timeout=60)
    assert err == ""
    found = json.loads(out)  # one line: nothing of the failing import's noise
    assert found["absent"] == ["absent", "torch_npu is not installed", True, []]
    broken = ["broken", "Exception: ASCEND_OPP_PATH is not set", True, []]
    assert found["broken"] == found["broken again"] == broken
    assert found["no device"][0] == "no-device"
    assert found["ok"][:3] == ["ok", "2 devices", True]
    assert found["driver"][:2] == ["broken", "RuntimeError: driver not loaded"]
    assert (found["best"], found["name"]) == ("npu", "Ascend910B-1")
    out, err = foreign.communicate(timeout=60)
    assert "state='absent'" in out
    assert "maia" in out
    assert err == ""


@pytest.mark.skipif(not hasattr(dump.sim, "kernels"), reason="this torch has no simulated device")
def test_the_simulated_device_is_told_from_a_real_one() -> None:
    dump.sim.enable()
    assert device.detect_npu() == device.Detected("simulated", "dump.sim")
    assert device.best_device() == "npu"
    assert device.device_name("npu") == "SimulatedNPU"


@pytest.mark.parametrize("kind", ["cpu", "mps", "no_such_device"])
def test_a_device_without_a_name_goes_by_its_kind(kind: str) -> None:
    assert device.device_name(kind) == kind


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there_has_no_name() -> None:
    assert device.device_name("cuda") == "cuda"


@pytest.mark.parametrize(
    ("variables", "rank", "world"),
    [
        ({}, None, 1),
        ({"RANK": "3", "WORLD_SIZE": "8"}, 3, 8),
        ({"RANK_ID": "2"}, 2, 1),
        ({"RANK": "1", "RANK_ID": "2"}, 1, 1),
        ({"RANK": "", "RANK_ID": "2"}, 2, 1),
        ({"RANK": "-1", "WORLD_SIZE": "many"}, None, 1),
        ({"RANK": "²", "WORLD_SIZE": "0"}, None, 1),
    ],
)
def test_rank_and_world_size_from_the_launcher(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], rank: int | None, world: int
) -> None:
    for name in ("RANK", "RANK_ID", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert device.current_rank() == rank
    assert device.world_size() == world


def test_the_process_group_knows_better(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "5")
    monkeypatch.setenv("WORLD_SIZE", "9")
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'meet'}", rank=0, world_size=1)
    try:
        assert (device.current_rank(), device.world_size()) == (0, 1)
    finally:
        torch.distributed.destroy_process_group()
