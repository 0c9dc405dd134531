"""The examples in docstrings run, and what a user imports has one."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

import acc_compare
import dump

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted(path for package in ("dump", "acc_compare") for path in (ROOT / package).rglob("*.py"))
EXAMPLES = [path for path in FILES if ">>> " in path.read_text(encoding="utf-8")]


def _name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def test_the_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder of their own, where `sample_dumps` is the one of the repository."""
    (tmp_path / "sample_dumps").symlink_to(ROOT / "sample_dumps")
    monkeypatch.chdir(tmp_path)
    assert len(EXAMPLES) > 15
    ran = {
        _name(path): doctest.testmod(importlib.import_module(_name(path)), optionflags=doctest.ELLIPSIS)
        for path in EXAMPLES
    }
    assert {name: result for name, result in ran.items() if result.failed or not result.attempted} == {}


@pytest.mark.parametrize("package", [dump, acc_compare], ids=lambda package: package.__name__)
def test_what_is_handed_out_is_explained(package: object) -> None:
    """The text of a name that a user imports says what it is, and shows it at work or names the one that does."""
    for name in package.__all__:  # type: ignore[attr-defined]
        text = " ".join((getattr(package, name).__doc__ or "").split())
        assert ">>> " in text or "; see `" in text, name
