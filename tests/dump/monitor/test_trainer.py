"""TrainerMon in the loops that people write: what is recorded is what torch says, and the run is what it was."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from dump.format.errors import ConfigError, OutputError
from dump.monitor import trainer
from dump.monitor.output import find_runs
from dump.monitor.trainer import TrainerMon

ALL = {
    "wg_distribution": True,
    "xy_distribution": True,
    "mv_distribution": True,
    "param_distribution": True,
    "mg_direction": True,
    "ur_distribution": True,
    "ops": ["norm", "min", "max", "mean", "zeros", "nans", "sketch"],
}
Expected = dict[str, list[float]]


def _model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(inplace=True), nn.Linear(8, 3))


def _train(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    steps: int = 3,
    batches: int = 1,
    scaler: Any = None,
    before: Callable[[int], object] = lambda step: None,
    call: Callable[..., Any] | None = None,
) -> Expected:
    """Train; the norms of the weights' gradients as each optimizer step read them."""
    data = torch.Generator().manual_seed(1)
    seen: Expected = {name: [] for name, _ in model.named_parameters()}
    for step in range(steps):
        optimizer.zero_grad()
        for _ in range(batches):
            loss = (call or model)(torch.randn(4, 6, generator=data)).square().mean() / batches
            (loss if scaler is None else scaler.scale(loss)).backward()
        if scaler is not None:
            scaler.unscale_(optimizer)
        before(step)
        for name, parameter in model.named_parameters():
            if parameter.grad is not None:
                seen[name].append(float(parameter.grad.double().norm()))
        if scaler is None:
            optimizer.step()
        else:
            scaler.step(optimizer)
            scaler.update()
    return seen


