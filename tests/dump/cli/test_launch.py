"""A script under a session is what it is under `python`."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from dump.cli import launch
from dump.cli.launch import Target
from dump.config import DumpConfig
from dump.format.errors import ConfigError
from dump.format.reader import read_dump
from dump.session import Session

RECORDS = "import torch; torch.ones(1)\n"


@pytest.fixture
def session(config: DumpConfig) -> Session:
    return Session(replace(config, step=frozenset([0])), finds_steps=True)


def _script(folder: Path, text: str, name: str = "script.py") -> Target:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return Target(str(path), ("--lr", "0.1"))


def _calls(session: Session) -> list[str]:
    return [call.name for part in session.written for call in read_dump(part.folder).calls]


def test_the_script_sees_what_python_would_show_it(
    session: Session, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "beside.py").write_text("NAME = 'beside'\n")
    text = "import sys, beside\nprint(__name__, __file__, sys.argv[1:], beside.NAME, __spec__)\n" + RECORDS
    target = _script(tmp_path, text)
    before = (sys.argv, list(sys.path), sys.modules["__main__"])
    assert launch.run(target, session) == 0
    whole = Path(target.name).absolute()
    assert capsys.readouterr().out == f"__main__ {whole} ['--lr', '0.1'] beside None\n"
    assert (sys.argv, list(sys.path), sys.modules["__main__"]) == before
    assert _calls(session) == ["Torch.ones.0.forward"]


def test_a_script_finds_in_its_module_what_python_puts_there(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = """
import json, os, sys
facts = {name: repr(value) for name, value in sorted(globals().items()) if name.startswith("__")}
facts |= {"__builtins__": type(__builtins__).__name__, "__loader__": type(__loader__).__name__}
os.chdir("/")
facts["exists"] = os.path.isfile(__file__)
with open(sys.argv[1], "w") as file:
    json.dump([facts, sys.argv], file)
