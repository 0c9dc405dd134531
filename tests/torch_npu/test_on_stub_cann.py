"""The real torch_npu, as it comes from PyPI, recorded by the real command line.  Below it nothing is real: the CANN
libraries are stubs, and the device computes with the CPU's kernels (`stub/stub_kernels.py`)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dump.format.reader import read_dump
from dump.format.schema import CallRecord, Dump, TensorRecord
from dump.format.tensors import read_tensor

HERE = Path(__file__).parent
SCRIPTS = HERE / "scripts"
ON_STUB = HERE / "stub" / "on_stub.py"

# Of `acc dump`: imports torch_npu and transfer_to_npu before the script, which was written for CUDA.
DEVICE_OPTIONS = ("--device", "npu")

OPERATORS_OF_2_13 = 403
EPSILON = 1e-5
DETECT = """
import json, os
from dump.environment import device  # and with it torch, which loads torch_npu where it can
before = dict(os.environ)
found = device.detect_npu()
print(json.dumps([found.state, found.detail, dict(os.environ) == before]))
"""


def last_line(text: str) -> str:
    return text.strip().splitlines()[-1]


def the_dump(folder: Path) -> Path:
    (found,) = folder.glob("step0/*")
    return found


def array(folder: Path, call: CallRecord, argument: str) -> np.ndarray:
    (leaf,) = [each.leaf for each in (*call.inputs, *call.outputs) if each.name == argument]
    assert isinstance(leaf, TensorRecord)
    assert leaf.data_name is not None
    return read_tensor(folder / "dump_tensor_data", leaf.data_name).astype(np.float64)


def test_it_imports_and_is_found(python: Any) -> None:
    done = python("-c", DETECT)
    assert done.returncode == 0, done.stderr
    assert json.loads(last_line(done.stdout)) == ["ok", "1 devices", True]


def test_without_the_libraries_it_is_broken_and_leaves_no_trace(python: Any) -> None:
    done = python("-c", DETECT, LD_LIBRARY_PATH="", TORCH_DEVICE_BACKEND_AUTOLOAD="0")
    assert done.returncode == 0, done.stderr
    state, detail, environment_kept = json.loads(done.stdout)
    assert state == "broken"
    assert ".so" in detail
    assert environment_kept


def test_every_operator_is_recorded_and_stays_what_it_is(python: Any, tmp_path: Path) -> None:
    done = python(SCRIPTS / "enumerate_operators.py", tmp_path / "dump")
    assert done.returncode == 0, done.stderr
    found = json.loads(last_line(done.stdout))
    assert len(found["names"]) == OPERATORS_OF_2_13
    assert found["counted"] == found["names"] == found["registered"]
    assert found["replaced"] == []
    assert found["put back"]
    assert "deprecated" in found["deprecated"]
    assert found["wrapped on torch"] == []


@pytest.fixture
def rms_norm(acc: Any, tmp_path: Path) -> tuple[Path, Dump, str]:
    options = ("--task", "tensor", "--level", "L1", *DEVICE_OPTIONS, "-o", tmp_path / "dump")
    done = acc("dump", *options, ON_STUB, SCRIPTS / "rms_norm.py")
    assert done.returncode == 0, done.stderr
    folder = the_dump(tmp_path / "dump")
    return folder, read_dump(folder), done.stdout


def test_rms_norm_is_recorded_forward_and_backward(rms_norm: tuple[Path, Dump, str]) -> None:
    folder, dump, printed = rms_norm
    calls = {call.name: call for call in dump.calls}
    forward, backward = calls["NPU.npu_rms_norm.0.forward"], calls["NPU.npu_rms_norm.0.backward"]
    x, gamma = array(folder, forward, "input.0"), array(folder, forward, "input.1")
    scale = 1 / np.sqrt((x**2).mean(-1, keepdims=True) + EPSILON)
    normal = x * scale
    assert np.allclose(array(folder, forward, "output.0"), normal * gamma, atol=1e-6)
    assert np.allclose(array(folder, forward, "output.1"), scale, atol=1e-6)
    dy = array(folder, backward, "input.0")
    assert dy.shape == x.shape
    assert (dy == np.arange(8.0)).all()
    share = dy * gamma
    dx = scale * (share - normal * (share * normal).mean(-1, keepdims=True))
    assert np.allclose(array(folder, backward, "output.0"), dx, atol=1e-5)
    assert np.allclose(array(folder, backward, "output.1"), (dy * normal).sum((0, 1)), atol=1e-5)
    # The overload, by its name, is a second call; compiled code computes what it should.
    assert "NPU.npu_rms_norm.1.forward" in calls
    assert printed.splitlines()[-3:] == ["default True True", "eager True", "aot_eager True"]


def train(acc: Any, folder: Path, *on_device: object) -> str:
    options = ("--task", "statistics", "--level", "mix", "--step", "0-2", "-o", folder)
    done = acc("dump", *options, *on_device, SCRIPTS / "train_for_gpu.py", "--gpu", "0")
    assert done.returncode == 0, done.stderr
    return str(done.stdout)


def compare(acc: Any, npu: Path, bench: Path, results: Path) -> tuple[int, dict[str, Any]]:
    done = acc("compare", npu, bench, "-o", results)
    assert done.returncode in (0, 1), done.stderr
    (advisor,) = (results / "accuracy_compare").glob("advisor_*.json")
    return done.returncode, json.loads(advisor.read_text(encoding="utf-8"))


def test_a_gpu_script_trains_on_the_npu_and_compares_same_with_the_cpu(acc: Any, tmp_path: Path) -> None:
    on_npu = train(acc, tmp_path / "npu", *DEVICE_OPTIONS, ON_STUB)
    on_cpu = train(acc, tmp_path / "cpu")
    assert "step 2 on npu" in on_npu
    steps = [line for line in on_cpu.splitlines() if line.startswith("step")]
    assert [line.replace("on npu", "on cpu") for line in on_npu.splitlines() if line.startswith("step")] == steps
    header = read_dump(the_dump(tmp_path / "npu")).header
    assert header.device == "npu"
    assert header.device_name == "CANN stub (no NPU; kernels of the CPU)"
    status, advisor = compare(acc, tmp_path / "npu", tmp_path / "cpu", tmp_path / "results")
    assert (status, advisor["verdict"], advisor["suspects"]) == (0, "same", [])
    assert advisor["compared"]["calls"] > 100
    assert advisor["compared"]["unmatched_npu"] == advisor["compared"]["unmatched_bench"] == 0

    train(acc, tmp_path / "faulty", *DEVICE_OPTIONS, ON_STUB, "--faulty", "aten::gelu")
    status, advisor = compare(acc, tmp_path / "faulty", tmp_path / "cpu", tmp_path / "blame")
    assert (status, advisor["verdict"]) == (1, "different")
    assert advisor["suspects"][0]["name"] == "Functional.gelu.0.forward"
