"""A test that fails half-way says so alone."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

_TESTS = """
from dump import PrecisionDebugger
from dump.session import Session

def test_fails(config):
    session = Session(config)
    session.start()
    assert False

def test_comes_after(config):
    session = Session(config)
    session.start()
    session.close()

def test_fails_too(tmp_path):
    PrecisionDebugger(dump_path=str(tmp_path))
    assert False

def test_comes_last(tmp_path):
    PrecisionDebugger(dump_path=str(tmp_path), level="L0").start()
    PrecisionDebugger.close()
"""


def test_a_session_left_open_is_closed_before_the_next_test(tmp_path: Path) -> None:
    shutil.copy(Path(__file__).parent / "conftest.py", tmp_path)
    (tmp_path / "test_four.py").write_text(_TESTS)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(tmp_path)],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    failed = [line.split(" ")[1] for line in done.stdout.splitlines() if line.startswith("FAILED")]
    assert failed == ["test_four.py::test_fails", "test_four.py::test_fails_too"]
    assert "2 failed, 2 passed" in done.stdout
