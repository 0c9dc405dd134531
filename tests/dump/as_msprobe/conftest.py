"""What is answered, and how, is as it was when a test is over."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from dump import PrecisionDebugger
from dump.environment import versions


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    before = set(sys.modules)
    yield
    PrecisionDebugger.close()
    PrecisionDebugger.as_msprobe = False
    versions.called_as("")
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in ("msprobe", "torch_npu") or name == "dump.as_msprobe.debugger":
            del sys.modules[name]
