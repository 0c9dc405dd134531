"""`acc graph` in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SAMPLES = Path(__file__).resolve().parents[2] / "sample_dumps"


def acc(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "acc_compare", *arguments], cwd=cwd, capture_output=True, text=True, timeout=60
    )


def test_a_page_is_written_and_named(tmp_path: Path) -> None:
    done = acc("graph", str(SAMPLES / "nan_in_layer_norm"), "-o", "pages", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    (written,) = (tmp_path / "pages").iterdir()
    assert done.stdout.split() == [str(Path("pages") / written.name)]
    assert "Functional.layer_norm.2.forward" in written.read_text(encoding="utf-8")


def test_what_is_no_dump_is_one_line(tmp_path: Path) -> None:
    done = acc("graph", "nowhere", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    done = acc("graph", str(SAMPLES / "healthy"), "--lang", "fr", cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert list(tmp_path.iterdir()) == []
