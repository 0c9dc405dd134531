"""Tests of the real torch_npu, over stub CANN libraries: `make test-torch-npu` prepares both and runs them.

This process imports no torch: where torch_npu is installed without CANN, `import torch` itself fails.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest

FOLDER = "CANN_STUB"  # in the environment: where the stub libraries lie

Run: TypeAlias = "Callable[..., subprocess.CompletedProcess[str]]"


@pytest.fixture
def stub_folder() -> str:
    """Where the stub libraries are; the test is skipped where they are not."""
    folder = os.environ.get(FOLDER)
    if folder is None:
        pytest.skip("needs torch_npu over the stub CANN libraries: make test-torch-npu")
    return folder


@pytest.fixture
def variables(stub_folder: str) -> dict[str, str]:
    """The environment of a server on which CANN is installed, as far as torch_npu sees."""
    kept = {key: value for key, value in os.environ.items() if key not in ("ASCEND_HOME_PATH", "PYTHONPATH")}
    kept.pop("TORCH_DEVICE_BACKEND_AUTOLOAD", None)
    return {**kept, "LD_LIBRARY_PATH": stub_folder}


@pytest.fixture
def python(variables: dict[str, str]) -> Run:
    """Run this Python with `arguments`; other variables by keyword."""

    def run(*arguments: object, **others: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *map(str, arguments)]
        return subprocess.run(
            command, env={**variables, **others}, capture_output=True, text=True, timeout=120, check=False
        )

    return run


@pytest.fixture
def acc(variables: dict[str, str]) -> Run:
    """Run the installed command `acc`."""

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [str(Path(sys.executable).parent / "acc"), *map(str, arguments)]
        return subprocess.run(command, env=variables, capture_output=True, text=True, timeout=120, check=False)

    return run
