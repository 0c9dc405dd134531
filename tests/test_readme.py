"""The READMEs tell the truth: generated parts are current, examples load, commands and files exist."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import file_modules
import pytest

from dump.config import load_config

ROOT = Path(__file__).resolve().parent.parent
READMES = ("README.md", "README.zh-CN.md")
DOCUMENTS = (*READMES, "docs/advisor.md", "docs/mapping.md")


def _refresh() -> ModuleType:
    return file_modules.load(ROOT / "docs" / "refresh.py", "refresh")


def test_the_advisor_in_the_documents_is_what_compare_prints() -> None:
    documents = _refresh().documents()
    assert set(documents) == set(DOCUMENTS)
    for name, text in documents.items():
        assert (ROOT / name).read_text(encoding="utf-8") == text, f"{name}: run python docs/refresh.py"


@pytest.mark.parametrize("name", READMES)
def test_config_example_loads(name: str, tmp_path: Path) -> None:
    example = re.search(r"```json\n(.*?)```", (ROOT / name).read_text(encoding="utf-8"), re.DOTALL)
    assert example is not None
    path = tmp_path / "config.json"
    path.write_text(example[1], encoding="utf-8")
    config = load_config(path)
    assert config.step == frozenset({0, 4, 5, 6})
    assert config.level == "mix"
    assert not config.ignored


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_lead_to_files(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        if "://" not in target:
            assert ((ROOT / name).parent / target).exists(), target


@pytest.mark.parametrize("name", READMES)
def test_make_targets_exist(name: str) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^make (\w+)", (ROOT / name).read_text(encoding="utf-8"), re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_options_in_the_readme_are_in_the_help() -> None:
    script = "import sys; from acc_compare.cli import main; sys.exit(main())"
    helps = ""
    for command in ("dump", "compare", "monitor show", "monitor compare"):
        ran = subprocess.run(
            [sys.executable, "-c", script, *command.split(), "--help"],
            capture_output=True,
            text=True,
            check=True,
            cwd=ROOT,
        )
        helps += ran.stdout
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    used = set(re.findall(r"acc (?:dump|compare|monitor)[^\n`]*", readme))
    options = {option for line in used for option in re.findall(r"(--[a-z][a-z-]+)", line)}
    options -= {"--your-own", "--gpu", "--dummy", "--nproc-per-node"}
    assert len(options) >= 3
    assert {option for option in options if option not in helps} == set()
