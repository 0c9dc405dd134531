"""What the pages under docs say of the code is so."""

from __future__ import annotations

import importlib.util
import re
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
