"""`make test-torch-npu` where it can do nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

JOB = Path(__file__).parent / "job.py"


def test_without_a_compiler_it_says_so_and_is_done() -> None:
    variables = {**os.environ, "CC": "no-such-compiler"}
    done = subprocess.run(
        [sys.executable, str(JOB)], env=variables, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0
    line = "test-torch-npu: skipped, there is no C compiler (no-such-compiler) to build the stub CANN libraries with\n"
    assert (done.stdout, done.stderr) == (line, "")
