"""What msprobe's callers do with a debugger besides start, stop and step."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from dump import PrecisionDebugger
from dump.format.errors import ConfigError
from dump.format.reader import read_dump


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "dump"
    PrecisionDebugger.close()
    PrecisionDebugger.as_msprobe = False


@pytest.fixture
def model() -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU())


def _run(model: torch.nn.Module) -> None:
    model(torch.ones(1, 2)).sum().backward()


def _names(folder: Path) -> list[str]:
    (rank,) = folder.iterdir()
    return [call.name for call in read_dump(rank).calls]


def test_arguments_in_the_order_of_both_versions(path: Path, model: torch.nn.Module) -> None:
    newer = PrecisionDebugger(None, "statistics", str(path), "L1", [3])
    assert (newer.config.step, newer.model) == ([3], None)
    PrecisionDebugger.close()
    older = PrecisionDebugger(None, "statistics", str(path), "mix", model, ["0-1"])
    assert (older.config.step, older.model) == ([0, 1], model)
    older.start()
    _run(model)
    older.step()
    assert "Module.0.Linear.forward.0" in _names(path / "step0")
    PrecisionDebugger.close()
    both = PrecisionDebugger(None, None, str(path), None, [model, model], None)
    assert both.model == [model, model]
    PrecisionDebugger.close()
    with pytest.raises(ConfigError, match="at most six"):
        PrecisionDebugger(None, None, str(path), None, model, [0], "more")


def test_what_is_read_of_the_settings(path: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text(
        json.dumps({"task": "tensor", "dump_path": str(path), "rank": [2, 0], "level": "L0", "tensor": {"list": ["a"]}})
    )
    debugger = PrecisionDebugger(str(config))
    settings = debugger.service.config
    assert settings is debugger.config
    read = (settings.dump_path, settings.task, settings.rank, settings.level, settings.list, settings.data_mode)
    assert read == (str(path), "tensor", [0, 2], "L0", ["a"], ["all"])
    assert (debugger.task, settings.framework, settings.dump_enable) == ("tensor", "pytorch", None)
    with pytest.raises(AttributeError):
        _ = settings.no_such_setting


def test_each_model_has_a_folder_of_its_own(path: Path, model: torch.nn.Module) -> None:
    """As reinforcement learning records the phases of a step: the folder is set before each start."""
    debugger = PrecisionDebugger(dump_path=str(path / "unused"), level="L1")
    for step in range(2):
        for phase in ("reference", "actor"):
            debugger.service.first_start = True
            debugger.service.config.dump_path = str(path / phase)
            debugger.start(model=model)
            torch.relu(torch.ones(1)) if phase == "actor" else torch.abs(torch.ones(1))
            debugger.stop()
            debugger.service.reset_status()
        assert debugger.service.current_iter == step
        debugger.step()
    assert sorted(folder.name for folder in path.iterdir()) == ["actor", "reference"]
    for step in range(2):
        assert _names(path / "reference" / f"step{step}")[-1] == "Torch.abs.0.forward"
        assert _names(path / "actor" / f"step{step}")[-1] == "Torch.relu.0.forward"


def test_a_folder_of_its_own_is_not_recorded_twice_and_does_not_end_the_run(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    debugger = PrecisionDebugger(dump_path=str(path), level="L1")
    for _ in range(3):
        debugger.start()
        torch.ones(1)
        debugger.stop()
        debugger.service._reset_status()
    assert _names(path / "step0") == ["Torch.ones.0.forward"]
    assert capsys.readouterr().err.count("not recorded twice") == 1


def test_a_setting_that_cannot_be_changed_is_told_once(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    debugger = PrecisionDebugger(dump_path=str(path), level="L1")
    for _ in range(2):
        debugger.config.level = "L0"
    assert debugger.config.level == "L1"
    assert capsys.readouterr().err.count("config.level") == 1


@pytest.mark.parametrize(
    ("tokens", "linears"),
    [(None, [0, 1, 2, 3]), ([0, 0], [0]), ([1, 2], [0, 1]), ([3, 9], [0]), ([4, 5], [])],
    ids=str,
)
def test_a_range_of_tokens(path: Path, tokens: list[int] | None, linears: list[int]) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(2, 2))
    debugger = PrecisionDebugger(dump_path=str(path), level="mix")
    debugger.start(model, tokens)
    with torch.no_grad():
        for token in range(4):
            model(torch.full((1, 2), float(token)))
    debugger.stop()
    debugger.step()
    found = _names(path / "step0") if path.exists() else []
    assert [name for name in found if "linear" in name] == [f"Functional.linear.{n}.forward" for n in linears]
    assert [name for name in found if "Module" in name] == [f"Module.0.Linear.forward.{n}" for n in linears]


def test_tokens_are_counted_from_each_start_and_within_a_wrapper(path: Path) -> None:
    inner = torch.nn.Linear(2, 2)
    wrapper = torch.nn.Sequential(inner)
    other = torch.nn.ReLU()
    debugger = PrecisionDebugger(dump_path=str(path), level="L1")
    for _ in range(2):
        debugger.start([inner], token_range=(1, 1))
        for _ in range(3):
            other(wrapper(torch.ones(1, 2)))
        debugger.stop()
        debugger.step()
    for step in range(2):
        assert [name for name in _names(path / f"step{step}") if "linear" in name] == ["Functional.linear.0.forward"]


def test_a_batch_without_the_request_is_not_recorded(path: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"dump_path": str(path), "level": "L1", "statistics": {"request_id": "r1"}}))
    debugger = PrecisionDebugger(str(config))
    batches: list[dict[str, int] | None] = [{"r0": 4}, {"r0": 1, "r1": 4}, None]
    for batch in batches:
        debugger.start(None, scheduled_tokens=batch)
        torch.ones(1)
        debugger.stop()
        debugger.step()
    assert sorted(folder.name for folder in path.iterdir()) == ["step1", "step2"]


def test_the_number_of_the_first_step(path: Path) -> None:
    debugger = PrecisionDebugger(dump_path=str(path), level="L1", step=[100])
    debugger.set_init_step(100)
    for _ in range(2):
        debugger.start()
        torch.ones(1)
        debugger.forward_backward_dump_end()
        debugger.step()
    assert [folder.name for folder in path.iterdir()] == ["step100"]
    assert debugger.service.should_stop_service
    with pytest.raises(ConfigError, match="set_init_step"):
        debugger.set_init_step(-1)


def test_the_file_is_looked_at_when_the_caller_says_so(path: Path, tmp_path: Path) -> None:
    """A server switches recording off in the middle of a step."""
    config = tmp_path / "config.json"
    settings = {"dump_path": str(path), "level": "L1", "dump_enable": True}
    config.write_text(json.dumps(settings))
    debugger = PrecisionDebugger(str(config))
    debugger.start()
    torch.ones(1)
    assert not debugger._maybe_reload_config()
    config.write_text(json.dumps({**settings, "dump_enable": False}))
    assert debugger._maybe_reload_config(force=True)
    torch.zeros(1)
    debugger.start()
    torch.zeros(1)
    debugger.stop()
    debugger.step()
    assert _names(path / "step0") == ["Torch.ones.0.forward"]


def test_a_model_that_is_no_module_is_told_and_the_run_goes_on(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class GraphWrapper:
        def __call__(self) -> None:
            torch.ones(1)

    debugger = PrecisionDebugger(dump_path=str(path), level="mix")
    debugger.start(GraphWrapper())  # type: ignore[arg-type]
    torch.ones(1)
    debugger.step()
    assert _names(path / "step0") == ["Torch.ones.0.forward"]
    assert "GraphWrapper" in capsys.readouterr().err


def test_one_is_handed_out_under_msprobes_name_whatever_is_asked_for(path: Path) -> None:
    first = PrecisionDebugger(dump_path=str(path), level="L1")
    with pytest.raises(ConfigError, match="one is open"):
        PrecisionDebugger(dump_path=str(path / "other"))
    PrecisionDebugger.as_msprobe = True
    assert PrecisionDebugger(dump_path=str(path / "other")) is first is PrecisionDebugger._instance
    PrecisionDebugger._instance = None
    fresh = PrecisionDebugger(dump_path=str(path / "other"), level="L1")
    assert fresh is not first
    assert fresh.config.dump_path == str(path / "other")


def test_what_callers_hand_to_another_recorders_step_is_told(
    path: Path, model: torch.nn.Module, capsys: pytest.CaptureFixture[str]
) -> None:
    """vllm-ascend ends steps of either recorder with `step(dump=False)`."""
    debugger = PrecisionDebugger(dump_path=str(path), level="L1")
    for _ in range(2):
        debugger.start(model)
        _run(model)
        debugger.step(dump=False)
    debugger.service.step(dump=False)
    assert _names(path / "step1")
    assert capsys.readouterr().err.count("step(dump) has no effect") == 1
