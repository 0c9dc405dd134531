"""The command `msprobe`, in both versions' words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from acc_compare.as_msprobe.command import main

WRITTEN = Path(__file__).parent / "written"


def test_the_newer_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pair = WRITTEN / "26.2.0_md5"
    arguments = ["compare", "-tp", str(pair / "npu" / "step0"), "-gp", str(pair / "bench" / "step0")]
    assert main([*arguments, "-o", str(tmp_path), "-fm", "-da"]) == 0
    (path,) = tmp_path.glob("compare_result_rank0_*.csv")
    assert str(path) in capsys.readouterr().out
    assert main([*arguments, "-o", str(tmp_path / "book"), "--xlsx"]) == 0
    assert len(list((tmp_path / "book").glob("*.xlsx"))) == 1


def test_the_older_command_line(tmp_path: Path) -> None:
    pair = WRITTEN / "8.3.3_statistics"
    listed = tmp_path / "compare.json"
    sides = {f"{side}_path": str(pair / side / "step0" / "rank0" / "dump.json") for side in ("npu", "bench")}
    listed.write_text(json.dumps(sides))
    out = tmp_path / "out"
    assert main(["-f", "pytorch", "compare", "-i", str(listed), "-o", str(out), "-s"]) == 0
    assert sorted(path.suffix for path in out.iterdir()) == [".txt", ".xlsx"]


REFUSED = [
    (["acc_check", "-api_info", "x"], "acc_check"),
    (["run_ut"], "run_ut"),
    (["-f", "pytorch", "multi_run_ut"], "multi_run_ut"),
    (["merge_result", "-i", "x"], "merge_result"),
    (["config_check", "-d"], "config_check"),
    (["graph_visualize", "-tp", "x"], "graph_visualize"),
    (["no_such_thing"], "no_such_thing"),
    (["-f", "mindspore", "compare"], "-f mindspore"),
    (["-f"], "-f"),
    (["compare"], "-tp"),
    (["compare", "-tp", "a", "-gp", "b", "--consistent_check"], "--consistent_check"),
    (["compare", "-tp", "a", "-gp", "b", "-cm"], "-cm"),
    (["compare", "-tp", "a", "-gp", "b", "-lm"], "-lm"),
    (["compare", "-tp", "a", "-gp", "b", "-m", "atb"], "-m atb"),
    (["compare", "-tp", "no_such_dump", "-gp", "no_such_bench"], "no_such"),
    (["-f", "pytorch", "compare", "-i", "no_such.json"], "no_such.json"),
]


@pytest.mark.parametrize(("arguments", "name"), REFUSED, ids=range(len(REFUSED)))
def test_what_is_not_done_is_one_line_and_exit_code_2(
    arguments: list[str], name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("msprobe (acc): error: ")
    assert name in line


@pytest.mark.parametrize("arguments", [[], ["--help"], ["--version"], ["-f", "pytorch"]], ids=str)
def test_who_answers_is_said(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 0
    assert "answered by acc" in capsys.readouterr().out
