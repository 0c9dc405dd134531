"""`acc serve` as a process, beside a job that writes, read in a browser's stead by requests."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

SAMPLES = Path(__file__).resolve().parents[2] / "sample_dumps"


def test_it_says_where_it_is_and_ends_quietly(tmp_path: Path) -> None:
    shutil.copytree(SAMPLES / "healthy", tmp_path / "dumps" / "npu")
    command = [sys.executable, "-m", "acc_compare", "serve", "dumps"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}

    def heeds_interrupts() -> None:  # a test run in the background of a shell does not
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    with subprocess.Popen(command, cwd=tmp_path, text=True, preexec_fn=heeds_interrupts, **pipes) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        assert address.startswith("http://127.0.0.1:")
        with urllib.request.urlopen(address, timeout=30) as answer:
            content = answer.read().decode("utf-8")
        assert ">npu<" in content
        process.send_signal(signal.SIGINT)
        out, error = process.communicate(timeout=30)
    assert (process.returncode, out, error) == (0, "", "")


def test_what_is_no_folder_is_one_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "acc_compare", "serve", "nowhere"], cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
