"""A monitored run: collectors, step counting, alerts and the writer, wired together step by step."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import torch

from .. import native
from ..environment import device
from ..format.errors import AccError
from ..format.monitor_files import META_FILE, MONITOR_FORMAT_VERSION, Kind
from ..format.sketch import SKETCH_VERSION
from ..intercept.scripted_code import keep_own_code_uncompiled
from ..intercept.watch import recomputing
from ..older_torch import is_compiling
from ..torch_internals import without_modes, without_overrides
from .alerts import Alerts, Place, alarm_file
from .collectors import Collector, chosen
from .config import MonitorConfig
from .forward_hooks import ForwardHook
from .output import make_folder, output_root, write_json
from .rows import Label, Row, Value, columns
from .scaling import LossScale
from .scope import Groups, Scope, scope_of
from .structure import CallPlaces, ModuleStructure
from .sums import Measured, Measurer, settle
from .writers import WRITERS, Layout, Writer

T = TypeVar("T")
Numbers = dict[str, dict[str, Value]]


class Run:
    """Watches the models and optimizers that its owner names, while it is attached.

    The owner calls `before_optimizer` and `after_optimizer` around each optimizer step and `finish_step` when the
    training step is over; `on_skipped(optimizer)` is told, in place of that, where a GradScaler made one skip its step.
    Rows go to a folder of the run's own, or to `writer` alone.
    What fails on our side is said once on stderr and kept in `failure`: recording stops, the
    training goes on.
    """

    def __init__(
        self,
        config: MonitorConfig,
        *,
        grad_acc_steps: int | None = None,
        prefers_main_grad: bool = True,
        place: Place | None = None,
        first_step: int = 0,
        on_skipped: Callable[[Any], None] | None = None,
        writer: Writer | None = None,
        root: Path | None = None,
    ) -> None:
        self.config = config
        self.grad_acc_steps = grad_acc_steps
        self.prefers_main_grad = prefers_main_grad
        self.place = place or Place(rank=device.current_rank() or 0)
        self.step = first_step
        self.measurer = Measurer(config.ops, config.eps)
        self.scope = Scope((), (), ())
        self.optimizers: Collection[Any] = ()
        self.failure: str | None = None
        self.folder: Path | None = None
        self.latest: dict[Kind, Numbers] = {}
        self._collectors: list[Collector] = []
        self._shown: dict[Label, tuple[Measured, tuple[Value, ...]]] = {}
        self._scale = LossScale(lambda: self._optimizer_steps, self._skipped)
        self._optimizer_steps = 0
        self._steps_seen = 0
        self._times_left = config.collect_times
        self._batches: list[int] = []
        self._batch_handles: list[Any] = []
        self._structure: ModuleStructure | None = None
        self._call_places: CallPlaces | None = None
        self._writer = writer
        self._root = output_root() if root is None else root
        self._alerts: Alerts | None = None
        self._on_skipped = on_skipped or self._stepped_over

    # ---- on and off

    @property
    def is_attached(self) -> bool:
        return bool(self._collectors) or self._structure is not None or self._call_places is not None

    @property
    def wants_this_rank(self) -> bool:
        return not self.config.module_ranks or self.place.rank in self.config.module_ranks

    def watch(self, models: Sequence[torch.nn.Module], groups: Groups | None = None) -> None:
        """Hang hooks on `models`, in place of those watched before.

        Raises OutputError where the folder cannot be made, ConfigError where the format lacks its package.
        """
        self.detach()
        if self.failure is not None or not self.wants_this_rank or not self._times_left:
            return
        self.scope = scope_of(models, self.config, groups)
        for target in self.scope.unmatched:
            say(f"note: the target '{target}' names nothing in the model")
        if self.config.print_struct:
            self._structure = ModuleStructure()
            self._structure.attach(self.scope.modules, self.guard)
            return
        self._open()
        if self.config.stack_info:
            self._call_places = CallPlaces()
            self._call_places.attach(scope_of(models, _all_modules(self.config)).modules)
        self._collectors = [collector(self) for collector in chosen(self.config)]
        for collector in self._collectors:
            collector.attach()
        native.share(torch.get_num_threads())
        keep_own_code_uncompiled()
        self._count_batches()
        self._scale.attach()

    def detach(self) -> None:
        """Take every hook off again."""
        for collector in self._collectors:
            collector.detach()
        self._collectors = []
        for handle in self._batch_handles:
            handle.remove()
        self._batch_handles = []
        self._scale.detach()
        for view in (self._structure, self._call_places):
            if view is not None:
                view.detach()
        self._structure = self._call_places = None
        self._shown.clear()

    def close(self) -> None:
        self.detach()
        if self._writer is not None:
            self.guard(self._writer.close)
            self._writer = None

    def _open(self) -> None:
        """The folder, the writer and the alerts; kept while models come and go."""
        if self._writer is not None:
            return
        config, root = self.config, self._root
        if config.format == "api":
            self._writer = WRITERS["api"](Layout(root, self.place.rank, config.ops))
        else:
            self.folder = make_folder(root, self.place.rank, append=config.append_output)
            layout = Layout(
                self.folder, self.place.rank, config.ops, config.ndigits, steps_per_file=config.step_count_per_record
            )
            self._writer = WRITERS[config.format](layout)
            write_json(self.folder / META_FILE, self._meta())
        alarms = alarm_file(root, self.place.rank) if config.alert.rules and config.alert.dump else None
        self._alerts = Alerts(config.alert, self.place, config.ops, alarms)

    def _meta(self) -> dict[str, object]:
        config = self.config
        first = next((watched.parameter for watched in self.scope.parameters), None)
        kind = "cpu" if first is None else first.device.type
        return {
            "format_version": MONITOR_FORMAT_VERSION,
            "rank": self.place.rank,
            "world_size": device.world_size(),
            "pp_stage": self.place.pp_stage,
            "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "format": config.format,
            "ops": list(config.ops),
            "kinds": list(dict.fromkeys(kind.name for found in chosen(config) for kind in found.kinds)),
            "eps": config.eps,
            "sketch": SKETCH_VERSION,
            "torch_version": torch.__version__,
            "device": kind,
            "device_name": device.device_name(kind),
            "config": config.plain,
        }

    # ---- what collectors ask

    @property
    def recording(self) -> bool:
        return self.failure is None and bool(self._collectors) and self._is_wanted(self.step)

    @property
    def is_first_step(self) -> bool:
        return self._steps_seen == 0

    def _is_wanted(self, step: int) -> bool:
        past = step - self.config.start_step
        return past >= 0 and past % self.config.step_interval == 0 and self._times_left > 0

    def guard(self, act: Any) -> Any:
        if self.failure is not None:
            return None
        try:
            with without_overrides(), without_modes(), device.measuring():
                return act()
        except Exception as error:
            # The one edge between us and the user's step: whatever it was, the training goes on.
            self.failure = f"{type(error).__name__}: {error}".splitlines()[0]
            text = str(error) if isinstance(error, AccError) else self.failure
            say(f"error: {text} Nothing more is recorded.")
            return None

    def show(self, label: Label, measured: Measured, *extra: Value) -> None:
        self._shown[label] = (measured, extra)

    def loss_scale(self) -> float:
        return self._scale.current()

    def micro_step(self, vpp_stage: int) -> int:
        return max(0, self._batches[vpp_stage] - 1)

    def _count_batches(self) -> None:
        """Each call of a whole model in training begins a micro batch."""
        self._batches = [0] * len(self.scope.models)
        for stage, model in enumerate(self.scope.models):

            def begins(module: torch.nn.Module, _: Any, stage: int = stage) -> None:
                if not is_compiling() and module.training and not recomputing():
                    self._batches[stage] += 1

            self._batch_handles.append(ForwardHook(model, begins, before=True, kwargs=False))

    # ---- steps

    def before_optimizer(self, optimizer: Any) -> None:
        """An optimizer step begins.  With `print_struct` the script ends here."""
        self._optimizer_steps += 1
        if self._structure is not None and self._structure.found:
            self._end_with_structure()
        if self.recording:
            for collector in self._collectors:
                self.guard(lambda collector=collector: collector.before_step(optimizer))

    def after_optimizer(self, optimizer: Any) -> None:
        """An optimizer step is over."""
        if self.recording:
            for collector in self._collectors:
                self.guard(lambda collector=collector: collector.after_step(optimizer))

    def finish_step(self) -> None:
        """The training step is over: its rows go to the files before this returns."""
        if self.recording:
            self.guard(self._write)
            self._times_left -= 1
        for collector in self._collectors:
            collector.end_step()
        self._scale.end_step()
        self._shown.clear()
        self._batches = [0] * len(self._batches)
        self.step += 1
        self._steps_seen += 1
        if self.is_attached and (self.failure is not None or not self._times_left):
            self.detach()

    def _skipped(self, optimizer: Any) -> None:
        """A GradScaler found an infinity and did not step: that is a training step too, and worth seeing."""
        if any(known is optimizer for known in self.optimizers):
            self.before_optimizer(optimizer)
            self._on_skipped(optimizer)

    def _stepped_over(self, optimizer: Any) -> None:
        self.finish_step()

    def numbers(self, *kinds: Kind) -> list[Numbers]:
        """By tag and op: what the present step has so far, or where it has nothing, what the last one had."""
        waiting = [measured for label, (measured, _) in self._shown.items() if label.kind in kinds]
        self.guard(lambda: settle(waiting))
        rows = self._rows()
        return [
            {row.label.tag(self.place.rank): self._by_op(row) for row in rows[kind]}
            if kind in rows
            else self.latest.get(kind, {})
            for kind in kinds
        ]

    def _rows(self) -> dict[Kind, list[Row]]:
        found: dict[Kind, list[Row]] = {}
        ops = self.config.ops
        for label, (measured, extra) in self._shown.items():
            values = (*(measured.value(op) for op in ops), *extra)
            found.setdefault(label.kind, []).append(Row(label, values))
        return found

    def _by_op(self, row: Row) -> dict[str, Value]:
        return dict(zip(columns(row.label.kind, self.config.ops), row.values, strict=True))

    def _write(self) -> None:
        settle([measured for measured, _ in self._shown.values()])
        rows = self._rows()
        if self._writer is not None:
            self._writer.write(self.step, rows)
        if self._alerts is not None:
            self._alerts.check(self.step, rows)
        if self.config.format == "api":
            self.latest = {
                kind: {row.label.tag(self.place.rank): self._by_op(row) for row in members}
                for kind, members in rows.items()
            }
        if self._call_places is not None and self.folder is not None:
            self._call_places.write(self.folder)
            self._call_places.detach()
            self._call_places = None

    def _end_with_structure(self) -> None:
        assert self._structure is not None
        path = self._structure.write(self._root, self.place.rank)
        say(f"the model's structure is in {path}; the script ends here, as print_struct asks for")
        raise SystemExit(0)


def _all_modules(config: MonitorConfig) -> MonitorConfig:
    return msgspec.structs.replace(config, all_xy=True, targets=())


def say(text: str) -> None:
    """On stderr: stdout is the script's.  With several ranks, of the same lines the first rank's."""
    if text.startswith("error") or (device.current_rank() or 0) == 0:
        print(f"acc monitor: {text}", file=sys.stderr, flush=True)


def is_dynamic() -> bool:
    """Has the user set DYNAMIC_MONITOR=True?"""
    return os.environ.get("DYNAMIC_MONITOR", "").lower() == "true"
