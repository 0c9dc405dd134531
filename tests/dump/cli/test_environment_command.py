from __future__ import annotations

from dataclasses import replace

import pytest

from dump.cli.environment_command import lines
from dump.environment.device import Detected
from dump.environment.versions import Environment

FOUND = Environment(
    python="3.11.7",
    platform="Linux",
    torch="2.13.0",
    npu=Detected("broken", "ImportError: libhccl.so: cannot open shared object file"),
    torch_npu="2.13.0",
    cann=None,
    driver="24.1",
    cuda=None,
    cudnn=None,
    devices=("cpu",),
    native="on",
    numerics={
        "float32_matmul.cpu": "full",
        "threads": 2,
        "cudnn.benchmark": False,
        "environment": {"MKL_CBWR": "AVX2"},
    },
)


def test_the_page() -> None:
    told = dict(lines(FOUND))
    assert told["NPU"] == "broken: ImportError: libhccl.so: cannot open shared object file"
    assert told["torch_npu"] == "2.13.0"
    assert told["CANN"] == "not found"
    assert told["NPU driver"] == "24.1"
    assert told["float32_matmul.cpu"] == "full"
    assert told["threads"] == "2"
    assert told["cudnn.benchmark"] == "off"
    assert list(told)[-1] == "$MKL_CBWR"
    assert "environment" not in told


@pytest.mark.parametrize(
    ("version", "remark"),
    [
        ("2.14.1+cu130", ""),
        ("2.1.2", ""),
        ("2.15.0", "newer than any that was tested (2.14)"),
        ("3.0.0a0+git1", "newer than any that was tested (2.14)"),
        ("2.0.1", "older than any that was tested (2.1)"),
    ],
)
def test_a_torch_that_was_not_tested_is_told(version: str, remark: str) -> None:
    told = dict(lines(replace(FOUND, torch=version)))["torch"]
    assert told.startswith(f"{version}, {remark}") if remark else told == version