OPTIMIZERS: dict[str, Callable[[nn.Sequential], torch.optim.Optimizer]] = {
    "plain": lambda model: torch.optim.AdamW(model.parameters(), 1e-2, foreach=False),
    "foreach": lambda model: torch.optim.AdamW(model.parameters(), 1e-2, foreach=True),
    "fused": lambda model: torch.optim.AdamW(model.parameters(), 1e-2, fused=True),
    "sgd": lambda model: torch.optim.SGD(model.parameters(), 1e-2, momentum=0.9),
    "groups": lambda model: torch.optim.Adam(
        [{"params": model[0].parameters(), "lr": 1e-3}, {"params": model[2].parameters(), "betas": (0.8, 0.9)}]
    ),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training_is_equal_to_the_bit(name: str, monitor: Any, output: Any) -> None:
    bare, watched = _model(), _model()
    _train(bare, OPTIMIZERS[name](bare))
    optimizer = OPTIMIZERS[name](watched)
    monitor(watched, optimizer, **ALL)
    expected = _train(watched, optimizer)
    for one, other in zip(bare.parameters(), watched.parameters(), strict=True):
        assert torch.equal(one, other)
    for parameter, norms in expected.items():
        assert output.column("grad_reduced", parameter) == pytest.approx(norms, rel=1e-6)
        assert output.column("grad_unreduced", parameter) == pytest.approx(norms, rel=1e-6)
    updated, origin = output.column("param_updated", "0.weight"), output.column("param_origin", "0.weight")
    assert updated[:-1] == origin[1:]
    assert len(output.rows("exp_avg")) == (0 if name == "sgd" else 8)
    assert output.rows("actv_grad")


class _Dispatched(TorchDispatchMode):
    """The user's own mode: the operators that run under it."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(str(func))
        return func(*args, **(kwargs or {}))


def test_a_dispatch_mode_of_the_users_sees_nothing_of_it(monitor: Any, output: Any) -> None:
    seen = []
    for watched in (False, True):
        model = _model()
        optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
        if watched:
            monitor(model, optimizer, **ALL)
        with _Dispatched() as mode:
            _train(model, optimizer, steps=2)
        seen.append(mode.names)
    assert seen[0] == seen[1]


def test_micro_batches(monitor: Any, output: Any) -> None:
    model = _model()
    optimizer = OPTIMIZERS["plain"](model)
    monitor(model, optimizer, 3, wg_distribution=True, xy_distribution=True, monitor_mbs_grad=True)
    expected = _train(model, optimizer, batches=3)
    rows = [row for row in output.rows("grad_unreduced") if row["name"] == "0.weight"]
    assert [(row["step"], row["micro_step"]) for row in rows] == [(str(s), str(m)) for s in range(3) for m in range(3)]
    assert [float(row["norm"]) for row in rows][2::3] == pytest.approx(expected["0.weight"], rel=1e-6)
    micro = {row["micro_step"] for row in output.rows("actv")}
    assert micro == {row["micro_step"] for row in output.rows("actv_grad")} == {"0", "1", "2"}


def test_only_the_last_micro_batch_is_measured_unless_all_are_asked_for(monitor: Any, output: Any) -> None:
    model = _model()
    optimizer = OPTIMIZERS["plain"](model)
    monitor(model, optimizer, 3, wg_distribution=True)
    expected = _train(model, optimizer, batches=3)
    assert output.column("grad_unreduced", "2.bias") == pytest.approx(expected["2.bias"], rel=1e-6)


def test_clipping_lies_between_unreduced_and_reduced(monitor: Any, output: Any) -> None:
    model = _model()
    optimizer = OPTIMIZERS["plain"](model)
    monitor(model, optimizer, wg_distribution=True)
    expected = _train(model, optimizer, before=lambda _: nn.utils.clip_grad_norm_(model.parameters(), 1e-3))
    reduced, unreduced = output.column("grad_reduced", "0.weight"), output.column("grad_unreduced", "0.weight")
    assert reduced == pytest.approx(expected["0.weight"], rel=1e-6)
    assert min(one / other for one, other in zip(unreduced, reduced, strict=True)) > 2


@pytest.mark.parametrize("name", ["plain", "fused"])
def test_loss_scaling_is_taken_out(name: str, monitor: Any, output: Any) -> None:
    model = _model()
    optimizer = OPTIMIZERS[name](model)
    monitor(model, optimizer, wg_distribution=True, xy_distribution=True)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    expected = _train(model, optimizer, scaler=scaler)
    bare = _model()
    plain = OPTIMIZERS[name](bare)
    monitor(bare, plain, wg_distribution=True, xy_distribution=True)
    _train(bare, plain)
    runs = [run.path for run in find_runs(output.root)]
    assert output.column("grad_unreduced", "0.weight") == pytest.approx(expected["0.weight"], rel=1e-5)
    assert (runs[0] / "actv_grad_0-99.csv").read_text().splitlines()[1].split(",")[:4] == ["0", "2.output", "0", "0"]
    for kind in ("grad_unreduced", "grad_reduced", "actv_grad"):
        scaled, unscaled = ((run / f"{kind}_0-99.csv").read_text().splitlines()[1] for run in runs)
        start = 4 if kind == "actv_grad" else 3
        assert float(scaled.split(",")[start]) == pytest.approx(float(unscaled.split(",")[start]), rel=1e-5)


def test_a_fused_optimizer_reads_scaled_gradients_and_they_are_shown_without(monitor: Any, output: Any) -> None:
    model = _model()
    optimizer = OPTIMIZERS["fused"](model)
    monitor(model, optimizer, wg_distribution=True)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    scaler.scale(model(torch.ones(4, 6)).square().mean()).backward()
    norm = float(model[0].weight.grad.norm()) / 1024
    scaler.step(optimizer)
    assert output.column("grad_reduced", "0.weight") == pytest.approx([norm], rel=1e-6)


def test_a_skipped_step_is_a_step(monitor: Any, output: Any) -> None:
    model = _model()
    optimizer = OPTIMIZERS["plain"](model)
    monitor(model, optimizer, wg_distribution=True, param_distribution=True, ops=["norm", "nans"])

    def poison(parameter: torch.Tensor) -> None:
        assert parameter.grad is not None
        if len(output.rows("grad_reduced")) == 4:  # the second step
            parameter.grad[0, 0] = torch.inf

    scaler = torch.amp.GradScaler("cpu", init_scale=2.0)
    handle = model[0].weight.register_post_accumulate_grad_hook(poison)  # type: ignore[no-untyped-call]
    _train(model, optimizer, scaler=scaler)
    handle.remove()
    assert [row["step"] for row in output.rows("grad_reduced") if row["name"] == "0.weight"] == ["0", "1", "2"]
    assert output.column("grad_reduced", "0.weight")[1] == float("inf")
    assert [row["step"] for row in output.rows("param_updated") if row["name"] == "0.weight"] == ["0", "2"]


def test_a_compiled_model_is_read_as_one_piece(monitor: Any, output: Any) -> None:
    model = _model()
    optimizer = OPTIMIZERS["plain"](model)
    monitor(model, optimizer, **ALL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, while it compiles
        compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
        expected = _train(model, optimizer, call=compiled)
    assert output.column("grad_unreduced", "0.weight") == pytest.approx(expected["0.weight"], rel=1e-6)
    bare = _model()
    _train(bare, OPTIMIZERS["plain"](bare))
    assert torch.equal(bare[0].weight, model[0].weight)


def test_when_it_begins_how_often_and_how_long(monitor: Any, output: Any) -> None:
    model = _model()
    optimizer = OPTIMIZERS["plain"](model)
    monitor(model, optimizer, wg_distribution=True, start_step=2, step_interval=3, collect_times=2)
    _train(model, optimizer, steps=12)
    assert [row["step"] for row in output.rows("grad_reduced") if row["name"] == "2.bias"] == ["2", "5"]
    assert not model[0].weight._post_accumulate_grad_hooks  # type: ignore[attr-defined]


def test_the_first_iteration_can_be_a_later_one(config_file: Any, output: Any) -> None:
    model = _model()
    optimizer = OPTIMIZERS["plain"](model)
    mon = TrainerMon(config_file(wg_distribution=True, step_count_per_record=1))
    mon.set_monitor(model, optimizer, 1, start_iteration=40)  # in the order of msprobe's newer versions
    _train(model, optimizer, steps=2)
    mon.close()
    assert sorted(path.name for path in output.folder.glob("grad_reduced_*")) == [
        "grad_reduced_40-40.csv",
        "grad_reduced_41-41.csv",
    ]


def test_ranks_that_are_not_wanted_write_nothing(monitor: Any, output: Any) -> None:
    model = _model()
    optimizer = OPTIMIZERS["plain"](model)
    monitor(model, optimizer, wg_distribution=True, module_ranks=[3])
    _train(model, optimizer)
    assert find_runs(output.root) == []


def test_numbers_are_handed_out(monitor: Any, output: Any) -> None:
    model = _model()
    optimizer = OPTIMIZERS["plain"](model)
    mon = monitor(model, optimizer, wg_distribution=True, xy_distribution=True, format="api", ops=["norm", "max"])
    assert mon.generate_wgrad_metrics() == ({}, {})
    expected = _train(model, optimizer)
    reduced, unreduced = mon.generate_wgrad_metrics()
    assert reduced["0:0.weight/rank0/post_grad"]["norm"] == pytest.approx(expected["0.weight"][-1], rel=1e-6)
    assert set(unreduced) == {f"0:{name}/rank0/pre_grad" for name in expected}
    model(torch.ones(4, 6)).sum().backward()  # in the middle of a step: what there is of it
    activations, gradients = mon.generate_xy_metrics()
    assert activations["0:0.input:0/rank0/actv"]["max"] == 1.0
    assert gradients["0:.output:0/rank0/actv_grad"]["max"] == 1.0
    assert not output.root.exists()


def test_megatrons_main_grad(config_file: Any, output: Any) -> None:
    model = _model()
    optimizer = OPTIMIZERS["plain"](model)
    for parameter in model.parameters():
        parameter.main_grad = torch.full_like(parameter, 2.0)  # type: ignore[attr-defined]
    mon = TrainerMon(config_file(wg_distribution=True, ops=["max"]))
    mon.set_monitor(model, 1, optimizer)
    _train(model, optimizer, steps=1)
    mon.close()
    assert output.column("grad_reduced", "0.weight", "max") == [2.0]
    assert output.column("grad_unreduced", "0.weight", "max") == [2.0]


def test_an_optimizer_that_is_no_torch_optimizer(monitor: Any, output: Any) -> None:
    class Wrapper:
        def __init__(self, optimizer: torch.optim.Optimizer) -> None:
            self.optimizer = optimizer

        def step(self) -> None:
            self.optimizer.step()

    model = _model()
    wrapped = Wrapper(OPTIMIZERS["plain"](model))
    mon = monitor(model, wrapped, wg_distribution=True, mv_distribution=True)
    for _ in range(2):
        model(torch.ones(4, 6)).sum().backward()
        wrapped.step()
    mon.close()
    assert len(output.rows("grad_reduced")) == 8
    assert len(output.rows("exp_avg")) == 4
    assert "step" not in vars(wrapped)


def test_an_earlier_run_goes_on(config_file: Any, output: Any) -> None:
    for first in (0, 2):
        span = ["Jan01_00-00-00", "Dec31_23-59-59"] if first else []
        model = _model()
        optimizer = OPTIMIZERS["plain"](model)
        mon = TrainerMon(config_file(wg_distribution=True, append_output=span))
        mon.set_monitor(model, 1, optimizer, start_iteration=first)
        _train(model, optimizer, steps=2)
        mon.close()
    assert len(find_runs(output.root)) == 1
    assert [row["step"] for row in output.rows("grad_reduced") if row["name"] == "0.bias"] == ["0", "1", "2", "3"]


def test_structure_is_written_and_the_script_ends(monitor: Any, output: Any, capsys: Any) -> None:
    model = _model()
    optimizer = OPTIMIZERS["plain"](model)
    monitor(model, optimizer, print_struct=True)
    with pytest.raises(SystemExit) as stop:
        _train(model, optimizer)
    assert stop.value.code == 0
    found = json.loads((output.root / "module_struct" / "rank0" / "module_struct.json").read_text())
    assert found["0:0"]["input"] == {"config": "tuple[1]", "0": "size=(4, 6), dtype=torch.float32"}
    assert found["0:2"]["output"] == {"config": "tensor", "tensor": "size=(4, 3), dtype=torch.float32"}
    assert "as print_struct asks for" in capsys.readouterr().err


def test_where_modules_are_called(monitor: Any, output: Any) -> None:
    model = _model()
    optimizer = OPTIMIZERS["plain"](model)
    monitor(model, optimizer, stack_info=True, wg_distribution=True)
    _train(model, optimizer)
    text = (output.folder / "stack_info.csv").read_text()
    assert text.startswith("module_name,stack_info\n0:0,")
    assert "test_trainer.py" in text


def test_alarms(monitor: Any, output: Any, capsys: Any) -> None:
    model = _model()
    optimizer = OPTIMIZERS["plain"](model)
    alert = {"rules": [{"rule_name": "AnomalyNan"}], "dump": True}
    monitor(model, optimizer, wg_distribution=True, alert=alert)

    def poison(step: int) -> None:
        if step == 2:
            assert model[2].bias.grad is not None
            model[2].bias.grad.fill_(torch.nan)

    _train(model, optimizer, before=poison)
    found = json.loads((output.root / "anomaly_detected" / "rank0" / "anomaly.json").read_text())
    assert {(alarm["tag_name"], alarm["step"]) for alarm in found.values()} == {("0:2.bias/rank0/post_grad", 2)}
    assert "Rule AnomalyNan reports anomaly signal" in capsys.readouterr().err


def test_switching_on_and_off_while_it_runs(
    config_file: Any, output: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setenv("DYNAMIC_MONITOR", "True")
    path = config_file(wg_distribution=True, dynamic_on=False)
    model = _model()
    optimizer = OPTIMIZERS["plain"](model)
    mon = TrainerMon(path)
    mon.set_monitor(model, 1, optimizer)

    def change(step: int) -> None:
        if step == 1:
            path.write_text("{not json")
        elif step == 2:
            path.write_text(json.dumps({"wg_distribution": True, "dynamic_on": True, "collect_times": 2}))

    _train(model, optimizer, steps=8, before=change)
    mon.close()
    assert sorted({row["step"] for row in output.rows("grad_reduced")}) == ["3", "4"]
    assert json.loads(path.read_text())["dynamic_on"] is False
    assert "The settings stay as they were." in capsys.readouterr().err


def test_what_fails_on_our_side_never_reaches_the_training(monitor: Any, output: Any, capsys: Any) -> None:
    model = _model()
    optimizer = OPTIMIZERS["plain"](model)
    monitor(model, optimizer, wg_distribution=True, step_count_per_record=1)

    def remove(step: int) -> None:
        if step == 1:
            for path in output.folder.iterdir():
                path.unlink()
            output.folder.rmdir()

    _train(model, optimizer, steps=4, before=remove)
    error = capsys.readouterr().err
    assert error.count("Nothing more is recorded.") == 1
    assert "cannot be written (No such file or directory)" in error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": _model(), "grad_acc_steps": 1}, "expected an optimizer, found None"),
        ({"model": "resnet", "grad_acc_steps": 1, "optimizer": torch.optim.SGD([torch.ones(1)])}, "found a str"),
        (
            {"model": _model(), "grad_acc_steps": 0, "optimizer": torch.optim.SGD([torch.ones(1)])},
            "at least 1, found 0",
        ),
    ],
)
def test_wrong_arguments_are_one_line(config_file: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TrainerMon(config_file()).set_monitor(**arguments)


def test_a_place_that_cannot_be_written_is_one_line(
    config_file: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MONITOR_OUTPUT_DIR", str(tmp_path / "file"))
    model = _model()
    with pytest.raises(OutputError, match="cannot be made"):
        TrainerMon(config_file(wg_distribution=True)).set_monitor(model, 1, OPTIMIZERS["plain"](model))


@pytest.mark.parametrize("order", ["optimizer first", "optimizer second", "by name"])
def test_arguments_in_the_order_of_each_version(config_file: Any, order: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = _model()
    optimizer = OPTIMIZERS["plain"](model)
    seen: dict[str, object] = {}

    class Seen:
        def __init__(self, dp: object = None, tp: object = None) -> None:
            seen.update(dp=dp, tp=tp)

    monkeypatch.setattr(trainer, "Groups", Seen)
    mon = TrainerMon(config_file())
    monkeypatch.setattr(trainer, "is_dynamic", lambda: True)  # nothing is watched: the groups are no groups
    if order == "optimizer first":
        mon.set_monitor(model, optimizer, 4, "tp", "dp", 7)
    elif order == "optimizer second":
        mon.set_monitor(model, 4, optimizer, "dp", "tp", 7)
    else:
        mon.set_monitor(model, start_iteration=7, tp_group="tp", dp_group="dp", optimizer=optimizer, grad_acc_steps=4)
    assert seen == {"dp": "dp", "tp": "tp"}
    assert mon._run is not None
    assert (mon._run.grad_acc_steps, mon._run.step) == (4, 7)
    with pytest.raises(ConfigError, match="at most six"):
        mon.set_monitor(model, optimizer, 1, None, None, 0, "more")


def test_what_msprobes_callers_ask_of_it_besides(monitor: Any, capsys: pytest.CaptureFixture[str]) -> None:
    model = _model()
    optimizer = OPTIMIZERS["plain"](model)
    mon = monitor(
        model,
        optimizer,
        wg_distribution=True,
        param_distribution=True,
        mv_distribution=True,
        format="api",
        ops=["norm"],
    )
    _train(model, optimizer, steps=1)
    assert set(mon.generate_param_metrics(None)) == {
        f"0:{name}/rank0/param_origin" for name in dict(model.named_parameters())
    }
    assert mon.generate_wgrad_metrics({}) == mon.generate_wgrad_metrics()
    assert [len(numbers) for numbers in mon.generate_mv_metrics(None)] == [0, 0]  # SGD keeps no second moment
    assert mon.generate_xy_metrics() == ({}, {})
    mon.reload_xy(True)
    _train(model, optimizer, steps=1)
    assert mon.generate_xy_metrics()[0] != {}
    for _ in range(2):
        mon.adhoc_check(torch.ones(1), "module", "tensor", [], ["norm"])
    assert capsys.readouterr().err.count("adhoc_check") == 1
