"""`TrainerMonitorV2`: msprobe's second monitor, by its settings and into its files, over the collectors of the first.

    {"output_dir": "./out", "monitors": {"module": {"targets": ["fc"]}, "weight_grad": {"enabled": true}}}

Each monitor is a run of its own: it has its own statistics and files.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ..config import read_json
from ..config_keys import kind_of, quoted, wrong
from ..environment import device
from ..format.errors import ConfigError, OutputError, told_in_one_line
from ..format.paths import from_here, from_home
from . import discovery
from .config import Collectives, MonitorConfig
from .following import follow
from .run import Run, say
from .writers.by_monitor import MonitorFiles

_FRAMEWORKS = ("pytorch", "pt", "torch")
_OPS = ("min", "max", "mean", "norm", "nans")
_WATCHED: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "module": lambda _: {"xy_distribution": True},
    "weight_grad": lambda own: {"wg_distribution": True, "monitor_mbs_grad": own.get("monitor_mbs_grad") is True},
    "optimizer": lambda own: {"mv_distribution": own.get("mv_distribution", True) is not False},
    "param": lambda own: {"param_distribution": own.get("param_distribution", True) is not False},
    "cc": lambda own: {"cc_distribution": _collectives(own)},
}
_NEED_OPTIMIZER = ("weight_grad", "optimizer", "param")


@dataclass(frozen=True, slots=True)
class WatchSettings:
    """The file: which monitors, at which steps and ranks, and where to."""

    output: Path
    monitors: Mapping[str, Mapping[str, Any]]
    ranks: tuple[int, ...] = ()
    start_step: int = 0
    step_interval: int = 1
    steps_per_file: int = 1
    collect_times: int = 100_000_000
    stop_step: int | None = None
    by_optimizer: bool | None = None


@dataclass(slots=True)
class _Watching:
    """What lasts from `start` to `stop`."""

    runs: dict[str, Run] = field(default_factory=dict)
    optimizer: Any = None
    unfollow: Callable[[], None] = lambda: None
    is_told: bool = False


class TrainerMonitorV2:
    """Watch modules, gradients, moments, weights and collectives of a run, each with statistics of its own.

        monitor = TrainerMonitorV2("monitor_v2_config.json", fr="pytorch")
        monitor.start(model=model, optimizer=optimizer)      # each step of the optimizer is a step
        ...
        monitor.stop()

    Without an optimizer, or with "patch_optimizer_step": false, `step()` ends a step.  Raises ConfigError.
    """

    @told_in_one_line
    def __init__(self, config_path: str | os.PathLike[str], fr: str | None = None) -> None:
        discovery.give_way()
        path = from_home(config_path)
        self.config: dict[str, Any] = _read(path, fr)
        self.rank = device.current_rank() or 0
        self._settings = _settings(self.config, str(path))
        self._watching: _Watching | None = None

    @told_in_one_line
    def start(self, model: Any = None, optimizer: Any = None, **context: Any) -> None:
        """Watch `model`, a module or a list of its chunks, from here on; while watching, nothing.

        `grad_acc_steps` or `micro_batch_number` say how many micro batches make a step.  Raises ConfigError where a
        monitor lacks its model or optimizer, OutputError where the folder cannot be made.
        """
        settings = self._settings
        if self._watching is not None or (settings.ranks and self.rank not in settings.ranks):
            return
        models = _models(model)
        for name in settings.monitors:
            if name in _NEED_OPTIMIZER and not callable(getattr(optimizer, "step", None)):
                raise ConfigError(f"start: the monitor '{name}' needs an optimizer, found {_kind(optimizer)}.")
        watching = self._watching = _Watching(optimizer=optimizer)
        folder = settings.output / f"rank_{self.rank}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{folder}: cannot be made ({error.strerror}).") from error
        for name, own in settings.monitors.items():
            run = self._run(name, own, models, context, folder, is_list=not isinstance(model, torch.nn.Module))
            if run is not None:
                run.optimizers = () if optimizer is None else (optimizer,)
                run.watch(models)
                watching.runs[name] = run
        if optimizer is not None:
            watching.unfollow = follow(optimizer, self._before, self._after)

    def step(self, from_optimizer: bool = False) -> None:
        """The step is over; where the optimizer's steps are counted, a call of the script's own says nothing."""
        watching = self._watching
        if watching is None:
            return
        if self._counts_optimizer and not from_optimizer:
            if not watching.is_told:
                watching.is_told = True
                say('note: step() is not counted, the optimizer\'s steps are. Set "patch_optimizer_step": false.')
            return
        stop = self._settings.stop_step
        for run in watching.runs.values():
            if watching.optimizer is None:
                run.before_optimizer(None)
            run.finish_step()
            if stop is not None and run.step >= stop:
                run.detach()

    def stop(self) -> None:
        """Stop watching: every hook is off."""
        watching, self._watching = self._watching, None
        if watching is not None:
            watching.unfollow()
            for run in watching.runs.values():
                run.close()

    @property
    def current_step(self) -> int:
        """The number of the step at hand."""
        runs = self._watching.runs.values() if self._watching is not None else ()
        return max((run.step for run in runs), default=0)

    @property
    def _counts_optimizer(self) -> bool:
        chosen = self._settings.by_optimizer
        return self._watching is not None and self._watching.optimizer is not None and chosen is not False

    def _run(
        self,
        name: str,
        own: Mapping[str, Any],
        models: Sequence[torch.nn.Module],
        context: Mapping[str, Any],
        folder: Path,
        *,
        is_list: bool,
    ) -> Run | None:
        """The run of one monitor; None where it watches nothing."""
        settings, ops = self._settings, _ops(own.get("ops"), name)
        targets = _targets(own.get("targets") or (), models, is_list=is_list) if name == "module" else ()
        if targets is None:
            say(f"note: no module's name holds one of the targets of '{name}'; it watches nothing.")
            return None
        batches = _micro_batches(own, context)
        config = MonitorConfig(
            targets=targets,
            ops=ops,
            eps=_eps(own.get("eps")),
            start_step=settings.start_step,
            step_interval=settings.step_interval,
            collect_times=settings.collect_times,
            **_WATCHED[name](own),
        )
        files = MonitorFiles(
            folder,
            name,
            ops,
            settings.start_step,
            settings.steps_per_file,
            batches if name == "weight_grad" else None,
            is_list,
        )
        skipped = None if self._counts_optimizer else _nothing
        return Run(config, grad_acc_steps=batches, writer=files, on_skipped=skipped)

    def _before(self) -> None:
        for name, run in self._runs():
            if name != "optimizer":
                run.before_optimizer(self._optimizer)

    def _after(self) -> None:
        for name, run in self._runs():
            if name == "optimizer":  # moments are those that the step left
                run.before_optimizer(self._optimizer)
            run.after_optimizer(self._optimizer)
        if self._counts_optimizer:
            self.step(from_optimizer=True)

    def _runs(self) -> Iterable[tuple[str, Run]]:
        return () if self._watching is None else self._watching.runs.items()

    @property
    def _optimizer(self) -> Any:
        return None if self._watching is None else self._watching.optimizer


def _nothing(_: Any) -> None:
    """A step that a GradScaler skipped ends when the script says so."""


def _read(path: Path, framework: str | None) -> dict[str, Any]:
    content = read_json(path)
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: expected a JSON object, found {kind_of(content)}.")
    chosen = str(framework or content.get("framework") or "pytorch").strip().lower()
    if chosen not in _FRAMEWORKS:
        raise ConfigError(f"{path}: 'framework': {quoted(chosen)} is not watched here; pytorch is.")
    form = str(content.get("format") or "csv").strip().lower()
    if form != "csv":
        raise ConfigError(f"{path}: 'format': expected csv, found {quoted(form)}.")
    return content


def _settings(content: Mapping[str, Any], source: str) -> WatchSettings:
    found = content.get("monitors") or {}
    if not isinstance(found, dict):
        raise wrong(f"{source}: 'monitors'", "an object", found)
    monitors = {}
    for name, own in found.items():
        if name not in _WATCHED:
            say(f"note: {source}: 'monitors': {quoted(str(name))} is unknown and has no effect.")
        elif not isinstance(own, dict):
            raise wrong(f"{source}: 'monitors': {quoted(name)}", "an object", own)
        elif own.get("enabled", name == "module"):
            monitors[name] = own
    chosen = content.get("patch_optimizer_step")

    def number(key: str, default: int, least: int) -> int:
        value = content.get(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise wrong(f"{source}: {quoted(key)}", f"a whole number of at least {least}", value)
        return value

    start = number("start_step", 0, 0)
    return WatchSettings(
        output=from_here(str(content.get("output_dir") or "./")),
        monitors=monitors,
        ranks=_ranks(content.get("rank"), source),
        start_step=start,
        step_interval=number("step_interval", 1, 1),
        steps_per_file=number("step_count_per_record", 1, 1),
        collect_times=number("collect_times", 100_000_000, 1),
        stop_step=None if content.get("stop_step") is None else number("stop_step", 0, start),
        by_optimizer=None if chosen is None else bool(chosen),
    )


def _ranks(value: Any, source: str) -> tuple[int, ...]:
    ranks = [] if value is None else value if isinstance(value, list) else [value]
    if not all(isinstance(rank, int) and not isinstance(rank, bool) and rank >= 0 for rank in ranks):
        raise wrong(f"{source}: 'rank'", "a rank or a list of ranks", value)
    return tuple(ranks)


def _ops(asked: Any, name: str) -> tuple[str, ...]:
    """Those that are known, in the order in which they are asked for; all where none is."""
    if not isinstance(asked, (list, tuple, str)):
        return _OPS
    wanted = [asked] if isinstance(asked, str) else list(asked)
    unknown = [str(op) for op in wanted if op not in _OPS]
    if unknown:
        say(f"note: '{name}': the statistics {', '.join(unknown)} are not known; known are {', '.join(_OPS)}.")
    return tuple(dict.fromkeys(op for op in wanted if op in _OPS)) or _OPS


def _eps(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0 else 1e-8


def _micro_batches(own: Mapping[str, Any], context: Mapping[str, Any]) -> int:
    for place in (own, context):
        for key in ("micro_batch_number", "grad_acc_steps"):
            value = place.get(key)
            if isinstance(value, int) and not isinstance(value, bool) and value > 0:
                return value
    return 1


def _collectives(own: Mapping[str, Any]) -> Collectives:
    inner = own.get("cc_distribution")
    asked = inner if isinstance(inner, dict) else own
    return Collectives(
        enable=True,
        cc_codeline=tuple(str(line) for line in asked.get("cc_codeline") or ()),
        cc_log_only=asked.get("cc_log_only") is True,
        cc_pre_hook=asked.get("cc_pre_hook") is True,
    )


def _models(model: Any) -> list[torch.nn.Module]:
    models = [model] if isinstance(model, torch.nn.Module) else list(model) if isinstance(model, (list, tuple)) else []
    if not models or not all(isinstance(each, torch.nn.Module) for each in models):
        raise ConfigError(f"start: expected a torch.nn.Module or a list of them, found {_kind(model)}.")
    return models


def _targets(keywords: Any, models: Sequence[torch.nn.Module], *, is_list: bool) -> tuple[str, ...] | None:
    """The names of the modules that hold one of the keywords, () for all; None where there is none."""
    wanted = [keywords] if isinstance(keywords, str) else [str(each) for each in keywords]
    if not wanted:
        return ()
    names = [(stage, name) for stage, model in enumerate(models) for name, _ in model.named_modules() if name]
    found = [
        f"{stage}:{name}"
        for stage, name in names
        if any(keyword in (f"{stage}:{name}" if is_list else name) for keyword in wanted)
    ]
    return tuple(found) or None


def _kind(value: object) -> str:
    return "None" if value is None else f"a {type(value).__name__}"
