"""What the pages under docs say of the code is so."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from acc_compare.align.mapping_file import read_rules

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def refresh() -> ModuleType:
    spec = importlib.util.spec_from_file_location("refresh", DOCS / "refresh.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def fenced(page: str, language: str) -> list[str]:
    """The code blocks of one language on a page."""
    return re.findall(rf"```{language}\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL)


def test_the_table_of_fused_operators_is_the_one_that_is_shipped(refresh: ModuleType) -> None:
    text = refresh.MAPPING.read_text(encoding="utf-8")
    assert refresh.with_block(text, refresh.known_pairs_block(), refresh.PAIRS) == text


def test_the_mapping_on_the_page_is_read(tmp_path: Path) -> None:
    (example,) = fenced("mapping.md", "yaml")
    path = tmp_path / "map.yaml"
    path.write_text(example, encoding="utf-8")
    rules = read_rules(path)
    assert rules.renaming.modules == {"encoder.layers.*.attn": "decoder.blocks.*.attention"}
    assert rules.fused[0].name == "my_norm"
    assert len(rules.fused) > 5


def test_the_tests_on_the_page_run_and_fail_as_shown(tmp_path: Path) -> None:
    (tmp_path / "test_port.py").write_text(fenced("testing.md", "python")[0], encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "--tb=short",
        "-p",
        "no:cacheprovider",
        "--rootdir=.",
        "test_port.py",
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert "1 failed, 1 passed" in ran.stdout, ran.stdout
    printed = ran.stdout.replace(f"{tmp_path}{os.sep}", "")
    shown = re.search(r"```\n(E .*?)```", (DOCS / "testing.md").read_text(encoding="utf-8"), re.DOTALL)
    assert shown is not None
    for line in shown[1].splitlines():
        assert _without_numbers(line).rstrip() in _without_numbers(printed), line


def _without_numbers(text: str) -> str:
    """Measured numbers differ between processors."""
    return re.sub(r"[0-9][0-9.,]*(e-?[0-9]+)?", "#", text)
