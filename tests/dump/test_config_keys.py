from __future__ import annotations

import re
from pathlib import Path

import pytest

from dump.config import DumpConfig
from dump.config_keys import SECTION, TOP

REFERENCE = (Path(__file__).parents[2] / "docs" / "config.md").read_text(encoding="utf-8")


def test_the_reference_has_every_key_and_no_other() -> None:
    rows = [line.split("|")[1] for line in REFERENCE.splitlines() if line.startswith("| `")]
    without_effect = REFERENCE[REFERENCE.index("`slice`") : REFERENCE.index("is refused. [msprobe.md]")]
    named = {key for text in (*rows, without_effect) for key in re.findall(r"`(\w+)`", text)}
    assert named == TOP.keys() | SECTION.keys()


@pytest.mark.parametrize("key", ["task", "level", "dump_path", "precision", "file_format", "summary_mode"])
def test_the_reference_has_the_defaults(key: str) -> None:
    (row,) = [line for line in REFERENCE.splitlines() if line.startswith(f"| `{key}` |")]
    default = getattr(DumpConfig(), key)
    assert f"`{'./' if key == 'dump_path' else ''}{default}`" in row.split("|")[3]


def test_the_reference_has_the_buffer() -> None:
    assert f"`{DumpConfig().buffer_mb}` | memory for copies" in REFERENCE
