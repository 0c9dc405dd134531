"""On a torch without a device in Python the CPU stands in, with the same faults."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import dump.sim
from dump.environment import device
from dump.sim import faults, on_cpu
from dump.torch_internals import dispatch_modes

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def _an_old_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dump.sim, "_SUPPORTED", False)


def _grad(x: torch.Tensor) -> torch.Tensor:
    x = x.clone().requires_grad_()
    torch.nn.functional.gelu(x).sum().backward()
    assert x.grad is not None
    return x.grad


def test_faults_hit_the_kernels_of_the_cpu_forward_and_backward() -> None:
    x = torch.linspace(-2, 2, 16)
    right, slope = torch.nn.functional.gelu(x), _grad(x)
    with dump.sim.nearest(faults=["aten::gelu=scale:2@1", "gelu_backward=nan:3"]) as kind:
        assert kind == "cpu"
        assert torch.equal(torch.nn.functional.gelu(x), right)
        assert torch.equal(torch.nn.functional.gelu(x), right * 2)
        wrong = _grad(x)
        assert torch.equal(wrong.isnan().nonzero().flatten(), torch.tensor([3]))
        assert device.device_name("cpu") == on_cpu.NAME
    assert torch.equal(torch.nn.functional.gelu(x), right)
    assert torch.equal(_grad(x), slope)
    assert device.device_name("cpu") == "cpu"
    assert faults.injected() == ()


def test_a_fault_in_place_and_without_faults_nothing_changes() -> None:
    x = torch.linspace(-2, 2, 16)
    with dump.sim.nearest():
        assert torch.equal(x.sigmoid(), x.clone().sigmoid_())
    with dump.sim.nearest(faults=["aten::sigmoid_=bf16"]):
        assert not torch.equal(x.sigmoid(), x.clone().sigmoid_())
        assert torch.allclose(x.sigmoid(), x.clone().sigmoid_(), atol=1e-2)


def test_the_modes_of_the_thread_are_as_before() -> None:
    class Users(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            return func(*args, **(kwargs or {}))

    with Users() as users:
        with dump.sim.nearest(faults=["aten::gelu=bf16"]):
            assert len(dispatch_modes()) == 2
        assert dispatch_modes() == [users]


@pytest.mark.slow
@pytest.mark.parametrize("target", [(), ("--device", "npu")])
def test_acc_dump_says_that_the_device_is_the_cpu(tmp_path: Path, target: tuple[str, ...]) -> None:
    script = "import sys, dump.sim; dump.sim._SUPPORTED = False; from acc_compare.cli import main; sys.exit(main())"
    small = ("-a", "resnet18", "-b", "2", "--image-size", "32", "--classes", "3")
    planted = ("--simulated-npu", "--simulated-fault", "aten::native_batch_norm=bf16@7")
    for name, flags in (("npu", (*planted, *target)), ("bench", ("--device", "cpu"))):
        run = subprocess.run(
            [sys.executable, "-c", script, "dump", *flags, "-o", str(tmp_path / name), *small],
            capture_output=True,
            text=True,
            cwd=ROOT,
            check=False,
        )
        assert run.returncode == 0, run.stderr
        assert run.stdout.startswith("step 0: loss")
        assert ("the NPU is simulated on the device 'cpu'" in run.stderr) == (name == "npu")
    from acc_compare import compare

    found = compare(tmp_path / "npu", tmp_path / "bench").overall
    assert found.suspects[0].name.startswith("Functional.batch_norm.7.")
    assert "simulated" in found.npu_device
