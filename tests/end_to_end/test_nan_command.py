"""`acc nan` as users run it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ACC = "import sys; from acc_compare.cli import main; sys.exit(main())"


def acc(*arguments: str, code: str = ACC, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code, "nan", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(("sample", "code"), [("nan_in_layer_norm", 1), ("bench_statistics", 0), ("nowhere", 2)])
def test_the_exit_code_says_it(sample: str, code: int) -> None:
    ran = acc(f"sample_dumps/{sample}")
    assert ran.returncode == code, ran.stderr
    assert (ran.stderr == "") == (code < 2)


def test_a_dump_without_an_end_is_not_called_finite(tmp_path: Path) -> None:
    (source,) = (ROOT / "sample_dumps" / "bench_statistics").rglob("dump.json")
    (tmp_path / "dump.json").write_bytes(b"\n".join(source.read_bytes().split(b"\n")[:20]))
    for lang in ("en", "zh"):
        ran = acc(str(tmp_path), "--lang", lang)
        assert (ran.returncode, ran.stderr) == (2, "")
        assert str(tmp_path / "dump.json") in ran.stdout
    assert json.loads(acc(str(tmp_path), "--json").stdout)["incomplete"]["kind"] == "no_end"


def test_json_without_torch() -> None:
    code = "import sys; from acc_compare.cli import main; main(); sys.exit('torch' in sys.modules)"
    ran = acc("sample_dumps/nan_in_layer_norm", "--json", code=code)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["origins"][0]["call"].startswith("Functional.layer_norm.")


def test_a_path_from_home(tmp_path: Path) -> None:
    (tmp_path / "dumps").symlink_to(ROOT / "sample_dumps")
    ran = acc("~/dumps/bench_statistics", HOME=str(tmp_path))
    assert ran.returncode == 0, ran.stderr
