"""`acc compare` within this process; tests/end_to_end runs it as users do."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import openpyxl
import pytest
import typer

from acc_compare.cli import main, make_app
from acc_compare.cli.exit_code import Exit
from dump.cli import command as dump_cli


def record(
    make: Any, folder: Path, *, off: float = 0.0, mode: str = "statistics", odd: str = "", **header: Any
) -> Path:
    run = make.Run(mode=mode, **header)
    x = make.normal(8, 8)
    run.call("Functional.gelu.0.forward", [x, odd], [y := make.off(x, off)])
    run.call("Functional.relu.0.forward", [y], [np.maximum(y, 0)])
    written: Path = run.write(folder)
    return written


@pytest.mark.parametrize(("off", "code"), [(0.0, Exit.nothing_suspect), (1e-2, Exit.suspect)])
def test_exit_code_and_reports(make: Any, tmp_path: Path, capsys: Any, off: float, code: Exit) -> None:
    npu, bench = record(make, tmp_path / "n", off=off), record(make, tmp_path / "b")
    assert main(["compare", str(npu), str(bench), "-o", str(tmp_path / "out")]) == code
    printed = capsys.readouterr()
    folder = tmp_path / "out" / "accuracy_compare"
    assert sorted(path.suffix for path in folder.iterdir()) == [".html", ".json", ".txt", ".xlsx"]
    assert printed.err == ""
    assert printed.out.startswith("SAME" if code == 0 else "DIFFERENT")
    assert all(str(path) in printed.out for path in folder.iterdir())
    assert json.loads(next(folder.glob("*.json")).read_bytes())["verdict"] == ("same" if code == 0 else "different")


def test_quiet_prints_one_line(make: Any, tmp_path: Path, capsys: Any) -> None:
    npu = record(make, tmp_path / "n")
    assert main(["compare", str(npu), str(npu), "-q", "-o", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out == "SAME: 2 calls compared, none differs by more than rounding explains.\n"


def test_floor(make: Any, tmp_path: Path, capsys: Any) -> None:
    npu, bench, again = (record(make, tmp_path / name, off=off) for name, off in (("n", 1e-3), ("b", 0), ("f", 1e-3)))
    arguments = ["compare", str(npu), str(bench), "-q", "-o", str(tmp_path / "out")]
    assert main(arguments) == 1
    assert main([*arguments, "--floor", str(again)]) == 0


def test_reference(make: Any, tmp_path: Path, capsys: Any) -> None:
    npu, bench, third = (record(make, tmp_path / name, off=off) for name, off in (("n", 1e-2), ("b", 0), ("r", 1e-4)))
    arguments = ["compare", str(npu), str(bench), "-o", str(tmp_path / "out"), "--format", "csv", "--reference"]
    assert main([*arguments, str(third)]) == 1
    document = json.loads(next((tmp_path / "out").rglob("*.json")).read_bytes())
    assert document["suspects"][0]["reference"]["further_off"] == "npu"
    assert main([*arguments, str(tmp_path / "nowhere")]) == 2


@pytest.mark.parametrize(
    ("formats", "suffixes"),
    [("csv", [".csv"]), ("csv, xlsx", [".csv", ".xlsx"]), ("", [])],
)
def test_formats(make: Any, tmp_path: Path, capsys: Any, formats: str, suffixes: list[str]) -> None:
    npu = record(make, tmp_path / "n")
    assert main(["compare", str(npu), str(npu), "--format", formats, "--no-html", "-o", str(tmp_path / "out")]) == 0
    written = {path.suffix for path in (tmp_path / "out" / "accuracy_compare").iterdir()}
    assert written == {".json", ".txt", *suffixes}


@pytest.mark.parametrize("start", ["=", "+", "-", "@"])
def test_text_of_a_dump_never_becomes_a_formula(make: Any, tmp_path: Path, capsys: Any, start: str) -> None:
    run = make.Run()
    x = make.normal(4)
    name = f"{start}1+1 call"
    run.call(name, [x, f"{start}2+5"], [x])
    folder = run.write(tmp_path / "n")
    assert main(["compare", str(folder), str(folder), "-q", "-o", str(tmp_path / "out")]) == 0
    (file,) = (tmp_path / "out" / "accuracy_compare").glob("*.xlsx")
    cells = [cell for sheet in openpyxl.load_workbook(file) for line in sheet.iter_rows() for cell in line]
    ours = [cell for cell in cells if isinstance(cell.value, str) and ("1+1 call" in cell.value or "2+5" in cell.value)]
    assert ours
    assert {cell.data_type for cell in ours} == {"s"}
    assert not [cell for cell in cells if cell.data_type == "f"]


def test_names_that_the_terminal_cannot_show(make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import io
    import sys

    terminal = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", terminal)
    npu = record(make, tmp_path / "n-\u00e9")
    assert main(["compare", str(npu), str(npu), "-o", str(tmp_path / "out")]) == 0
    terminal.flush()
    assert b"n-?" in terminal.buffer.getvalue()  # type: ignore[attr-defined]


def refused(capsys: Any, out: Path, *arguments: object) -> str:
    """The one line of an input that cannot be compared; nothing was written."""
    assert main(["compare", *map(str, arguments), "-o", str(out)]) == Exit.not_compared
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("acc: error: ")
    assert printed.err.count("\n") == 1
    assert not out.exists() or out.is_file()
    return str(printed.err)


def test_nothing_in_common_cannot_be_compared(make: Any, tmp_path: Path, capsys: Any) -> None:
    other = make.Run()
    other.call("Torch.tanh.0.forward", [make.normal(4)], [make.normal(4)])
    npu, bench = record(make, tmp_path / "n"), other.write(tmp_path / "b")
    assert "no call of one side answers to a call of the other" in refused(capsys, tmp_path / "out", npu, bench)


Damage = Callable[[Path], object]


def _dump_json(content: bytes) -> Damage:
    return lambda folder: (folder / "dump.json").write_bytes(content)


HEAD = b'{"task": "statistics", "level": "L1", '
BAD: dict[str, tuple[Damage, str]] = {
    "empty": (_dump_json(b""), "the file is empty"),
    "blank": (_dump_json(b" \n\n "), "the file is empty"),
    "binary": (_dump_json(bytes(range(256)) * 8), "bytes of another kind"),
    "a list": (_dump_json(b"[1, 2]"), "expected a JSON object"),
    "another schema": (_dump_json(b'{"epochs": 3}'), "lacks the key 'data'"),
    "without a header": (_dump_json(b'{"data": {}}'), "expected a string, found null"),
    "data of the wrong type": (_dump_json(HEAD + b'"data": 3}'), "'data'"),
    "a record of the wrong type": (_dump_json(HEAD + b'"data": {"Torch.add.0.forward": 3}}'), "Torch.add.0.forward"),
    "cut in a foreign layout": (_dump_json(b'{\n "task": "statistics",\n "data": {\n  "Torch.a'), "ends at byte"),
    "of a later version": (_dump_json(HEAD + b'"format_version": 99, "data": {}}'), "Upgrade this package"),
    "a folder without a dump": (lambda folder: (folder / "dump.json").unlink(), "the folder is empty"),
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("side", [0, 1])
def test_a_dump_that_cannot_be_read(make: Any, tmp_path: Path, capsys: Any, case: str, side: int) -> None:
    damage, says = BAD[case]
    paths = record(make, tmp_path / "n"), record(make, tmp_path / "b")
    damage(paths[side])
    told = refused(capsys, tmp_path / "out", *paths)
    assert says in told
    assert str(paths[side]) in told


@pytest.mark.parametrize("path", ["nowhere", "notes.txt", "nul\0byte"])
def test_a_path_that_is_no_dump(make: Any, tmp_path: Path, capsys: Any, path: str) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    refused(capsys, tmp_path / "out", tmp_path / path, record(make, tmp_path / "b"))


INCOMPARABLE: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "two modes": ({"mode": "tensor"}, {}, "was recorded as task tensor"),
    "statistics against digests": ({}, {"mode": "md5"}, "was recorded as statistics"),
    "MD5 and XXH3": ({"mode": "md5"}, {"mode": "md5", "hash": "xxh3"}, "holds md5 digests"),
    "two digests": ({"mode": "md5"}, {"mode": "md5", "hash": "crc32"}, "holds md5 digests"),
}


@pytest.mark.parametrize("case", INCOMPARABLE)
def test_two_dumps_that_cannot_be_laid_side_by_side(make: Any, tmp_path: Path, capsys: Any, case: str) -> None:
    ours, theirs, says = INCOMPARABLE[case]
    paths = record(make, tmp_path / "n", **ours), record(make, tmp_path / "b", **theirs)
    assert says in refused(capsys, tmp_path / "out", *paths)


def _renamed(to: str) -> Damage:
    def damage(folder: Path) -> None:
        file = folder / "dump.json"
        file.write_bytes(file.read_bytes().replace(b'"1.safetensors"', json.dumps(to).encode()))

    return damage


def _file(folder: Path) -> Path:
    return folder / "dump_tensor_data" / "1.safetensors"


FILES: dict[str, Damage] = {
    "missing": lambda folder: _file(folder).unlink(),
    "short": lambda folder: _file(folder).write_bytes(_file(folder).read_bytes()[:-3]),
    "corrupt": lambda folder: _file(folder).write_bytes(bytes(range(1, 201))),
    "empty": lambda folder: _file(folder).write_bytes(b""),
    "outside its folder": _renamed("../../b/dump_tensor_data/1.safetensors"),
    "absolute": _renamed("/etc/passwd"),
    "of an unknown kind": _renamed("1.exe"),
    "with a NUL byte": _renamed("1\0.safetensors"),
    "a link out of its folder": lambda folder: (
        _file(folder).unlink(),
        _file(folder).symlink_to(folder.parent / "b" / "dump_tensor_data" / "1.safetensors"),
    ),
}


@pytest.mark.parametrize("case", FILES)
def test_a_tensor_file_that_cannot_be_read(make: Any, tmp_path: Path, capsys: Any, case: str) -> None:
    paths = record(make, tmp_path / "n", mode="tensor"), record(make, tmp_path / "b", mode="tensor")
    FILES[case](paths[0])
    refused(capsys, tmp_path / "out", *paths)


@pytest.mark.parametrize("place", ["file", "file/deeper"])
def test_an_output_that_cannot_be_written(make: Any, tmp_path: Path, capsys: Any, place: str) -> None:
    (tmp_path / "file").write_text("mine")
    npu = record(make, tmp_path / "n")
    refused(capsys, tmp_path / place, npu, npu)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_format_is_refused_before_the_work(tmp_path: Path, capsys: Any) -> None:
    # The dumps are not even looked for.
    assert main(["compare", str(tmp_path / "n"), str(tmp_path / "b"), "--format", "xlsx,docx"]) == 2
    assert capsys.readouterr().err == (
        "acc: error: --format: unknown format 'docx'; known formats: xlsx, csv, parquet, html\n"
    )


@pytest.mark.parametrize(
    "arguments", [["compare"], ["compare", "one"], ["compare", "a", "b", "--nothing"], ["nothing"]]
)
def test_wrong_usage(arguments: list[str], capsys: Any) -> None:
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("acc: error: ")
    assert printed.err.count("\n") == 1


@pytest.mark.parametrize("arguments", [["--help"], ["compare", "--help"], ["compare", "-h"]])
def test_help(arguments: list[str], capsys: Any) -> None:
    assert main(arguments) == 0
    assert "Usage" in capsys.readouterr().out


def test_acc_dump_is_the_command_of_the_recorder() -> None:
    command = typer.main.get_command(make_app())
    assert {"compare", "dump", "env", "monitor", "replay", "report"} <= set(command.commands)  # type: ignore[attr-defined]
    assert isinstance(command.commands["dump"], dump_cli.DumpCommand)  # type: ignore[attr-defined]


def test_the_advisor_in_chinese(make: Any, tmp_path: Path, capsys: Any) -> None:
    npu, bench = record(make, tmp_path / "n", off=1e-2), record(make, tmp_path / "b")
    arguments = ["compare", str(npu), str(bench), "-o", str(tmp_path / "out"), "--lang", "zh"]
    assert main(arguments) == 1
    printed = capsys.readouterr().out
    assert printed.startswith("不一致：")
    assert "\n已写入：\n" in printed
    (text,) = (tmp_path / "out" / "accuracy_compare").glob("advisor_*.txt")
    assert printed.startswith(text.read_text(encoding="utf-8"))
    (document,) = (tmp_path / "out" / "accuracy_compare").glob("advisor_*.json")
    assert "The runs differ." in document.read_text(encoding="utf-8")
    assert main([*arguments, "--quiet"]) == 1
    assert capsys.readouterr().out.startswith("不一致：两次运行不一致。")


def test_a_language_that_there_is_not_is_refused_before_the_work(tmp_path: Path, capsys: Any) -> None:
    assert main(["compare", str(tmp_path / "a"), str(tmp_path / "b"), "--lang", "fr"]) == 2
    error = capsys.readouterr().err
    assert error == "acc: error: --lang: no advisor in language 'fr'; known languages: en, zh\n"
