from __future__ import annotations

import platform
from pathlib import Path

import pytest
import torch

import dump.sim
from dump.config import DumpConfig
from dump.environment import device, versions
from dump.format.reader import read_dump
from dump.session import Session


def test_what_was_found() -> None:
    found = versions.found()
    assert (found.python, found.torch) == (platform.python_version(), torch.__version__)
    assert found.devices[-1] == "cpu"
    assert found.npu == device.detect_npu()
    assert found.numerics["default_dtype"] == "torch.float32"


@pytest.mark.skipif(not hasattr(dump.sim, "kernels"), reason="this torch has no simulated device")
def test_a_simulated_npu_is_called_that_wherever_it_is_named() -> None:
    dump.sim.enable()
    found = versions.found()
    assert (found.npu.state, found.devices[0]) == ("simulated", "npu:0 SimulatedNPU")
    assert versions.header()["npu"] == "simulated"


def test_the_header_of_a_dump_says_it(tmp_path: Path) -> None:
    session = Session(DumpConfig(dump_path=tmp_path, level="L1"))
    session.start()
    x = torch.ones(3).relu()
    torch.set_default_dtype(torch.float64)  # what holds when the step ends is what counts
    try:
        x.exp()
        session.step()
    finally:
        torch.set_default_dtype(torch.float32)
        session.close()
    header = read_dump(next(tmp_path.glob("step0/*"))).header
    assert header.numerics is not None
    assert header.numerics["default_dtype"] == "torch.float64"
    assert header.environment is not None
    assert header.environment["npu"] == device.detect_npu().state
