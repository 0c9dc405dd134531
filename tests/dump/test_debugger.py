"""The API for scripts, as users of msprobe call it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from dump import PrecisionDebugger, module_dump, module_dump_end
from dump.format.errors import ConfigError, OutputError
from dump.format.reader import read_dump


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(PrecisionDebugger, "as_msprobe", False)  # whoever imported msprobe's names before
    yield tmp_path / "dump"
    PrecisionDebugger.close()


def _names(path: Path, step: int) -> list[str]:
    (folder,) = (path / f"step{step}").iterdir()
    return [call.name for call in read_dump(folder).calls]


def test_the_usual_loop(path: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"task": "statistics", "dump_path": str(path), "level": "mix", "step": [0, 1]}))
    model = torch.nn.Sequential(torch.nn.Linear(2, 1))
    debugger = PrecisionDebugger(config_path=config)
    for _ in range(3):
        debugger.start(model=model)
        model(torch.ones(1, 2)).sum().backward()
        debugger.stop()
        debugger.step()
    assert sorted(folder.name for folder in path.iterdir()) == ["step0", "step1"]
    assert "Module.0.Linear.forward.0" in _names(path, 1)
    assert "Functional.linear.0.backward" in _names(path, 1)


def test_recording_is_switched_on_and_off_in_a_running_job(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is written to config.json during a step counts from the next step on."""
    config = tmp_path / "config.json"
    settings = {"dump_enable": False, "dump_path": str(path), "level": "L1", "extra_info": False}
    narrower = {**settings, "dump_enable": True, "level": "L0", "statistics": {"list": ["Linear"]}}
    writes: list[str] = [
        "",
        json.dumps({**settings, "dump_enable": True}),
        "",
        json.dumps({**settings, "dump_enable": False}),
        json.dumps(narrower),
        '{"dump_enable": tru',
        json.dumps({**settings, "dump_enable": True, "step": [8]}),
        "",
        "",
    ]
    config.write_text(json.dumps(settings))
    model = torch.nn.Sequential(torch.nn.Linear(2, 1), torch.nn.ReLU())
    original = torch.nn.functional.relu.__code__
    patched = []
    debugger = PrecisionDebugger(config_path=config)
    for text in writes:
        debugger.start(model=model)
        patched.append(torch.nn.functional.relu.__code__ is not original)
        model(torch.ones(1, 2)).sum().backward()
        debugger.stop()
        if text:
            config.write_text(text)
        debugger.step()
    assert sorted(folder.name for folder in path.iterdir()) == ["step2", "step3", "step5", "step8"]
    assert patched == [False, False, True, True, False, False, False, False, True]
    assert "Functional.linear.0.forward" in _names(path, 2)
    assert _names(path, 5)[0] == "Module.0.Linear.forward.0"
    assert all("Linear" in name for name in _names(path, 5))
    said = capsys.readouterr().err
    assert said.count("config.json was changed; recording is on") == 3
    assert said.count("config.json was changed; recording is off") == 1
    assert said.count("Recording is off until the file is put right.") == 1


def test_without_dump_enable_the_file_is_not_read_again(path: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"dump_path": str(path), "level": "L1"}))
    debugger = PrecisionDebugger(config_path=config)
    for _ in range(2):
        debugger.start()
        torch.ones(1)
        config.write_text(json.dumps({"dump_path": str(path), "level": "L1", "dump_enable": False}))
        debugger.step()
    assert _names(path, 1) == ["Torch.ones.0.forward"]


def test_the_methods_work_on_the_class(path: Path) -> None:
    PrecisionDebugger(dump_path=path, level="L1")
    PrecisionDebugger.start()
    torch.ones(1)
    PrecisionDebugger.save(torch.zeros(1), "zeros")
    PrecisionDebugger.stop()
    PrecisionDebugger.step()
    assert _names(path, 0) == ["Torch.ones.0.forward", "Torch.zeros.0.forward", "Saved.zeros.0.forward"]


def test_there_is_one_session_a_process(path: Path) -> None:
    first = PrecisionDebugger(dump_path=path)
    assert PrecisionDebugger(dump_path=path) is first
    assert PrecisionDebugger() is first
    PrecisionDebugger.close()
    assert PrecisionDebugger(dump_path=path / "other") is not first