"""
    script = tmp_path / "facts.py"
    script.write_text(text)
    alone, recorded = tmp_path / "alone.json", tmp_path / "recorded.json"
    subprocess.run([sys.executable, "facts.py", str(alone)], cwd=tmp_path, check=True)
    monkeypatch.chdir(tmp_path)
    assert launch.run(Target("facts.py", (str(recorded),)), session) == 0
    facts, argv = json.loads(recorded.read_text())
    assert facts == json.loads(alone.read_text())[0]
    assert argv == ["facts.py", str(recorded)]


def test_our_own_future_imports_are_not_the_scripts(session: Session, tmp_path: Path) -> None:
    target = _script(tmp_path, "def f(x: int): ...\nassert f.__annotations__ == {'x': int}\n")
    assert launch.run(target, session) == 0


def test_a_module_is_run_as_main(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pack_of_mine").mkdir()
    (tmp_path / "pack_of_mine" / "__init__.py").write_text("from torch import ones\n")
    (tmp_path / "pack_of_mine" / "train.py").write_text(
        "import sys\nfrom . import ones\nones(1)\nprint(__name__, __package__, sys.argv[1:])\n"
    )
    (tmp_path / "pack_of_mine" / "__main__.py").write_text("print('whole package')\n")
    status = launch.run(Target("pack_of_mine.train", ("a",), is_module=True), session)
    assert (status, capsys.readouterr().out) == (0, "__main__ pack_of_mine ['a']\n")
    assert _calls(session) == ["Torch.ones.0.forward"]
    again = replace(session.config, dump_path=tmp_path / "again")
    assert launch.run(Target("pack_of_mine", is_module=True), Session(again, finds_steps=True)) == 0
    assert capsys.readouterr().out == "whole package\n"


def test_a_script_in_the_users_home_is_found(
    session: Session, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "train.py").write_text("import sys; print(sys.argv)", encoding="utf-8")
    assert launch.run(Target("~/train.py", ("~/theirs",)), session) == 0
    assert capsys.readouterr().out == f"{[str(tmp_path / 'train.py'), '~/theirs']}\n"


def test_a_folder_with_a_main_runs(session: Session, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _script(tmp_path, "print('ran')\n", "folder/__main__.py")
    assert launch.run(Target(str(tmp_path / "folder")), session) == 0
    assert capsys.readouterr().out == "ran\n"


@pytest.mark.parametrize(
    ("ending", "status", "complete"),
    [
        ("", 0, True),
        ("import sys; sys.exit()", 0, True),
        ("import sys; sys.exit(0)", 0, True),
        ("import sys; sys.exit(3)", 3, False),
        ("import sys; sys.exit('why')", 1, False),
        ("raise SystemExit(True)", 1, False),
    ],
)
def test_exit_codes_are_passed_on(session: Session, tmp_path: Path, ending: str, status: int, complete: bool) -> None:
    assert launch.run(_script(tmp_path, RECORDS + ending), session) == status
    (part,) = session.written
    assert (read_dump(part.folder).incomplete is None) == complete


@pytest.mark.parametrize("error", ["KeyError", "KeyboardInterrupt"])
def test_an_exception_passes_through_once_the_dump_is_closed(session: Session, tmp_path: Path, error: str) -> None:
    with pytest.raises((KeyError, KeyboardInterrupt)):
        launch.run(_script(tmp_path, f"{RECORDS}raise {error}"), session)
    dump = read_dump(session.written[0].folder)
    assert len(dump.calls) == 1
    assert dump.incomplete is not None


BAD: list[tuple[Target, str]] = [
    (Target("absent.py"), "no such script"),
    (Target("broken.py"), "is not a Python script"),
    (Target("absent_module_of_mine", is_module=True), "no such module"),
    (Target("json.absent", is_module=True), "no such module"),
    (Target("sys", is_module=True), "no such module"),
    (Target("broken", is_module=True), "is not a Python module"),
]


@pytest.mark.parametrize(("target", "message"), BAD)
def test_what_cannot_be_run_is_one_line(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: Target, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.py").write_text("def (:\n")
    with pytest.raises(ConfigError, match=message) as caught:
        launch.run(target, session)
    assert "\n" not in str(caught.value)


def test_a_module_that_lacks_another_fails_as_it_would_alone(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lacks").mkdir()
    (tmp_path / "lacks" / "__init__.py").write_text("import absent_module_of_mine\n")
    (tmp_path / "lacks" / "train.py").write_text("")
    with pytest.raises(ModuleNotFoundError, match="absent_module_of_mine"):
        launch.run(Target("lacks.train", is_module=True), session)


OWN = [
    ("dump.py", "WHOSE = 'theirs'\n", "import dump\nprint(dump.WHOSE)\n"),
    ("dump/__init__.py", "WHOSE = 'theirs'\n", "import dump\nprint(dump.WHOSE)\n"),
    ("dump/inner.py", "WHOSE = 'theirs'\n", "from dump.inner import WHOSE\nprint(WHOSE)\n"),
    ("dump/data.txt", "", "import dump\nprint(dump.PrecisionDebugger.__name__)\n"),
    ("other.py", "", "import dump\nprint(dump.PrecisionDebugger.__name__)\n"),
]


@pytest.mark.parametrize(("file", "content", "script"), OWN, ids=[row[0] for row in OWN])
def test_a_script_gets_its_own_dump_and_is_recorded_all_the_same(
    session: Session,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    file: str,
    content: str,
    script: str,
) -> None:
    ours = sys.modules["dump"]
    folder = tmp_path / "work"
    (folder / file).parent.mkdir(parents=True, exist_ok=True)
    (folder / file).write_text(content)
    train = "import torch\nw = torch.ones(1, requires_grad=True)\n(w * 2).sum().backward()\n"
    assert launch.run(_script(folder, script + train), session) == 0
    assert capsys.readouterr().out.strip() in ("theirs", "PrecisionDebugger")
    assert ("theirs" in content) == (file != "other.py" and file != "dump/data.txt")
    assert "Tensor.__mul__.0.backward" in _calls(session)
    assert sys.modules["dump"] is ours


@pytest.mark.parametrize(
    ("arguments", "module", "target"),
    [
        (["a.py", "-x"], None, Target("a.py", ("-x",))),
        (["-x"], "pkg", Target("pkg", ("-x",), is_module=True)),
        ([], None, None),
        (["-b", "4"], None, None),
    ],
)
def test_what_to_run(arguments: list[str], module: str | None, target: Target | None) -> None:
    assert launch.split_target(arguments, module) == target


LEARNS = """
import torch
import torch.nn.functional as F

HANDLED = {torch.mean: "mean", torch.Tensor.add: "add", F.relu: "relu", F.gelu: "gelu"}


class Marked(torch.Tensor):
    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        return HANDLED.get(func) or super().__torch_function__(func, types, args, kwargs or {})


x = torch.ones(2).as_subclass(Marked)
assert [torch.mean(x), x.add(1), F.relu(x), F.gelu(x)] == ["mean", "add", "relu", "gelu"]
assert type(torch.exp(x)) is Marked
torch.set_default_device("meta")
assert torch.ones(1).device.type == "meta"
"""


def test_a_subclass_that_learns_functions_by_identity_goes_on_working(session: Session, tmp_path: Path) -> None:
    import torch

    try:
        assert launch.run(_script(tmp_path, LEARNS), session) == 0
    finally:
        torch.set_default_device(None)
    assert "Torch.mean.0.forward" in _calls(session)


@pytest.mark.slow
def test_a_script_that_ends_by_a_hard_exit_loses_nothing(tmp_path: Path) -> None:
    script = tmp_path / "hard.py"
    script.write_text("import os, torch\nfor _ in range(3000):\n    torch.ones(1)\nos._exit(4)\n")
    command = [sys.executable, "-m", "dump", "-o", str(tmp_path / "dump"), str(script)]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 4
    (folder,) = (tmp_path / "dump" / "step0").iterdir()
    dump = read_dump(folder)
    assert len(dump.calls) == 3000
    assert dump.incomplete is not None
    assert dump.header.complete is False
