"""One session: torch is put back exactly, steps are counted and filtered, and nothing is lost or overwritten."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch.nn.modules import module as torch_module
from torch.optim import optimizer as torch_optimizer

from dump.config import DumpConfig
from dump.format.errors import ConfigError, OutputError
from dump.format.paths import working_folder
from dump.format.reader import read_dump
from dump.format.tensors import read_tensor
from dump.older_torch import grad_scaler
from dump.record.contents import Contents
from dump.record.observer import LastStepDone
from dump.session import Session
from dump.write.backlog import Backlog, Job
from dump.write.tensor_files import TensorFiles

OWNERS = [
    torch,
    torch._C._nn,
    torch._VF,
    torch.distributed,
    torch.fft,
    torch.jit,
    torch.linalg,
    torch.nn.functional,
    torch.sparse,
    torch.special,
]
CLASSES = [torch.Tensor, torch.nn.Module, torch.optim.Optimizer, grad_scaler()]


def _state() -> list[dict[str, Any]]:
    """All that a session touches, by identity."""
    hooks = [
        torch_module._global_forward_hooks,
        torch_module._global_forward_pre_hooks,
        torch_module._global_backward_hooks,
        torch_module._global_parameter_registration_hooks,
        torch_optimizer._global_optimizer_pre_hooks,
        torch_optimizer._global_optimizer_post_hooks,
    ]
    tables = [dict(vars(owner)) for owner in (*OWNERS, *CLASSES)]
    return [*tables, *(dict(hook) for hook in hooks)]


@pytest.fixture
def sessions() -> Iterator[list[Session]]:
    made: list[Session] = []
    yield made
    for session in made:
        session.remove()


def _train(session: Session, steps: int) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(2, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(steps):
        session.start([model])
        model(torch.ones(1, 2)).sum().backward()
        optimizer.step()
        session.stop()
        session.step()


@pytest.mark.parametrize("level", ["L0", "L1", "mix"])
@pytest.mark.parametrize("finds_steps", [False, True])
def test_torch_is_put_back_exactly(config: DumpConfig, level: Any, finds_steps: bool) -> None:
    before, relu, add = _state(), F.relu, torch.Tensor.__add__
    session = Session(replace(config, level=level), finds_steps=finds_steps)
    session.start()
    assert torch.nn.Module.__call__ is not before[OWNERS.__len__() + 1]["__call__"]
    torch.nn.Linear(2, 2)(torch.ones(1, 2)).sum().backward()
    session.close()
    after = _state()
    for then, now in zip(before, after, strict=True):
        assert then.keys() == now.keys()
        assert all(then[key] is now[key] for key in then)
    assert F.relu is relu
    assert torch.Tensor.__add__ is add


def test_nothing_is_patched_before_the_first_wanted_step(config: DumpConfig) -> None:
    before = _state()
    session = Session(replace(config, step=frozenset([1])))
    session.start()
    assert _state() == before
    session.step()
    session.start()
    assert "add" in vars(torch.Tensor)
    session.close()
    assert _state() == before


def test_steps_are_counted_and_only_wanted_ones_are_written(config: DumpConfig) -> None:
    session = Session(replace(config, step=frozenset([1, 3])))
    _train(session, 5)
    session.close()
    assert [part.folder.parent.name for part in session.written] == ["step1", "step3"]
    first, second = (read_dump(part.folder) for part in session.written)
    assert [call.name for call in first.calls] == [call.name for call in second.calls]
    assert session.finished


def test_a_relative_path_is_of_where_the_run_began(
    config: DumpConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "began").mkdir()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "began")
    session = Session(replace(config, dump_path=Path("dump"), step=frozenset([0, 1]), place=working_folder()))
    _train(session, 1)
    session.start()
    torch.ones(1)
    monkeypatch.chdir(tmp_path / "elsewhere")  # in the middle of a step
    session.close()
    assert session.failure is None
    assert [part.folder.parent for part in session.written] == [
        tmp_path / "began" / "dump" / f"step{n}" for n in (0, 1)
    ]
    assert [bool(read_dump(part.folder).calls) for part in session.written] == [True, True]


def test_nothing_is_recorded_between_stop_and_start(config: DumpConfig) -> None:
    session = Session(config)
    session.start()
    torch.ones(1)
    session.stop()
    torch.zeros(1)
    session.start()
    torch.ones(1)
    session.close()
    names = [call.name for call in read_dump(session.written[0].folder).calls]
    assert names == ["Torch.ones.0.forward", "Torch.ones.1.forward"]


def test_gradients_that_come_after_a_pause_are_recorded(config: DumpConfig) -> None:
    session = Session(config)
    x = torch.ones(2, requires_grad=True)
    session.start()
    y = torch.exp(x)
    session.stop()
    session.start()
    y.sum().backward()
    session.close()
    assert "Torch.exp.0.backward" in [call.name for call in read_dump(session.written[0].folder).calls]


FILTERS: list[tuple[dict[str, Any], list[str]]] = [
    ({"api_list": ("relu",)}, ["Torch.relu.0.forward", "Torch.relu.0.backward"]),
    (
        {"scope": ("Torch.relu.0.forward", "Torch.sin.0.forward")},
        ["Torch.relu.0.forward", "Torch.sin.0.forward"],
    ),
    (
        {"scope": ("Torch.sin.0.forward", "Torch.sin.0.backward")},
        ["Torch.sin.0.forward", "Tensor.sum.0.forward", "Tensor.sum.0.backward", "Torch.sin.0.backward"],
    ),
    ({"api_list": ("relu.0.backward",)}, ["Torch.relu.0.backward"]),
    (
        {"data_mode": ("forward",)},
        ["Torch.exp.0.forward", "Torch.relu.0.forward", "Torch.sin.0.forward", "Tensor.sum.0.forward"],
    ),
    (
        {"data_mode": ("backward",)},
        ["Tensor.sum.0.backward", "Torch.sin.0.backward", "Torch.relu.0.backward", "Torch.exp.0.backward"],
    ),
]


@pytest.mark.parametrize(("settings", "names"), FILTERS)
def test_filters(record: Any, settings: dict[str, Any], names: list[str]) -> None:
    x = torch.ones(2, requires_grad=True)
    seed = torch.tensor(1.0)

    def act() -> None:
        torch.sin(torch.relu(torch.exp(x))).sum().backward(seed)

    assert record(act, **settings).names == names


def test_all_that_a_module_contains_comes_with_it(record: Any) -> None:
    model = torch.nn.Sequential(torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.GELU()), torch.nn.Linear(2, 1))
    seed = torch.ones(1, 1)

    def act() -> None:
        model(torch.ones(1, 2)).backward(seed)

    names = record(act, models=[model], level="mix", api_list=("Module.0.Sequential",)).names
    assert names[:3] == ["Functional.linear.0.forward", "Module.0.0.Linear.forward.0", "Functional.gelu.0.forward"]
    assert {"Functional.gelu.0.backward", "Functional.linear.0.backward", "Module.0.Sequential.backward.0"} < {*names}
    assert not [name for name in names if name.startswith(("Module.1", "Functional.linear.1"))]
    ends = ("Module.1.Linear.forward.0", "Module.1.Linear.forward.0")
    assert record(act, models=[model], level="mix", scope=ends).names == ["Functional.linear.1.forward", ends[0]]


@pytest.mark.parametrize("precision", ["low", "high"])
def test_statistics_are_computed_in_float32_at_either_precision(record: Any, precision: str) -> None:
    """msprobe's `low` sums bfloat16 in bfloat16: this mean would be 1.0, off by 1.5e-3."""
    tensor = torch.tensor([1.0] * 255 + [1.390625], dtype=torch.bfloat16)
    found = record(lambda: torch.neg(tensor), level="L1", precision=precision).leaf("Torch.neg.0.forward", "input.0")
    assert found.mean == pytest.approx(tensor.double().mean().item(), rel=1e-6)
    assert found.norm == pytest.approx(tensor.double().norm().item(), rel=1e-6)