def test_a_second_debugger_with_other_settings_is_refused_with_what_differs(path: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"task": "statistics", "dump_path": str(path)}))
    PrecisionDebugger(dump_path=path, task="statistics")
    with pytest.raises(ConfigError, match=r"task='statistics'.*task='tensor'.*close"):
        PrecisionDebugger(dump_path=path, task="tensor")
    with pytest.raises(ConfigError, match="config_path"):
        PrecisionDebugger(config)
    assert PrecisionDebugger._open().config.task == "statistics"


@pytest.mark.slow
def test_an_error_of_ours_in_a_script_is_one_line(path: Path, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import sys; from dump import PrecisionDebugger\n"
        "if sys.argv[1] == 'theirs': PrecisionDebugger.close(); raise KeyError('theirs')\n"
        "try: PrecisionDebugger(task='statistic')\n"
        "except Exception: pass\n"
        "PrecisionDebugger(config_path='absent.json')\n"
    )
    ours, theirs = (
        subprocess.run([sys.executable, script, which], capture_output=True, text=True, check=False)
        for which in ("ours", "theirs")
    )
    assert ours.returncode == theirs.returncode == 1
    (line,) = ours.stderr.splitlines()
    assert line.startswith("acc: error: ")
    assert "absent.json" in line
    assert theirs.stderr.startswith("Traceback")


def test_paths_may_begin_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps({"task": "statistics", "dump_path": "~/dump"}))
    PrecisionDebugger("~/config.json", level="L1").start()
    torch.ones(1)
    PrecisionDebugger.close()
    assert _names(tmp_path / "dump", 0) == ["Torch.ones.0.forward"]


def test_a_debugger_that_recorded_nothing_says_why(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    PrecisionDebugger(dump_path=path, step=[3])
    PrecisionDebugger.start()
    PrecisionDebugger.step()
    PrecisionDebugger.close()
    assert capsys.readouterr().err == "acc dump: nothing was recorded: the script ended after 1 step, before step 3\n"


def test_at_the_end_it_says_where_the_dump_is(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    PrecisionDebugger(dump_path=path)
    for _ in range(2):
        PrecisionDebugger.start()
        torch.ones(1).exp()
        PrecisionDebugger.step()
    assert capsys.readouterr().err == ""
    PrecisionDebugger.close()
    assert capsys.readouterr().err == f"acc dump: dump: {path} (4 calls in 2 steps)\n"


def test_with_ranks_the_first_says_it(
    path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    PrecisionDebugger(dump_path=path)
    PrecisionDebugger.start()
    torch.ones(1)
    PrecisionDebugger.close()
    assert (path / "step0" / "rank1").is_dir()
    assert capsys.readouterr().err == ""


def test_arguments_win_over_the_file(path: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"task": "statistics", "dump_path": "elsewhere", "level": "L0", "step": [5]}))
    PrecisionDebugger(config, "tensor", dump_path=path, level="L1", step=[0])
    PrecisionDebugger.start()
    torch.ones(1)
    PrecisionDebugger.step()
    (folder,) = (path / "step0").iterdir()
    assert read_dump(folder).mode == "tensor"


def test_without_a_session_it_says_what_to_do() -> None:
    with pytest.raises(ConfigError, match="Construct one"):
        PrecisionDebugger.start()


@pytest.mark.parametrize("wrong", [[1], [2, 1], [-1, 0], ["0", 1], 3])
def test_a_range_of_tokens_that_is_none_is_refused(path: Path, wrong: object) -> None:
    PrecisionDebugger(dump_path=path)
    with pytest.raises(ConfigError, match="token_range"):
        PrecisionDebugger.start(token_range=wrong)  # type: ignore[arg-type]


def test_an_existing_dump_is_refused_when_recording_begins(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "0")
    PrecisionDebugger(dump_path=path)
    PrecisionDebugger.start()
    torch.ones(1)
    PrecisionDebugger.close()
    PrecisionDebugger(dump_path=path)
    with pytest.raises(OutputError, match="holds a dump already"):
        PrecisionDebugger.start()


def test_a_full_disk_is_told_once_and_the_training_goes_on(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path.mkdir()
    (path / "step0").write_text("in the way")
    PrecisionDebugger(dump_path=path)
    for _ in range(2):
        PrecisionDebugger.start()
        torch.ones(1)
        PrecisionDebugger.stop()
        PrecisionDebugger.step()
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1
    assert told[0].startswith("acc dump: error: ")
    assert told[0].endswith("Nothing more is recorded.")


def test_one_module_alone(path: Path) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 1))
    PrecisionDebugger(dump_path=path, level="L0")
    PrecisionDebugger.start(model)
    module_dump(model[1], "head")
    model(torch.ones(1, 2))
    module_dump_end()
    model(torch.ones(1, 2))
    PrecisionDebugger.step()
    assert _names(path, 0) == [
        "Module.head.Linear.forward.0",
        "Module.0.Linear.forward.0",
        "Module.head.Linear.forward.1",
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ending", "complete"),
    [("debugger.stop()", True), ("raise KeyError", False)],
)
def test_what_was_recorded_is_there_when_python_exits(tmp_path: Path, ending: str, complete: bool) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import torch\nfrom dump import PrecisionDebugger\n"
        f"debugger = PrecisionDebugger(dump_path={str(tmp_path / 'dump')!r})\n"
        f"debugger.start()\ntorch.ones(1)\n{ending}\n"
    )
    subprocess.run([sys.executable, script], check=complete, capture_output=True)
    (folder,) = (tmp_path / "dump" / "step0").iterdir()
    dump = read_dump(folder)
    assert [call.name for call in dump.calls] == ["Torch.ones.0.forward"]
    assert (dump.incomplete is None) == complete


