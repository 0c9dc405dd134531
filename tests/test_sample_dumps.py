"""Every sample is held to what its README says of it, by the real command line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import file_modules
import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "sample_dumps"
MAX_BYTES = 2_000_000


def _load() -> ModuleType:
    return file_modules.load(FOLDER / "make_samples.py", "make_samples")


MAKER = _load()


@pytest.mark.parametrize("sample", MAKER.SAMPLES, ids=lambda sample: sample.name)
def test_compare_says_what_the_readme_says(sample: object, tmp_path: Path) -> None:
    script = (
        "import sys; from acc_compare.cli import main; status = main();"
        " sys.exit(99 if 'torch' in sys.modules else status)"
    )
    npu, bench = FOLDER / sample.name, FOLDER / sample.bench  # type: ignore[attr-defined]
    ran = subprocess.run(
        [sys.executable, "-c", script, "compare", str(npu), str(bench), "-o", str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    expected = sample.verdict  # type: ignore[attr-defined]
    assert ran.returncode == (0 if expected == "same" else 1), ran.stderr
    advisor = json.loads(next((tmp_path / "accuracy_compare").glob("advisor_*.json")).read_bytes())
    assert advisor["verdict"] == expected
    first = advisor["suspects"][0] if advisor["suspects"] else {"name": "", "kind": ""}
    assert (first["name"], first["kind"]) == (sample.suspect, sample.kind)  # type: ignore[attr-defined]


def test_readme_has_the_table_of_the_script() -> None:
    assert MAKER.table() in (FOLDER / "README.md").read_text(encoding="utf-8")


def test_samples_are_small_and_name_no_machine() -> None:
    files = [path for path in FOLDER.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert sum(path.stat().st_size for path in files) < MAX_BYTES
    for path in files:
        if path.suffix == ".json":
            assert str(ROOT) not in path.read_text(encoding="utf-8")


def test_every_dump_folder_is_in_the_table() -> None:
    known = {sample.name for sample in MAKER.SAMPLES} | set(MAKER.BENCHES)
    assert {path.name for path in FOLDER.iterdir() if path.is_dir() and path.name != "__pycache__"} == known
