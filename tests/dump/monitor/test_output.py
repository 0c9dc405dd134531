"""Where runs go, and how they are found again."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest

from dump.format.errors import OutputError
from dump.monitor.output import find_runs, make_folder, read_timestamp, timestamp


def test_timestamps_read_back() -> None:
    assert timestamp(datetime(2026, 3, 7, 8, 9, 10)) == "Mar07_08-09-10"
    assert read_timestamp("Mar07_08-09-10") == (3, 7, 8, 9, 10)
    assert read_timestamp("Mrz07_08-09-10") is None
    assert read_timestamp("Mar07_08-09-10-rank0") is None


def test_two_starts_in_a_second_have_two_folders(tmp_path: Path) -> None:
    made = {make_folder(tmp_path, 3) for _ in range(3)}
    assert len(made) == 3
    assert [run.rank for run in find_runs(tmp_path)] == [3, 3, 3]


def test_runs_of_both_tools_are_found_between_two_times(tmp_path: Path) -> None:
    for name in ("Mar07_08-09-10-rank0", "Mar07_08-09-11-rank1-7def9a46", "Apr01_00-00-00-rank0", "module_struct"):
        (tmp_path / name).mkdir()
    (tmp_path / "Mar07_08-09-12-rank2").write_text("a file")
    assert [run.path.name for run in find_runs(tmp_path)] == [
        "Mar07_08-09-10-rank0",
        "Mar07_08-09-11-rank1-7def9a46",
        "Apr01_00-00-00-rank0",
    ]
    assert [run.rank for run in find_runs(tmp_path, "Mar07_08-09-11", "Mar31_00-00-00")] == [1]


def test_appending_takes_the_last_run_of_the_rank(tmp_path: Path) -> None:
    for name in ("Mar07_08-09-10-rank0", "Mar07_08-09-12-rank0", "Mar07_08-09-13-rank1", "Mar08_00-00-00-rank0"):
        (tmp_path / name).mkdir()
    span = ("Mar07_00-00-00", "Mar07_23-59-59")
    assert make_folder(tmp_path, 0, append=span).name == "Mar07_08-09-12-rank0"
    assert make_folder(tmp_path, 5, append=span) not in [tmp_path / "Mar07_08-09-13-rank1"]


def test_a_file_in_the_way_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(OutputError, match="cannot be made"):
        make_folder(tmp_path / "taken", 0)