def test_stop_before_backward_keeps_the_backward_of_what_was_recorded(path: Path) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(2, 1))
    debugger = PrecisionDebugger(dump_path=path, task="statistics", level="mix")
    for step in range(2):
        debugger.start(model)
        loss = model(torch.ones(1, 2)).sum()
        debugger.stop()
        unseen = loss.exp()
        unseen.backward()
        debugger.step()
        names = _names(path, step)
        assert {"Functional.linear.0.backward", "Module.0.Linear.backward.0", "Tensor.sum.0.backward"} <= set(names)
        assert "Module.0.Linear.parameters_grad.0" in names
        assert not [name for name in names if "exp" in name]


def test_a_backward_that_comes_after_its_step_belongs_to_no_step(path: Path) -> None:
    weight, gradient = torch.ones(1, requires_grad=True), torch.ones(1)
    debugger = PrecisionDebugger(dump_path=path, task="statistics", level="L1")
    debugger.start()
    loss = torch.neg(weight)
    debugger.stop()
    debugger.step()
    debugger.start()
    torch.abs(weight)
    loss.backward(gradient)
    debugger.step()
    assert _names(path, 0) == ["Torch.neg.0.forward"]
    assert _names(path, 1) == ["Torch.abs.0.forward"]


class _Twice(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = torch.nn.Linear(2, 3), torch.nn.Linear(3, 1)
        self.scale = torch.nn.Parameter(torch.ones(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.second(self.first(x))) * self.scale


def test_module_dump_at_the_level_of_apis_records_the_module_in_place_of_what_is_inside(path: Path) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), _Twice())
    debugger = PrecisionDebugger(dump_path=path, task="statistics", level="L1")
    debugger.start()
    module_dump(model[1], "MyModuleOP")
    for _ in range(2):
        hidden = model(torch.ones(1, 2))
    module_dump_end()
    loss = hidden.sum()
    loss.backward()
    debugger.stop()
    debugger.step()
    assert [name for name in _names(path, 0) if "ones_like" not in name] == [
        "Module.MyModuleOP._Twice.forward.0",
        "Module.MyModuleOP._Twice.forward.1",
        "Tensor.sum.0.forward",
        "Tensor.sum.0.backward",
        "Module.MyModuleOP._Twice.parameters_grad.0",
        "Module.MyModuleOP._Twice.backward.1",
    ]
