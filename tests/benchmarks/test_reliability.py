"""A quick part of `make bench-reliability`, and its table."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.reliability.cases import CASES, Row
from benchmarks.reliability.run import run
from benchmarks.reliability.running import left
from benchmarks.reliability.table import page

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reliability.md"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["hook_failed", "max_steps"])
def test_a_case_holds(name: str) -> None:
    (row,) = run([name], kills=1)
    assert row.failure == ""
    assert row.goes_on == "yes, 10 losses equal to the bit"


def test_the_table_counts_what_held_and_names_what_did_not() -> None:
    rows = [Row("a", 200, "all | of it", "x", "yes"), Row("b", 1, "", "", "no", failure="lost\none")]
    text = page(rows, seconds=3.0)
    assert "| a | 200 | all \\| of it | x | yes |" in text
    assert "1 of 2 lines are as promised." in text
    assert "- **Not as promised**, b: lost one" in text


def test_nothing_left_is_nothing_whole(tmp_path: Path) -> None:
    assert left(tmp_path / "absent").whole == 0


def test_the_page_has_all_that_was_promised() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for word in (
        "SIGKILL",
        "SIGTERM",
        "SIGINT",
        "os._exit",
        "disk full",
        "removed",
        "hook",
        "--max-bytes",
        "--max-steps",
    ):
        assert word in text
    assert len([line for line in text.splitlines() if line.startswith("| ")]) > len(CASES)
    assert "Not as promised" not in text
