"""`TrainerMon`: a monitored run driven from inside its script, under the names that msprobe's users know."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import torch

from ..environment import device
from ..format.errors import AccError, ConfigError, told_in_one_line
from ..format.monitor_files import ACTV, ACTV_GRAD, EXP_AVG, EXP_AVG_SQ, GRAD_REDUCED, GRAD_UNREDUCED, PARAM_ORIGIN
from ..format.paths import from_home
from . import discovery
from .alerts import Place
from .config import MonitorConfig, load_config, read_config
from .following import follow
from .output import write_json
from .run import Numbers, Run, is_dynamic, say
from .scope import Groups

_OPTIMIZER_SECOND = ("grad_acc_steps", "optimizer", "dp_group", "tp_group", "start_iteration")
_OPTIMIZER_FIRST = ("optimizer", "grad_acc_steps", "tp_group", "dp_group", "start_iteration")


class TrainerMon:
    """Watch a training run from inside its script.

        monitor = TrainerMon("monitor_config.json", params_have_main_grad=False)
        monitor.set_monitor(model, grad_acc_steps=4, optimizer=optimizer)

    >>> from pathlib import Path
    >>> config = {"wg_distribution": True, "ops": ["norm"], "targets": {"": {}}}
    >>> written = Path("monitor_config.json").write_bytes(msgspec.json.encode(config))
    >>> model = torch.nn.Linear(2, 1)
    >>> optimizer = torch.optim.SGD(model.parameters())
    >>> monitor = TrainerMon("monitor_config.json", params_have_main_grad=False)
    >>> monitor.set_monitor(model, grad_acc_steps=1, optimizer=optimizer)
    >>> model(torch.ones(1, 2)).sum().backward()
    >>> optimizer.step()
    >>> monitor.close()
    >>> sorted(path.name for path in Path("monitor_output").rglob("*.csv"))
    ['grad_reduced_0-0.csv', 'grad_unreduced_0-0.csv']

    `process_group` is that of the pipeline; with `params_have_main_grad` a gradient is taken from `main_grad` where a
    parameter has one (Megatron), else from `grad`.  Raises ConfigError.
    """

    @told_in_one_line
    def __init__(
        self,
        config_file_path: str | os.PathLike[str],
        process_group: Any = None,
        params_have_main_grad: bool = True,
        opt_ty: str | None = None,
    ) -> None:
        discovery.give_way()
        self.config_file_path = os.fspath(from_home(config_file_path))
        self.config = load_config(self.config_file_path)
        for sentence in self.config.ignored:
            say(f"note: {sentence}")
        self._place = _place(process_group)
        self._prefers_main_grad = params_have_main_grad
        self._run: Run | None = None
        self._models: Sequence[torch.nn.Module] = ()
        self._groups = Groups()
        self._optimizer: Any = None
        self._unfollow: Callable[[], None] = _nothing
        self._read_at: float | None = None
        self._told_adhoc = False

    @told_in_one_line
    def set_monitor(
        self,
        model: torch.nn.Module | Sequence[torch.nn.Module],
        *placed: Any,
        grad_acc_steps: int = 1,
        optimizer: Any = None,
        dp_group: Any = None,
        tp_group: Any = None,
        start_iteration: int = 0,
    ) -> None:
        """Watch `model`, or the chunks of one, from the next step on.

        `grad_acc_steps` micro batches make a step; `start_iteration` is the number of the first.  By position the
        order is either `grad_acc_steps, optimizer, dp_group, tp_group, start_iteration` or, where the optimizer comes
        first as in msprobe's newer versions, `optimizer, grad_acc_steps, tp_group, dp_group, start_iteration`.
        Raises ConfigError for arguments that cannot be, OutputError where the folder cannot be made.
        """
        order = _OPTIMIZER_FIRST if placed and hasattr(placed[0], "step") else _OPTIMIZER_SECOND
        if len(placed) > len(order):
            raise ConfigError(f"set_monitor: expected at most six arguments by position, found {1 + len(placed)}.")
        by_place = dict(zip(order, placed, strict=False))
        grad_acc_steps = by_place.get("grad_acc_steps", grad_acc_steps)
        optimizer = by_place.get("optimizer", optimizer)
        dp_group, tp_group = by_place.get("dp_group", dp_group), by_place.get("tp_group", tp_group)
        start_iteration = by_place.get("start_iteration", start_iteration)
        if not callable(getattr(optimizer, "step", None)):
            raise ConfigError("set_monitor: expected an optimizer, found " + _kind(optimizer) + ".")
        _check_number("grad_acc_steps", grad_acc_steps, least=1)
        _check_number("start_iteration", start_iteration, least=0)
        models = [model] if isinstance(model, torch.nn.Module) else list(model)
        if not models or not all(isinstance(each, torch.nn.Module) for each in models):
            raise ConfigError("set_monitor: expected a torch.nn.Module or a list of them, found " + _kind(model) + ".")
        self.close()
        self._models, self._groups, self._optimizer = models, Groups(dp_group, tp_group), optimizer
        self._run = self._make_run(self.config, grad_acc_steps, start_iteration)
        if not is_dynamic():
            self._run.watch(models, self._groups)
        self._unfollow = follow(optimizer, self._before, self._after)

    def generate_wgrad_metrics(self, *_: Any) -> tuple[Numbers, Numbers]:
        """(reduced, unreduced) statistics of the gradients of the present step, by tag and op.

        Before the present step has any, those of the last one with "format": "api", else empty.
        """
        reduced, unreduced = self._numbers(GRAD_REDUCED, GRAD_UNREDUCED)
        return reduced, unreduced

    def generate_xy_metrics(self) -> tuple[Numbers, Numbers]:
        """(activations, their gradients), likewise."""
        activations, gradients = self._numbers(ACTV, ACTV_GRAD)
        return activations, gradients

    def close(self) -> None:
        """Stop watching: every hook is off, the files are closed."""
        self._unfollow()
        self._unfollow = _nothing
        if self._run is not None:
            self._run.close()

    # ---- what msprobe's older users call

    def monitor_gnorm_with_ad(
        self,
        model: torch.nn.Module | Sequence[torch.nn.Module],
        grad_acc_steps: int = 1,
        optimizer: Any = None,
        tp_group: Any = None,
        dp_group: Any = None,
        start_iteration: int = 0,
    ) -> None:
        """`set_monitor` under its old name."""
        chosen = self._optimizer if optimizer is None else optimizer
        self.set_monitor(
            model,
            grad_acc_steps=grad_acc_steps,
            optimizer=chosen,
            dp_group=dp_group,
            tp_group=tp_group,
            start_iteration=start_iteration,
        )

    def set_wrapped_optimizer(self, optimizer: Any) -> None:
        """The optimizer for `monitor_gnorm_with_ad`."""
        self._optimizer = optimizer

    def generate_param_metrics(self, *_: Any) -> Numbers:
        """Statistics of the weights of the present step, likewise; what msprobe hands its own in is not needed."""
        (weights,) = self._numbers(PARAM_ORIGIN)
        return weights

    def generate_mv_metrics(self, *_: Any) -> tuple[Numbers, Numbers]:
        """(first, second moments), likewise."""
        first, second = self._numbers(EXP_AVG, EXP_AVG_SQ)
        return first, second

    def reload_xy(self, xy_distribution: bool = False) -> None:
        """Watch activations and their gradients from the next step on, or no more, in a folder of its own."""
        self._restart({"xy_distribution": bool(xy_distribution)}, source="xy_distribution")

    def adhoc_check(self, *_: Any, **__: Any) -> None:
        """msprobe's way to measure a tensor of one's own; here `PrecisionDebugger.save` does."""
        if not self._told_adhoc:
            self._told_adhoc = True
            say("note: adhoc_check measures nothing here: PrecisionDebugger.save records a tensor of one's own.")

    # ---- steps

    def _make_run(self, config: MonitorConfig, grad_acc_steps: int | None, first_step: int) -> Run:
        run = Run(
            config,
            grad_acc_steps=grad_acc_steps,
            prefers_main_grad=self._prefers_main_grad,
            place=self._place,
            first_step=first_step,
            on_skipped=self._finished,
        )
        run.optimizers = [self._optimizer]
        return run

    def _before(self) -> None:
        if self._run is not None:
            self._run.before_optimizer(self._optimizer)

    def _after(self) -> None:
        if self._run is not None:
            self._run.after_optimizer(self._optimizer)
            self._finished(self._optimizer)

    def _finished(self, _: Any) -> None:
        run = self._run
        if run is None:
            return
        was_attached = run.is_attached
        run.finish_step()
        if is_dynamic():
            if was_attached and not run.is_attached:
                self._switch_off()
            self._look_for_changes(run)

    # ---- switching while the run goes on

    def _look_for_changes(self, run: Run) -> None:
        """Start anew, in a folder of its own, where the file has changed and says "dynamic_on": true."""
        path = Path(self.config_file_path)
        try:
            changed_at = path.stat().st_mtime
            if changed_at == self._read_at:
                return
            self._read_at = changed_at
            config = load_config(path)
        except (AccError, OSError) as error:
            say(f"note: {error} The settings stay as they were.")
            return
        if not config.dynamic_on:
            return
        run.close()
        say(f"settings read anew: step {run.step} is the first under them")
        fresh = self._make_run(msgspec.structs.replace(config, start_step=run.step), run.grad_acc_steps, run.step)
        try:
            fresh.watch(self._models, self._groups)
        except AccError as error:
            say(f"error: {error} Nothing is recorded.")
        self._run, self.config = fresh, config

    def _switch_off(self) -> None:
        """All of `collect_times` are done: say so in the file, so that the user can switch on again."""
        path = Path(self.config_file_path)
        try:
            content = load_config(path).plain
            if content.get("dynamic_on"):
                write_json(path, {**content, "dynamic_on": False}, indent=2)
            self._read_at = path.stat().st_mtime
        except (AccError, OSError) as error:
            say(f"note: {error} 'dynamic_on' was not switched off.")

    def _numbers(self, *kinds: Any) -> list[Numbers]:
        return [{} for _ in kinds] if self._run is None else self._run.numbers(*kinds)

    @property
    def ops(self) -> list[str]:
        return list(self.config.ops)

    @ops.setter
    def ops(self, value: Sequence[str]) -> None:
        """Other statistics from the next step on, in a folder of their own.  Raises ConfigError."""
        self._restart({"ops": list(value)}, source="ops")

    def _restart(self, settings: dict[str, Any], *, source: str) -> None:
        self.config = read_config({**self.config.plain, **settings}, source=source)
        run = self._run
        if run is not None and run.is_attached:
            run.close()
            self._run = self._make_run(self.config, run.grad_acc_steps, run.step)
            self._run.watch(self._models, self._groups)


def _nothing() -> None:
    """No optimizer is followed."""


def _place(process_group: Any) -> Place:
    rank = device.current_rank() or 0
    distributed = torch.distributed
    if not (distributed.is_available() and distributed.is_initialized()):
        return Place(rank=rank)
    group: Any = process_group if isinstance(process_group, distributed.ProcessGroup) else distributed.group.WORLD
    mates = tuple(distributed.get_process_group_ranks(group))
    return Place(rank=rank, pp_stage=distributed.get_group_rank(group, rank), group_mates=mates)


def _check_number(name: str, value: object, *, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigError(f"set_monitor: {name}: expected a whole number of at least {least}, found {value!r}.")


def _kind(value: object) -> str:
    return "None" if value is None else f"a {type(value).__name__}"
