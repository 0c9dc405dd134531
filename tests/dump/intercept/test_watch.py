"""Who is listened to, and what happens when our own work fails."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch

from dump.config import DumpConfig
from dump.intercept.watch import Progress, Watch, backward_name
from dump.record.recorder import StepRecorder


class Nowhere:
    """A sink that keeps nothing."""

    def record(self, emission: Any) -> None: ...

    def store(self, measured: Any, place: Any, payload: Any) -> None: ...


@pytest.fixture
def watch() -> Watch:
    watch = Watch()
    watch.begin(StepRecorder(DumpConfig(), Nowhere()))
    return watch


def test_it_listens_on_the_thread_that_began(watch: Watch) -> None:
    heard: list[bool] = []
    other = threading.Thread(target=lambda: heard.append(watch.listening()))
    other.start()
    other.join()
    assert (watch.listening(), heard) == (True, [False])


@pytest.mark.parametrize("flag", ["busy", "muted", "gated", "setting_up"])
def test_each_flag_silences(watch: Watch, flag: str) -> None:
    setattr(watch, flag, True)
    assert not watch.listening()


def test_it_does_not_listen_while_code_is_read(watch: Watch) -> None:
    from torch._subclasses import FakeTensorMode

    with FakeTensorMode():
        assert not watch.listening()
    assert watch.listening()


def test_a_failure_of_ours_is_counted_and_the_run_goes_on(watch: Watch) -> None:
    def fails() -> None:
        raise ValueError("of ours\nand more")

    for _ in range(2):
        assert watch.guard(fails) is None
    assert not watch.busy
    assert watch.take_failures() == {"ValueError: of ours": 2}
    assert watch.take_failures() == {}


def test_the_users_interrupt_passes_through(watch: Watch) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        watch.guard(interrupted)
    assert not watch.busy


def test_our_work_is_hidden_from_the_users_function_modes(watch: Watch) -> None:
    seen = []

    class Mode(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            seen.append(func)
            return func(*args, **(kwargs or {}))

    with Mode():
        watch.guard(lambda: torch.ones(1).add(1))
    assert seen == []


@pytest.mark.parametrize(
    ("forward", "backward"),
    [
        ("Torch.add.3.forward", "Torch.add.3.backward"),
        ("Torch.linalg.norm.0.forward", "Torch.linalg.norm.0.backward"),
        ("Module.fc.Linear.forward.0", "Module.fc.Linear.backward.0"),
        ("Module.forward.Linear.forward.12", "Module.forward.Linear.backward.12"),
    ],
)
def test_names_of_backward_calls(forward: str, backward: str) -> None:
    assert backward_name(forward) == backward


def _elsewhere(act: Any) -> Any:
    found: list[Any] = []
    other = threading.Thread(target=lambda: found.append(act()))
    other.start()
    other.join()
    return found[0]


def test_the_training_thread_is_the_one_that_has_come_furthest() -> None:
    watch = Watch(finds_thread=True)
    watch.begin(StepRecorder(DumpConfig(), Nowhere()))
    assert watch.claim(Progress.calls_model)
    assert not _elsewhere(lambda: watch.claim(Progress.calls_model))
    assert watch.listening()
    assert _elsewhere(lambda: watch.claim(Progress.steps_optimizer) and watch.listening())
    assert not watch.listening()
    assert not watch.claim(Progress.steps_optimizer)


def test_a_thread_that_was_chosen_is_kept(watch: Watch) -> None:
    assert not _elsewhere(lambda: watch.claim(Progress.steps_optimizer))
    assert watch.listening()


@pytest.mark.parametrize("settings", [{"level": "mix"}, {"task": "tensor"}, {"summary_mode": "md5"}], ids=str)
def test_a_profiler_of_the_scripts_hears_nothing_of_ours(settings: dict[str, Any], record: Any) -> None:
    layer, x = torch.nn.Linear(4, 4), torch.randn(6, 8)[:, ::2]

    def act() -> list[tuple[str, int]]:
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
            torch.exp(layer(x)).t().sum().backward()
        return sorted((event.key, event.count) for event in profiler.key_averages())

    act()
    alone, found = act(), []
    record(lambda: found.append(act()), **settings)
    assert found == [alone]
    assert alone
