"""Where steps begin and end in a script that does not say so."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
import torch

from dump.config import DumpConfig
from dump.format.reader import read_dump
from dump.intercept.steps import LiveOptimizers
from dump.session import Session


def _optimizer() -> torch.optim.Optimizer:
    return torch.optim.SGD([torch.ones(1, requires_grad=True)], lr=1.0)


@pytest.mark.parametrize(
    ("order", "ends"),
    [
        ("a a a", "y y y"),  # alone in the script
        ("ab ab", "ny ny"),  # both in each iteration, as in a GAN
        ("a a a", "n y y"),  # another was made and never steps
        ("a ab ab", "n yn yn"),  # one is found idle, then steps after all
    ],
)
def test_a_step_ends_when_all_optimizers_have_stepped(order: str, ends: str) -> None:
    live = LiveOptimizers()
    optimizers = {"a": _optimizer(), "b": _optimizer()}
    live.made(optimizers["a"])
    if "b" in order or "n" in ends:
        live.made(optimizers["b"])
    found = " ".join(
        "".join("y" if live.ends_step(optimizers[name]) else "n" for name in iteration) for iteration in order.split()
    )
    assert found == ends


def test_an_optimizer_that_is_gone_is_not_waited_for() -> None:
    live = LiveOptimizers()
    kept = _optimizer()
    gone = _optimizer()
    live.made(gone)
    del gone
    import gc

    gc.collect()
    assert live.ends_step(kept)


class Run:
    """A session that finds its steps, and the names that it recorded, step by step."""

    def __init__(self, config: DumpConfig) -> None:
        self.session = Session(config, finds_steps=True)

    def __enter__(self) -> Run:
        self.session.install()
        self.session.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.session.close()

    def steps(self) -> list[list[str]]:
        return [[call.name for call in read_dump(part.folder).calls] for part in self.session.written]


def test_set_up_is_left_out_and_what_comes_before_it_is_not(config: DumpConfig) -> None:
    with Run(config) as run:
        data = torch.ones(1, 2)
        model = torch.nn.Linear(2, 2)
        torch.nn.init.ones_(model.weight)
        torch.rand(3)
        with torch.no_grad():
            model(data)
        torch.nn.ReLU()
        torch.exp(data)
    assert run.steps() == [["Torch.ones.0.forward", "Functional.linear.0.forward", "Torch.exp.0.forward"]]


def test_a_script_without_modules_is_recorded_from_its_start(config: DumpConfig) -> None:
    with Run(config) as run:
        torch.exp(torch.ones(2))
    assert run.steps() == [["Torch.ones.0.forward", "Torch.exp.0.forward"]]


def test_a_call_that_builds_a_graph_ends_the_set_up(config: DumpConfig) -> None:
    with Run(config) as run:
        model = torch.nn.Linear(2, 2)
        torch.nn.functional.linear(torch.ones(1, 2), model.weight)
        torch.exp(torch.ones(1))
    assert run.steps() == [["Functional.linear.0.forward", "Torch.ones.0.forward", "Torch.exp.0.forward"]]


def test_each_call_of_the_model_is_a_step_of_inference(config: DumpConfig) -> None:
    with Run(config) as run:
        prepare, model = torch.nn.Tanh(), torch.nn.Linear(2, 2)
        with torch.no_grad():
            for _ in range(3):
                model(prepare(torch.ones(1, 2)))
    tanh, linear, ones = "Torch.tanh.0.forward", "Functional.linear.0.forward", "Torch.ones.0.forward"
    assert run.steps()[0] == [tanh, linear, ones, "Torch.tanh.1.forward"]
    assert [step[0] for step in run.steps()] == [tanh, linear, linear]


@pytest.mark.parametrize("trains", [True, False])
def test_the_step_in_which_a_script_ends_counts(config: DumpConfig, trains: bool) -> None:
    """Of training, what is called after the last optimizer step does not."""
    model = torch.nn.Linear(2, 2)
    with Run(replace(config, step=frozenset({7}))) as run:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1) if trains else None
        for _ in range(3):
            loss = model(torch.ones(1, 2)).sum()
            if optimizer is not None:
                loss.backward()
                optimizer.step()
        if trains:
            model(torch.ones(1, 2))
    assert "after 3 steps, before step 7" in run.session.why_nothing().reason


def test_an_evaluation_pass_does_not_end_a_training_step(config: DumpConfig) -> None:
    with Run(config) as run:
        model = torch.nn.Linear(2, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(2):
            with torch.no_grad():
                model(torch.ones(1, 2))
            model(torch.ones(1, 2)).sum().backward()
            optimizer.step()
    assert [step.count("Optimizer.SGD.0.forward") for step in run.steps()] == [1, 1]
    assert all("Functional.linear.1.forward" in step for step in run.steps())


def test_two_optimizers_of_a_gan_make_one_step(config: DumpConfig) -> None:
    with Run(config) as run:
        makes, judges = torch.nn.Linear(2, 2), torch.nn.Linear(2, 1)
        first = torch.optim.SGD(judges.parameters(), lr=0.1)
        second = torch.optim.SGD(makes.parameters(), lr=0.1)
        for _ in range(2):
            for optimizer in (first, second):
                optimizer.zero_grad()
                judges(makes(torch.ones(1, 2))).sum().backward()
                optimizer.step()
    assert [[name for name in step if "Optimizer" in name] for step in run.steps()] == [
        ["Optimizer.SGD.0.forward", "Optimizer.SGD.1.forward"]
    ] * 2


@pytest.mark.skipif(not hasattr(torch.amp, "GradScaler"), reason="scalers for all devices came with torch 2.3")
@pytest.mark.parametrize("overflows", [False, True])
def test_a_scaler_that_skips_the_optimizer_ends_the_step_all_the_same(config: DumpConfig, overflows: bool) -> None:
    with Run(config) as run:
        model = torch.nn.Linear(2, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0)
        for _ in range(2):
            loss = model(torch.ones(1, 2)).sum()
            scaler.scale(loss * (float("inf") if overflows else 1.0)).backward()
            scaler.step(optimizer)
            scaler.update()
    steps = run.steps()
    assert sum("Functional.linear.0.forward" in step for step in steps) == 2
    assert any("Optimizer.SGD.0.forward" in step for step in steps) is not overflows


def test_a_checkpoint_of_the_whole_model_does_not_begin_a_step_in_its_recomputation(
    config: DumpConfig,
) -> None:
    from torch.utils.checkpoint import checkpoint

    with Run(config) as run:
        model = torch.nn.Linear(2, 1)
        checkpoint(model, torch.ones(1, 2), use_reentrant=False).sum().backward()
    assert len(run.steps()) == 1


class _ByForward(torch.nn.Module):
    """Enters its parts by `.forward()`, as some code does that is written for speed."""

    def __init__(this) -> None:  # noqa: N805
        super().__init__()
        this.part = torch.nn.Linear(2, 2)

    def forward(this, x: torch.Tensor) -> torch.Tensor:  # noqa: N805
        return torch.tanh(this.part.forward(x))


def test_inference_by_forward_ends_the_set_up(config: DumpConfig) -> None:
    with Run(config) as run, torch.no_grad():
        model = _ByForward()
        torch.rand(3)
        model.forward(torch.zeros(1, 2))
        torch.nn.ReLU()
        torch.exp(model.part.weight)
    assert run.steps() == [["Functional.linear.0.forward", "Torch.tanh.0.forward", "Torch.exp.0.forward"]]


def _train(steps: int) -> None:
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(steps):
        model(torch.ones(1, 2)).sum().backward()
        optimizer.step()


def _in_thread(act: object, *arguments: object) -> None:
    thread = threading.Thread(target=act, args=arguments)
    thread.start()
    thread.join()


@pytest.mark.parametrize("audit", [False, True])
def test_a_training_loop_in_a_thread(config: DumpConfig, audit: bool) -> None:
    with Run(replace(config, level="mix", audit=audit)) as run:
        _in_thread(_train, 2)
    assert len(run.steps()) == 2
    assert {
        "Module.Linear.forward.0",
        "Functional.linear.0.forward",
        "Functional.linear.0.backward",
        "Optimizer.SGD.0.forward",
    } <= set(run.steps()[1])
    if audit:
        first = run.session.coverage[0].audit
        assert first is not None
        assert first["dispatched"]["in_calls"] > 0


def test_functions_that_train_in_a_thread(config: DumpConfig) -> None:
    weight = torch.ones(2, requires_grad=True)
    with Run(config) as run:
        _in_thread(lambda: torch.exp(weight).sum().backward())
    assert "Torch.exp.0.backward" in run.steps()[0]


def test_the_thread_that_trains_wins_over_one_that_only_asks_the_model(config: DumpConfig) -> None:
    model = torch.nn.Linear(2, 1)

    def ask() -> None:
        with torch.no_grad():
            model(torch.ones(1, 2))

    with Run(config) as run:
        ask()
        _in_thread(_train, 2)
        ask()
    assert ["Optimizer.SGD.0.forward" in names for names in run.steps()] == [True, True]


def test_a_loader_thread_is_left_alone_and_models_called_elsewhere_are_counted(config: DumpConfig) -> None:
    model = torch.nn.Linear(2, 1)
    with Run(config) as run:
        model(torch.ones(1, 2))
        _in_thread(lambda: torch.nn.Dropout()(torch.zeros(3)))
        _in_thread(lambda: [model(torch.zeros(1, 2)) for _ in range(3)])
    assert run.steps() == [["Torch.ones.0.forward", "Functional.linear.0.forward"]]
    assert run.session.coverage[-1].elsewhere == 3