@pytest.mark.parametrize("summary_mode", ["statistics", "md5"])
def test_a_tensor_list_writes_whole_tensors_of_those_calls_alone(record: Any, summary_mode: str) -> None:
    x = torch.ones(2, requires_grad=True)
    seed = torch.tensor(1.0)

    def act() -> None:
        torch.sin(torch.relu(x)).sum().backward(seed)

    dump = record(act, level="L1", summary_mode=summary_mode, tensor_list=("relu.0.forward", "name-regex(^Tensor.sum)"))
    kept = {call.name for call in dump.calls.values() for _, leaf in call.tensors() if leaf.data_name}
    assert kept >= {"Torch.relu.0.forward", "Tensor.sum.0.forward", "Tensor.sum.0.backward"}
    assert "Torch.relu.0.backward" not in {
        name for name in kept if dump[name].outputs and getattr(dump[name].outputs[0].leaf, "data_name", None)
    }
    assert dump.tensor("Torch.relu.0.forward", "input.0").tolist() == [1.0, 1.0]
    assert all(
        (leaf.md5 is not None, leaf.max is None) == (summary_mode == "md5",) * 2
        for call in dump.calls.values()
        for _, leaf in call.tensors()
    )


def test_with_async_dump_the_run_goes_on_before_its_step_is_written(
    config: DumpConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = threading.Event()
    write = TensorFiles.write

    def late(files: TensorFiles, payload: Contents) -> tuple[Path, int]:
        go.wait(20)
        return write(files, payload)

    monkeypatch.setattr(TensorFiles, "write", late)
    told: list[int] = []
    session = Session(replace(config, task="tensor", async_dump=True), on_step=lambda number, _: told.append(number))
    x = torch.ones(3)
    for number in range(2):
        session.start()
        torch.neg(x)
        x.add_(1)
        if number:
            assert told == []
            go.set()
        session.step()
    session.close()
    assert told == [0, 1]
    for number, written in enumerate(session.written):
        dump = read_dump(written.folder)
        assert dump.incomplete is None
        ((_, first), *_rest) = dump.calls[0].tensors()
        assert first.data_name is not None
        assert read_tensor(written.folder / "dump_tensor_data", first.data_name).tolist() == [number + 1.0] * 3


def test_what_fails_beside_the_run_is_told_at_the_next_step(config: DumpConfig) -> None:
    session = Session(replace(config, task="tensor", async_dump=True, rank=frozenset()))
    session.start(rank_id=0)
    torch.neg(torch.ones(3))
    while (folder := Path(config.dump_path) / "step0").exists():  # the first file may be on its way into it
        shutil.rmtree(folder, ignore_errors=True)
    torch.neg(torch.ones(4))
    session.step()
    session.start()
    session.step()
    session.close()
    assert isinstance(session.failure, OutputError)
    assert session.written == []


@pytest.mark.parametrize("task", ["tensor", "statistics"])
def test_contents_take_no_more_than_buffer_mb(record: Any, monkeypatch: pytest.MonkeyPatch, task: str) -> None:
    most = 0
    do = Backlog._do

    def watched(backlog: Backlog, job: Job) -> None:
        nonlocal most
        most = max(most, backlog.nbytes)
        do(backlog, job)

    monkeypatch.setattr(Backlog, "_do", watched)
    tensors = [torch.full((100_000,), float(number)) for number in range(8)]

    def act() -> None:
        for tensor in tensors:
            torch.neg(tensor)

    dump = record(act, level="L1", task=task, summary_mode="md5", buffer_mb=1)
    assert 400_000 <= most <= 1 << 20
    assert len(dump.names) == 8


def test_a_side_that_is_not_wanted_is_left_out(record: Any) -> None:
    x = torch.ones(2, requires_grad=True)
    dump = record(lambda: torch.exp(x).sum().backward(), data_mode=("output",))
    for call in dump.calls.values():
        assert call.inputs == ()
        assert len(call.outputs) == 1


@pytest.mark.parametrize(("rank", "files"), [(0, 0), (1, 1)])
def test_a_rank_that_is_not_wanted_writes_nothing(config: DumpConfig, rank: int, files: int) -> None:
    session = Session(replace(config, rank=frozenset([1])))
    session.start(rank_id=rank)
    torch.ones(1)
    session.close()
    assert len(session.written) == files
    assert [part.folder.name for part in session.written] == ["rank1"] * files


def test_the_rank_may_become_known_after_the_start(config: DumpConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session(config)
    session.start()
    monkeypatch.setenv("RANK", "3")
    torch.ones(1)
    session.close()
    assert session.written[0].folder.name == "rank3"


def test_an_existing_dump_is_refused_before_anything_runs(config: DumpConfig, sessions: list[Session]) -> None:
    first = Session(config, finds_steps=True)
    first.start()
    torch.ones(1)
    first.close()
    again = Session(replace(config, step=frozenset([0])), finds_steps=True)
    sessions.append(again)
    with pytest.raises(OutputError, match="holds a dump already"):
        again.install()
    other = Session(replace(config, step=frozenset([1])), finds_steps=True)
    other.install()
    other.close()


def test_an_existing_dump_of_this_rank_is_refused_at_the_start(config: DumpConfig) -> None:
    for refused in (False, True):
        session = Session(config)
        if refused:
            with pytest.raises(OutputError, match="rank5"):
                session.start(rank_id=5)
        else:
            session.start(rank_id=5)
            torch.ones(1)
        session.close()


def test_a_root_that_cannot_be_made_is_refused(config: DumpConfig, sessions: list[Session]) -> None:
    Path(config.dump_path).write_text("a file")
    session = Session(config, finds_steps=True)
    sessions.append(session)
    with pytest.raises(OutputError, match="cannot be made"):
        session.install()


def test_a_folder_that_cannot_be_written_stops_the_recording_and_not_the_run(config: DumpConfig) -> None:
    session = Session(config)
    Path(config.dump_path).mkdir()
    (Path(config.dump_path) / "step0").write_text("in the way")
    session.start()
    assert torch.equal(torch.ones(2) + 1, torch.full((2,), 2.0))
    assert not session.is_recording
    session.close()
    assert isinstance(session.failure, OutputError)
    assert session.written == []


def test_two_sessions_at_once_are_refused(config: DumpConfig, sessions: list[Session]) -> None:
    first, second = Session(config), Session(config)
    sessions += [first, second]
    first.install()
    with pytest.raises(ConfigError, match="runs already"):
        second.install()


def test_the_run_is_left_after_the_last_wanted_step(config: DumpConfig) -> None:
    session = Session(replace(config, step=frozenset([0])), finds_steps=True, exit_after=True)
    session.start()
    model = torch.nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model(torch.ones(1, 1)).sum().backward()
    with pytest.raises(LastStepDone):
        optimizer.step()
    session.close()
    assert [read_dump(part.folder).header.complete for part in session.written] == [True]


def test_a_step_closed_early_says_so(config: DumpConfig) -> None:
    session = Session(config)
    session.start()
    torch.ones(1)
    session.close(complete=False)
    assert read_dump(session.written[0].folder).incomplete is not None


def test_failures_are_told_in_the_step_in_which_they_happened(
    config: DumpConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = Session(config)
    session.start()
    with monkeypatch.context() as patch:
        patch.setattr("dump.intercept.calls.autograd.before_call", lambda _: 1 / 0)
        torch.ones(1)
    torch.zeros(1)
    session.step()
    session.start()
    torch.zeros(1)
    session.close()
    coverages = [read_dump(part.folder).header.coverage for part in session.written]
    assert [coverage["failed"] for coverage in coverages if coverage] == [
        {"API calls: ZeroDivisionError: division by zero": 1},
        {},
    ]


def test_a_forked_child_is_left_alone(config: DumpConfig) -> None:
    """As a data loader's worker is, which would wait for ever for a thread that it has not inherited."""
    before = _state()
    session = Session(config)
    session.start()
    torch.ones(1)
    child = os.fork()
    if child == 0:
        untouched = _state() == before and not session.is_recording
        for _ in range(5000):
            torch.ones(1)
        os._exit(0 if untouched else 1)
    _, status = os.waitpid(child, 0)
    torch.zeros(1)
    session.close()
    assert status == 0
    names = [call.name for call in read_dump(session.written[0].folder).calls]
    assert names == ["Torch.ones.0.forward", "Torch.zeros.0.forward"]


def test_workers_of_a_loader_are_left_alone(record: Any) -> None:
    data = torch.utils.data.TensorDataset(torch.arange(8.0))
    batches = []

    def act() -> None:
        loader = torch.utils.data.DataLoader(data, batch_size=4, num_workers=1)
        batches.extend(batch for (batch,) in loader)

    dump = record(act)
    assert torch.equal(torch.cat(batches), torch.arange(8.0))
    assert not any("stack" in name for name in dump.names)


def test_a_saved_value_is_recorded_with_its_gradient(config: DumpConfig) -> None:
    session = Session(replace(config, task="tensor"))
    x = torch.ones(2, requires_grad=True)
    session.start()
    y = torch.exp(x)
    session.save({"hidden": y, "note": 3}, "mine")
    session.save(y, "without", backward=False)
    (y * 3).sum().backward()
    session.close()
    dump = read_dump(session.written[0].folder)
    calls = {call.name: call for call in dump.calls}
    assert [argument.name for argument in calls["Saved.mine.0.forward"].outputs] == [
        "output.0.hidden",
        "output.0.note",
    ]
    assert [argument.leaf.max for argument in calls["Saved.mine.0.backward"].inputs] == [3]
    assert "Saved.without.0.backward" not in calls


def test_only_the_modules_asked_for_are_recorded(config: DumpConfig) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Tanh(), torch.nn.Linear(2, 1))
    session = Session(replace(config, level="mix"))
    session.start()
    session.modules.rename(model[2], "mine")
    session.only([model[2]])
    for _ in range(2):
        model(torch.ones(1, 2)).sum().backward()
    session.only([])
    torch.zeros(1)
    session.close()
    names = [call.name for call in read_dump(session.written[0].folder).calls]
    kept = {"Functional.linear", "Module.mine.Linear"}
    assert [name for name in names if not any(name.startswith(part) for part in kept)] == ["Torch.zeros.0.forward"]
    assert sum("forward" in name for name in names) == 5
    assert "Module.mine.Linear.backward.1" in names


def _no_apply(*_: object) -> None:
    raise AttributeError("no such descriptor")


def test_what_this_torch_does_not_allow_is_told_once_and_the_rest_recorded(
    config: DumpConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dump.intercept.dispatcher_ops.function_behind", _no_apply)
    said: list[str] = []
    session = Session(config, say=said.append)
    for _ in range(2):
        session.start()
        torch.ones(1).add(1)
        session.step()
    session.close()
    left_out = {"custom autograd Functions": "AttributeError: no such descriptor"}
    assert session.left_out == left_out
    (line,) = [text for text in said if "custom autograd Functions" in text]
    assert f"torch {torch.__version__}" in line
    headers = [read_dump(part.folder).header for part in session.written]
    assert [header.coverage["left_out"] for header in headers if header.coverage] == [left_out, left_out]
    assert all(part.calls for part in session.written)


@pytest.mark.parametrize("place", ["dump.session.StepRecorder", "dump.session.device.detect_npu"])
def test_an_error_of_ours_at_the_start_is_a_message(
    config: DumpConfig, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.setattr(place, lambda *_: 1 / 0)
    said: list[str] = []
    before = torch.add, torch.Tensor.add, torch.nn.Module.__call__
    session = Session(config, say=said.append)
    session.start()
    torch.ones(1).add(1)
    session.step()
    session.start()
    session.close()
    assert (torch.add, torch.Tensor.add, torch.nn.Module.__call__) == before
    assert [text for text in said if "ZeroDivisionError" in text] == said != []
    assert (session.written, session.failure) == ([], None)
    assert session.why_nothing().reason == "ZeroDivisionError: division by zero"


def test_an_error_of_ours_between_steps_ends_the_recording_and_not_the_run(
    config: DumpConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    session = Session(config, say=said.append)
    session.start()
    torch.ones(1)
    monkeypatch.setattr("dump.session.closing_keys", lambda *_, **__: 1 / 0)
    session.step()
    session.start()
    assert torch.ones(1).add(1).item() == 2
    session.close()
    assert (session.broken, session.written) == ("ZeroDivisionError: division by zero", [])
    assert len(said) == 1
    (left,) = Path(config.dump_path).rglob("dump.json")
    assert read_dump(left.parent).incomplete is not None


def test_a_failure_at_work_is_told_once(config: DumpConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dump.intercept.calls.autograd.before_call", lambda _: 1 / 0)
    said: list[str] = []
    session = Session(config, say=said.append)
    session.start()
    for _ in range(3):
        torch.ones(1)
    session.close()
    assert sum("API calls: ZeroDivisionError" in text for text in said) == 1
