from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import dump.sim
from dump.cli.recording import Script
from dump.cli.starting import DeviceKind, Start, begun, missed_faults
from dump.environment import device, versions
from dump.format.errors import ConfigError

ROOT = Path(__file__).parents[3]
TRANSFER = """
import torch, torch_npu
print("transfer", torch_npu.imported)
original = torch.Tensor.cuda
torch.Tensor.cuda = lambda self, *args, **kwargs: self.clone()
"""
WORKING = """
import types, torch
imported = "after torch_npu"
torch.utils.rename_privateuse1_backend("npu")
torch._register_device_module("npu", types.SimpleNamespace(is_available=lambda: True, device_count=lambda: 1))
"""
SCRIPT = """
import torch
torch.ones(2).cuda().relu()
"""


def test_cuda_means_the_target_within_and_headers_say_it() -> None:
    said: list[str] = []
    with begun(Start(seed=5, device=DeviceKind.cpu), said.append):
        assert torch.ones(2).cuda().device.type == "cpu"
        assert versions.header()["asked_for"] == "cpu"
        first = random.random(), torch.rand(1)
    assert said == ["what the script does on CUDA runs on the CPU"]
    assert "asked_for" not in versions.header()
    with begun(Start(seed=5), said.append):
        assert (random.random(), torch.rand(1)) == first
    assert len(said) == 1


def test_headers_say_how_the_run_was_started() -> None:
    before = versions.header()
    with begun(Start(seed=5), print):
        told = versions.header()
    assert {key: told[key] for key in told.keys() - before.keys()} == {"seed": 5}
    with versions.running(deterministic=True, simulated_faults=["gelu=fp16"], command=[]):
        told = versions.header()
    assert {key: told[key] for key in told.keys() - before.keys()} == {
        "deterministic": True,
        "simulated_faults": ["gelu=fp16"],
    }
    with begun(Start(), print):
        assert versions.header() == before
    assert versions.header() == before


@pytest.mark.parametrize(
    ("arguments", "module", "command"),
    [
        (("-a", "resnet18", "--dummy"), None, ["-a", "resnet18", "--dummy"]),
        (("--lr", "0.1"), "pkg.train", ["-m", "pkg.train", "--lr", "0.1"]),
        (("/t.py", "--lr"), None, ["/t.py", "--lr"]),
        (("/t.py", "--hub-token", "x", "--key=y"), None, ["/t.py", "--hub-token", "HIDDEN", "--key=y"]),
        (("/t.py", "--api_key=y", "z"), None, ["/t.py", "--api_key=HIDDEN", "z"]),
        (("/t.py", "--tokens", "5", "--password", "p"), None, ["/t.py", "--tokens", "5", "--password", "HIDDEN"]),
    ],
)
def test_what_was_run_is_told_without_secrets(
    arguments: tuple[str, ...], module: str | None, command: list[str]
) -> None:
    assert Script(arguments, module).command() == command


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match="finds no CUDA device here"), begun(Start(device=DeviceKind.cuda), print):
        pass
    assert "asked_for" not in versions.header()


def test_an_npu_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "detect_npu", lambda: device.Detected("broken", "ImportError: libhccl.so"))
    with (
        pytest.raises(ConfigError, match=r"broken: ImportError: libhccl\.so"),
        begun(Start(device=DeviceKind.npu), print),
    ):
        pass


@pytest.mark.skipif(not hasattr(dump.sim, "kernels"), reason="this torch has no simulated device")
def test_the_simulated_npu() -> None:
    said: list[str] = []
    with begun(Start(simulated_npu=True, device=DeviceKind.npu), said.append):
        assert torch.ones(2).cuda().device.type == "npu"
    assert said[-1] == "what the script does on CUDA runs on the simulated NPU"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("device", "faults", "said"),
    [
        (DeviceKind.npu, ("aten::neg=scale:2", "aten::neg=sign@1"), []),
        (DeviceKind.npu, ("aten::neg=sign@2",), ["aten::neg=sign@2 hit nothing: aten::neg was called no more than 2"]),
        (None, ("aten::gelu=bf16",), ["aten::gelu was not called on the simulated NPU"]),
    ],
)
def test_a_fault_that_hit_nothing_is_told(device: DeviceKind | None, faults: tuple[str, ...], said: list[str]) -> None:
    start = Start(simulated_npu=True, faults=faults, device=device)
    with begun(start, lambda _: None):
        x = torch.ones(1, device=dump.sim.device_kind())
        _ = -x, -x
        found = list(missed_faults(start))
    assert len(found) == len(said)
    assert all(text in sentence for text, sentence in zip(said, found, strict=True))


def test_torch_npu_transfers_first_and_is_recorded_over(tmp_path: Path) -> None:
    package = tmp_path / "torch_npu" / "contrib"
    package.mkdir(parents=True)
    (package.parent / "__init__.py").write_text(WORKING)
    (package / "__init__.py").write_text("")
    (package / "transfer_to_npu.py").write_text(TRANSFER)
    (tmp_path / "train.py").write_text(SCRIPT)
    run = subprocess.run(
        [sys.executable, "-m", "dump", "--device", "npu", "-o", "out", "train.py"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join((str(tmp_path), str(ROOT)))},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout == "transfer after torch_npu\n"
    text = next(tmp_path.glob("out/step0/*/dump.json")).read_text()
    assert '"asked_for":"npu"' in text
    for name in ("Tensor.cuda.0.forward", "Tensor.relu.0.forward"):
        assert f'"{name}"' in text
