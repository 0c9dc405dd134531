"""`acc dump` from the outside: flags, files, exit codes, and what it says."""

from __future__ import annotations

import builtins
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

from dump.cli import command as cli
from dump.format.layout import find_dumps
from dump.format.reader import read_dump
from dump.format.schema import Dump

TRAIN = """
import sys
import torch

model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU())
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for step in range(4):
    loss = model(torch.ones(1, 2)).sum()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    print("step", step, *sys.argv[1:])
"""

Acc = Callable[..., int]


@pytest.fixture
def acc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Acc:
    """Run `acc dump` in this process, in an empty folder that holds train.py."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["acc"])
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    (tmp_path / "train.py").write_text(TRAIN)
    return lambda *arguments: cli.main(arguments)


def _dumps(root: str) -> dict[int | None, Dump]:
    return {location.step: read_dump(location.path) for location in find_dumps(Path(root))}


def _python(cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A new process that imports us from where this one did."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(Path(cli.__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("act", "said"),
    [
        ("with contextlib.redirect_stderr(io.StringIO()) as text: step()\nassert text.getvalue() == ''", True),
        ("sys.stderr = io.StringIO(); step(); assert sys.stderr.getvalue() == ''; sys.stderr = sys.__stderr__", True),
        ("sys.stderr.close(); step()", False),
    ],
    ids=["read", "replaced", "closed"],
)
def test_a_script_that_reads_its_stderr_finds_what_it_wrote_itself(tmp_path: Path, act: str, said: bool) -> None:
    loop, rest = TRAIN.split("for step in range(4):\n")
    (tmp_path / "train.py").write_text(f"import contextlib, io\n{loop}def step():\n    step = 0\n{rest}\n{act}\n")
    command = [sys.executable, "-m", "dump", "train.py"]
    environment = {**os.environ, "PYTHONPATH": str(Path(cli.__file__).parents[2])}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert ("acc dump: step 0: " in done.stderr) == said
    assert len(_dumps(str(tmp_path / "acc_dump"))) == 1


@pytest.mark.parametrize("start", [["-m", "dump"], ["-m", "acc_compare", "dump"]], ids=["dump", "acc"])
def test_a_script_imports_from_where_it_does_alone(tmp_path: Path, start: list[str]) -> None:
    """The working folder is not among them, for a script that lies elsewhere.  (`wave` is a module that nothing of ours
    imports before.)"""
    (tmp_path / "scripts").mkdir()
    text = f"{TRAIN}\nprint(sys.path)\nimport wave\nprint(wave.WAVE_FORMAT_PCM)\n"
    (tmp_path / "scripts" / "train.py").write_text(text)
    (tmp_path / "wave.py").write_text("WAVE_FORMAT_PCM = 'mine'\n")
    environment = {**os.environ, "PYTHONPATH": str(Path(cli.__file__).parents[2])}
    outputs = [
        subprocess.run(
            [sys.executable, *command, "scripts/train.py"],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for command in ([], start)
    ]
    made_by_torch = rf"'{tempfile.gettempdir()}/tmp\w+'"  # by torch.distributed until 2.7, another in each process
    outputs = [re.sub(made_by_torch, "", output) for output in outputs]
    assert outputs[0] == outputs[1]


@pytest.mark.parametrize("start", [["-m", "dump"], ["-m", "acc_compare", "dump"]], ids=["dump", "acc"])
def test_what_has_a_name_of_pythons_own_is_the_scripts_alone(tmp_path: Path, start: list[str]) -> None:
    """Beside the script it is imported in place of Python's own, which we have imported before; in the working folder
    it is nobody's: torch would take a random.py there for Python's.
    (Not types: `python -m` itself imports it.)"""
    (tmp_path / "scripts").mkdir()
    text = f"{TRAIN}\nimport statistics, random\nprint(statistics.MINE, random.Random.__module__)\n"
    (tmp_path / "scripts" / "train.py").write_text(text)
    (tmp_path / "scripts" / "statistics.py").write_text("MINE = 'the own one'\n")
    for name in ("random", "json", "copy", "queue", "re"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('not to be imported')\n")
    done = _python(tmp_path, *start, "scripts/train.py")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "the own one random"
    assert len(_dumps(str(tmp_path / "acc_dump"))) == 1


def test_a_script_is_recorded_unmodified(acc: Acc, capfd: pytest.CaptureFixture[str]) -> None:
    assert acc("train.py", "--lr", "0.1", "-s") == 0
    out, err = capfd.readouterr()
    assert out.splitlines()[-1] == "step 3 --lr 0.1 -s"
    lines = err.splitlines()
    assert lines[0] == "acc dump: recording step 0 only (--step chooses others)"
    assert lines[-2] == f"acc dump: dump: {Path('acc_dump').absolute()}"
    (dump,) = _dumps("acc_dump").values()
    tensors = sum(1 for call in dump.calls for _ in call.tensors())
    assert lines[-1].startswith(f"acc dump: {len(dump.calls)} calls, {tensors} tensors, ")
    assert lines[-1].endswith(" s")
    assert dump.calls[-1].name == "Optimizer.SGD.0.forward"
    assert (dump.mode, dump.header.level, dump.stacks) == ("statistics", "L1", {})


def test_flags_win_over_the_file(acc: Acc) -> None:
    Path("config.json").write_text(
        json.dumps({"task": "statistics", "dump_path": "from_file", "level": "L0", "step": [3]})
    )
    assert acc("-c", "config.json", "--step", "0,2-3", "--level", "mix", "-s", "-o", "out", "train.py") == 0
    dumps = _dumps("out")
    assert list(dumps) == [0, 2, 3]
    assert dumps[0].header.level == "mix"
    assert any("train.py" in line for line in dumps[2].stacks["Functional.linear.0.forward"])
    assert not Path("from_file").exists()


def test_a_file_decides_where_no_flag_does(acc: Acc, capfd: pytest.CaptureFixture[str]) -> None:
    Path("config.json").write_text(json.dumps({"task": "tensor", "dump_path": "from_file", "step": [1]}))
    assert acc("-c", "config.json", "train.py") == 0
    assert "step 0 only" not in capfd.readouterr().err
    assert _dumps("from_file")[1].mode == "tensor"


def test_all_steps(acc: Acc) -> None:
    assert acc("--step", "all", "--task", "statistics", "--summary-mode", "md5", "train.py") == 0
    dumps = _dumps("acc_dump")
    assert list(dumps) == [0, 1, 2, 3]
    assert dumps[3].mode == "md5"


def test_the_script_ends_after_the_last_wanted_step(acc: Acc, capfd: pytest.CaptureFixture[str]) -> None:
    assert acc("--step", "0-1", "--exit-after", "train.py") == 0
    assert capfd.readouterr().out == "step 0\n"
    dumps = _dumps("acc_dump")
    assert list(dumps) == [0, 1]
    assert dumps[1].incomplete is None


def test_max_steps_ends_the_recording_behind_a_whole_step(acc: Acc, capfd: pytest.CaptureFixture[str]) -> None:
    assert acc("--max-steps", "2", "train.py") == 0
    out, err = capfd.readouterr()
    assert out.splitlines() == [f"step {number}" for number in range(4)]
    dumps = _dumps("acc_dump")
    assert {step: dump.incomplete for step, dump in dumps.items()} == {0: None, 1: None}
    said = "acc dump: recording ended after step 1, which is whole: max_steps is 2"
    assert err.splitlines().count(said) == 2
    assert err.splitlines()[-1] == said


def test_max_steps_ends_the_script_too_if_asked(acc: Acc, capfd: pytest.CaptureFixture[str]) -> None:
    assert acc("--step", "all", "--max-steps", "2", "--exit-after", "train.py") == 0
    assert capfd.readouterr().out == "step 0\n"
    assert list(_dumps("acc_dump")) == [0, 1]


@pytest.mark.parametrize("limits", [["--max-steps", "5"], ["--max-steps", "4", "--max-bytes", "1GB", "--step", "0-3"]])
def test_limits_that_are_not_met_say_nothing(acc: Acc, capfd: pytest.CaptureFixture[str], limits: list[str]) -> None:
    assert acc(*limits, "train.py") == 0
    assert "recording ended" not in capfd.readouterr().err
    assert list(_dumps("acc_dump")) == [0, 1, 2, 3]


def test_what_follows_a_module_is_the_modules(acc: Acc, capfd: pytest.CaptureFixture[str]) -> None:
    assert acc("--level", "L0", "-m", "train", "--seed", "5", "-s", "-h") == 0
    assert capfd.readouterr().out.splitlines()[0] == "step 0 --seed 5 -s -h"


def test_filters_from_flags(acc: Acc) -> None:
    assert acc("--list", "relu", "--data-mode", "forward", "train.py") == 0
    (dump,) = _dumps("acc_dump").values()
    assert [call.name for call in dump.calls] == ["Functional.relu.0.forward"]


def test_every_second_step_from_a_flag(acc: Acc, capfd: pytest.CaptureFixture[str]) -> None:
    assert acc("--every", "2", "train.py") == 0
    steps = sorted(Path("acc_dump").glob("step*"))
    assert [step.name for step in steps] == ["step0", "step2"]
    assert "2 steps" in capfd.readouterr().err


def test_a_seed_is_set_before_the_script(acc: Acc, capfd: pytest.CaptureFixture[str]) -> None:
    Path("draw.py").write_text("import torch\nprint(torch.rand(1).item())\n")
    assert acc("--seed", "7", "-o", "a", "draw.py") == 0
    assert acc("--seed", "7", "-o", "b", "draw.py") == 0
    first, second = capfd.readouterr().out.splitlines()
    assert first == second


def test_a_run_without_the_wanted_step_says_so(acc: Acc, capfd: pytest.CaptureFixture[str]) -> None:
    assert acc("--step", "9", "train.py") == 2
    told = capfd.readouterr().err.splitlines()[-1]
    assert told.endswith("nothing was recorded: the script ended after 4 steps, before step 9")


def test_a_script_that_calls_nothing_and_a_filter_that_leaves_all_out(
    acc: Acc, capfd: pytest.CaptureFixture[str]
) -> None:
    Path("idle.py").write_text("print('idle')\n")
    Path("fails.py").write_text("import sys; sys.exit(7)\n")
    assert acc("idle.py") == 2
    assert acc("fails.py") == 7
    assert acc("--list", "no_such_operator", "train.py") == 2
    told = [line.partition("nothing was recorded: ")[2] for line in capfd.readouterr().err.splitlines()]
    assert [bool(line) for line in told].count(True) == 3
    assert told[-1] == "'list' and 'scope' leave out all that was called"


def test_a_script_asked_for_its_help_ends_as_it_does_alone(acc: Acc, capfd: pytest.CaptureFixture[str]) -> None:
    Path("asks.py").write_text("import argparse\nargparse.ArgumentParser().parse_args()\n")
    assert acc("asks.py", "-h") == 0
    assert acc("asks.py") == 2
    assert "nothing was recorded" in capfd.readouterr().err


def test_a_script_that_replaces_print_hears_nothing_of_ours(acc: Acc, capfd: pytest.CaptureFixture[str]) -> None:
    before = builtins.print
    Path("hears.py").write_text(
        "import builtins, torch\nbuiltins.print = lambda *given, **named: 1 / 0\n"
        "w = torch.nn.Parameter(torch.ones(1))\n(w * 2).sum().backward()\ntorch.optim.SGD([w], 0.1).step()\n"
    )
    try:
        assert acc("hears.py") == 0
    finally:
        builtins.print = before
    assert "acc dump: step 0:" in capfd.readouterr().err


def test_an_end_that_is_no_exception_of_pythons_is_shown_without_our_frames(
    acc: Acc, capfd: pytest.CaptureFixture[str]
) -> None:
    Path("ends.py").write_text("class Over(BaseException): ...\nraise Over('now')\n")
    assert acc("ends.py") == 1
    told = capfd.readouterr().err
    assert "Over: now" in told
    assert "launch.py" not in told


def test_a_dump_that_vanishes_while_the_script_runs_is_an_error(acc: Acc, capfd: pytest.CaptureFixture[str]) -> None:
    Path("vanish.py").write_text(TRAIN + "    if step == 1:\n        import shutil; shutil.rmtree('acc_dump')\n")
    assert acc("--step", "all", "vanish.py") == 2
    error = capfd.readouterr().err.splitlines()[-1]
    assert "step0" in error
    assert "2 of 4" in error


def test_an_unwanted_rank_says_so(acc: Acc, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    assert acc("--rank", "0", "train.py") == 0
    assert "this rank was not asked for" in capfd.readouterr().err


BAD = [
    (["absent.py"], "absent.py: no such script"),
    (["--task", "tensors", "train.py"], "'tensors' is not one of"),
    (["--step", "x", "train.py"], "'step'"),
    (["--step", "all", "--exit-after", "train.py"], "--exit-after: needs a last step"),
    (["-c", "absent.json", "train.py"], "absent.json"),
    (["--seed", "-1", "train.py"], "--seed"),
    (["--scope", "one", "train.py"], "two names"),
    (["--simulated-fault", "gelu=bf16", "train.py"], "needs --simulated-npu"),
    (["-m", "absent_module_of_mine"], "no such module"),
    (["--tsk", "tensor", "train.py"], "Did you mean --task?"),
    (["--stp", "0", "train.py"], "Did you mean --step or --stop?"),
    (["-b", "none"], "built-in workload"),
    (["-o", "train.py", "train.py"], "cannot be made"),
    (["--max-bytes", "lots", "train.py"], "'max_bytes'"),
    (["--max-bytes", "-5MB", "train.py"], "'max_bytes'"),
    (["--max-bytes", "1kB", "train.py"], "from 100000 (100kB) on"),
    (["--max-steps", "0", "train.py"], "--max-steps"),
    (["--max-steps", "1.5", "train.py"], "--max-steps"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD, ids=[" ".join(row[0]) for row in BAD])
def test_bad_input_is_one_line_and_code_2(
    acc: Acc, capfd: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert acc(*arguments) == 2
    out, err = capfd.readouterr()
    (line,) = err.splitlines()
    assert out == ""
    assert line.startswith("acc: error: ")
    assert message in line


def test_an_existing_dump_is_not_touched_and_the_script_does_not_run(
    acc: Acc, capfd: pytest.CaptureFixture[str]
) -> None:
    assert acc("train.py") == 0
    (file,) = Path("acc_dump").rglob("dump.json")
    before = file.read_bytes()
    capfd.readouterr()
    assert acc("train.py") == 2
    out, err = capfd.readouterr()
    assert (out, file.read_bytes()) == ("", before)
    (line,) = err.splitlines()
    assert "holds a dump already" in line


def test_the_scripts_own_exception_is_shown_without_our_frames(acc: Acc, capfd: pytest.CaptureFixture[str]) -> None:
    Path("fails.py").write_text(
        "import torch\ntry:\n    torch.ones(2, 3) @ torch.ones(2, 3)\n"
        "except RuntimeError as error:\n    raise KeyError('mine') from error\n"
    )
    assert acc("fails.py") == 1
    err = capfd.readouterr().err
    assert "KeyError: 'mine'" in err
    assert 'fails.py", line 5' in err
    assert 'fails.py", line 3' in err
    assert "launch.py" not in err
    assert "apis.py" not in err
    (dump,) = _dumps("acc_dump").values()
    assert dump.incomplete is not None
    assert [call.name for call in dump.calls] == ["Torch.ones.0.forward", "Torch.ones.1.forward"]


@pytest.mark.parametrize(("ending", "status"), [("sys.exit(7)", 7), ("sys.exit()", 0), ("sys.exit(130)", 130)])
def test_exit_codes(acc: Acc, ending: str, status: int) -> None:
    Path("ends.py").write_text(f"import sys, torch\ntorch.ones(1)\n{ending}\n")
    assert acc("ends.py") == status
    assert len(_dumps("acc_dump")) == 1


def test_a_script_that_is_interrupted_ends_by_the_signal_as_it_does_alone(tmp_path: Path) -> None:
    (tmp_path / "ends.py").write_text(
        "import atexit, torch\natexit.register(print, 'at the end')\ntorch.ones(1)\nraise KeyboardInterrupt\n"
    )
    ran = [
        subprocess.run(
            [sys.executable, *command, "ends.py"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        for command in ([], ["-m", "dump", "-o", "out"])
    ]
    alone, recorded = ran
    assert alone.returncode == recorded.returncode == -signal.SIGINT
    assert alone.stdout == recorded.stdout == "at the end\n"
    theirs = [line for line in recorded.stderr.splitlines() if not line.startswith("acc dump: ")]
    assert [line.replace(f"{tmp_path}{os.sep}", "") for line in theirs] == [
        line.replace(f"{tmp_path}{os.sep}", "") for line in alone.stderr.splitlines()
    ]
    assert len(_dumps(str(tmp_path / "out"))) == 1


def test_a_debugger_in_the_script_is_refused_in_one_line(acc: Acc, capfd: pytest.CaptureFixture[str]) -> None:
    Path("has_one.py").write_text("from dump import PrecisionDebugger\nPrecisionDebugger(dump_path='x').start()\n")
    try:
        assert acc("has_one.py") == 2
        assert "PrecisionDebugger" in capfd.readouterr().err.splitlines()[-1]
    finally:
        from dump import PrecisionDebugger

        PrecisionDebugger.close()


@pytest.mark.slow
def test_the_built_in_workload(acc: Acc, capfd: pytest.CaptureFixture[str]) -> None:
    small = ["-a", "resnet18", "-b", "2", "--image-size", "32", "--classes", "3", "--gpu", "1", "--dummy"]
    assert acc("--task", "statistics", "-s", "--level", "L0", *small) == 0
    assert capfd.readouterr().out.startswith("step 0: loss ")
    (dump,) = _dumps("acc_dump").values()
    assert "Module.layer1.0.conv1.Conv2d.forward.0" in [call.name for call in dump.calls]
    assert dump.stacks


def test_help_names_every_flag(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    text = capsys.readouterr().out
    options = {name for option in typer.main.get_command(cli._app()).params for name in option.opts}
    assert {flag for flag in options if flag.startswith("-") and flag not in text} == set()
    assert text.splitlines()[0].endswith(" [OPTIONS] [SCRIPT] [ARGS]...")


def test_a_group_without_a_command_shows_its_help(capfd: pytest.CaptureFixture[str]) -> None:
    app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)
    cli.add_to(app, "dump")
    app.command("other")(lambda: None)
    cli.guarded(app, [])
    shown = "".join(capfd.readouterr())
    assert "acc: error" not in shown
    assert "\n  dump" in shown


def test_help_of_the_workload(acc: Acc, capsys: pytest.CaptureFixture[str]) -> None:
    assert acc("--", "--help") == 0
    assert "--image-size" in capsys.readouterr().out


@pytest.mark.slow
def test_as_a_process_with_a_dump_of_the_users_own(tmp_path: Path) -> None:
    """As an installed `acc` starts: its folder of scripts is first on the path, the user's is not."""
    (tmp_path / "dump.py").write_text("MINE = 'the own one'\n")
    (tmp_path / "train.py").write_text(f"import dump\n{TRAIN}\nprint(dump.MINE)\nsys.exit(5)\n")
    start = "import sys; sys.path.remove(''); from dump.cli import main; sys.exit(main())"
    done = _python(tmp_path, "-c", start, "--level", "mix", "train.py")
    assert done.returncode == 5, done.stderr
    assert done.stdout.splitlines()[-1] == "the own one"
    assert "Traceback" not in done.stderr
    assert len(_dumps(str(tmp_path / "acc_dump"))) == 1


def test_help_loads_no_torch() -> None:
    probe = "import sys, dump.cli; dump.cli.main(['--help']); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", probe], capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("status", [0, 7])
def test_where_recording_cannot_start_the_script_runs_and_its_status_counts(
    acc: Acc, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setattr("dump.session.Interceptors.install", lambda _: 1 / 0)
    Path("train.py").write_text(TRAIN + f"sys.exit({status})\n")
    assert acc("train.py") == status
    out, err = capfd.readouterr()
    assert out.splitlines()[-1] == "step 3"
    assert "ZeroDivisionError" in err
    assert "Traceback" not in err
