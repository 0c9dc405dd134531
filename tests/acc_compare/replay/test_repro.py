"""A call as a folder that needs torch alone: it runs, says what the replay says, and holds no code of a dump's."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from acc_compare.replay.names import CannotReplay
from acc_compare.replay.repro import find_and_write
from dump import sim
from dump.format.errors import ConfigError, OutputError
from dump.format.nested import read_nested

from .conftest import Record, again
from .test_run import HEALTHY, on_npu, renamed, tampered, with_argument

if sim.device_kind() != "npu":
    pytest.skip("this torch has no device in Python", allow_module_level=True)
sim.enable()


def write(folder: Path, name: str, out: Path) -> Path:
    found, _ = find_and_write(folder, name, out, step=None, rank=None)
    assert found.reason is None
    return out / "repro.py"


def run(script: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Its exit code.  In this process, for speed: the end-to-end test runs it in one of its own."""
    monkeypatch.setattr(sys, "argv", [str(script), *arguments])
    before = torch.get_default_dtype()
    try:
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(script), run_name="__main__")
    finally:
        torch.set_default_dtype(before)
    code = ended.value.code
    assert isinstance(code, int)
    return code


@pytest.mark.slow
@pytest.mark.parametrize("act", HEALTHY, ids=str)
def test_every_call_of_an_innocent_run_is_right(
    record: Record, act: Callable[[], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = record(act)
    calls = again(folder).of("cleared")
    assert calls
    for call in calls:
        assert run(write(folder, call.name, tmp_path / "repros" / call.name), monkeypatch) == 0, call.name


@pytest.mark.parametrize(
    ("fault", "name"),
    [
        ("aten::gelu=scale:1.0001", "Functional.gelu.0.forward"),
        ("aten::gelu=nan:3", "Functional.gelu.0.forward"),
        ("aten::gelu_backward=bf16", "Functional.gelu.0.backward"),
        ("aten::addmm=zero_tail:1", "Functional.linear.0.forward"),
    ],
)
def test_a_wrong_kernel_is_shown_where_it_is(
    record: Record,
    fault: str,
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with sim.npu(faults=[fault]):
        script = write(record(on_npu), name, tmp_path / "repro")
        assert run(script, monkeypatch) == 1
        assert "on npu" in capsys.readouterr().out
    assert run(script, monkeypatch, "npu") == 0  # the kernel is mended
    assert run(script, monkeypatch, "cpu") == 0
    assert "as recorded: off by" in capsys.readouterr().out
    source = script.read_text()
    compile(source, str(script), "exec")
    assert not {"acc_compare", "dump", "numpy", "safetensors.torch"} & set(source.split())


def test_a_folder_that_is_there_and_a_call_that_is_not(record: Record, tmp_path: Path) -> None:
    folder = record(lambda: torch.exp(torch.ones(2)))
    with pytest.raises(OutputError, match="exists already"):
        find_and_write(folder, "Torch.exp.0.forward", tmp_path, step=None, rank=None)
    with pytest.raises(ConfigError, match="no call"):
        find_and_write(folder, "Torch.exp.0.backward", tmp_path / "x", step=None, rank=None)
    with pytest.raises(ConfigError, match="no call"):
        find_and_write(folder, "Torch.exp.0.forward", tmp_path / "x", step=7, rank=None)
    assert not (tmp_path / "x").exists()


def test_what_cannot_be_made_again_writes_nothing(record: Record, tmp_path: Path) -> None:
    folder = tampered(record(lambda: torch.mul(torch.ones(2), 2)), renamed("Torch.load.0.forward"))
    (name,) = [name for name in read_nested(folder).names if "load" in name]
    found, _ = find_and_write(folder, name, tmp_path / "x", step=None, rank=None)
    assert found.reason is not None
    assert not (tmp_path / "x").exists()


def with_keyword(name: str) -> Callable[[dict[str, Any]], None]:
    def change(data: dict[str, Any]) -> None:
        data["Torch.mul.0.forward"]["input_kwargs"] = {name: {"type": "int", "value": 1}}

    return change


def with_autocast(data: dict[str, Any]) -> None:
    data["Torch.mul.0.forward"]["autocast"] = "print(1)"


@pytest.mark.parametrize(
    "change",
    [
        with_keyword("x=print(1), y"),
        with_keyword("../../x"),
        with_autocast,
        with_argument({"type": "str", "value": '"""\nprint(1)\n"""'}),
    ],
)
def test_nothing_of_a_dump_becomes_code(
    record: Record, tmp_path: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    folder = tampered(record(lambda: torch.mul(torch.ones(2), 2)), change)
    try:
        found, _ = find_and_write(folder, "Torch.mul.0.forward", tmp_path / "x", step=None, rank=None)
    except CannotReplay:
        pass
    else:
        assert found.reason is not None
    assert not (tmp_path / "x").exists()
