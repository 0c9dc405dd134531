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


@pytest.mark.parametrize("name", ["nan_analyze", "overflow_check"])
def test_where_the_first_nan_was_made(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def tensor(maximum: object) -> dict[str, object]:
        return {"type": "torch.Tensor", "dtype": "torch.float32", "shape": [1], "Max": maximum, "Min": maximum}

    def call(read: object, wrote: object) -> dict[str, object]:
        return {"input_args": [tensor(read)], "input_kwargs": {}, "output": [tensor(wrote)]}

    data = {
        "Torch.add.0.forward": call(1.0, 2.0),
        "Torch.log.0.forward": call(-1.0, "nan"),
        "Torch.mul.0.forward": call("nan", "nan"),
    }
    folder = tmp_path / "dump" / "step3" / "rank1"
    folder.mkdir(parents=True)
    (folder / "dump.json").write_text(json.dumps({"task": "statistics", "level": "L1", "data": data}))
    assert main([name, "-i", str(tmp_path / "dump"), "-o", str(tmp_path / "out")]) == 0
    (path,) = (tmp_path / "out").iterdir()
    (told,) = json.loads(path.read_text())
    assert (told["step"], told["rank"], told["kind"], told["call"]) == (3, 1, "nan", "Torch.log.0.forward")
    assert "Torch.log.0.forward" in capsys.readouterr().out


REFUSED = [
    (["acc_check", "-api_info", "x"], "acc_check"),
    (["run_ut"], "acc replay"),
    (["-f", "pytorch", "multi_run_ut"], "multi_run_ut"),
    (["merge_result", "-i", "x"], "-o"),
    (["config_check", "-d"], "config_check"),
    (["graph_visualize", "-tp", "x"], "graph_visualize"),
    (["no_such_thing"], "no_such_thing"),
    (["-f", "mindspore", "compare"], "-f mindspore"),
    (["-f"], "-f"),
    (["compare"], "-tp"),
    (["compare", "-tp", "a", "-gp", "b", "--consistent_check"], "--consistent_check"),
    (["compare", "-tp", "a", "-gp", "b", "-cm"], "-cm"),
    (["compare", "-tp", "a", "-gp", "b", "-lm"], "-lm"),
    (["compare", "-tp", "a", "-gp", "b", "-am"], "-am"),
    (["compare", "-tp", "a", "-gp", "b", "-am", "x.yaml", "-dm", "y.yaml"], "-dm, -am"),
    (["compare", "-tp", "a", "-gp", "b", "-am", "x.yaml"], "x.yaml"),
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
