"""`acc report` as a user types it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def acc(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "acc_compare", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120, check=False)


def test_the_page_of_a_result_is_that_of_the_comparison(tmp_path: Path) -> None:
    samples = ROOT / "sample_dumps"
    sides = (samples / "gelu_in_bfloat16", samples / "bench_statistics")
    done = acc("compare", *sides, "--format", "csv", "-q", "-o", "out", cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    (page,) = (tmp_path / "out" / "accuracy_compare").glob("*.html")
    again = acc("report", "out", "-o", "again", cwd=tmp_path)
    assert (again.returncode, again.stderr) == (0, "")
    (made,) = (tmp_path / "again").glob("*.html")
    assert again.stdout == f"{Path('again') / page.name}\n"
    before, after = (_without_data(path.read_text(encoding="utf-8")) for path in (page, made))
    assert before == after


def _without_data(page: str) -> str:
    """What is read without a script; a csv holds no identities of values and each stack once."""
    return re.sub(r'<script type="[^>]*>[^<]*</script>\n?', "", page)


def test_what_is_no_result_is_one_line(tmp_path: Path) -> None:
    done = acc("report", tmp_path, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("acc: error: ")
    assert done.stderr.count("\n") == 1
