"""One recording session: wires interception, recording and writing together, step by step.

`Session` is the mechanism; `PrecisionDebugger` is its face for scripts, with the names that users of msprobe know.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from . import device
from .config import DumpConfig, load_config, merge
from .format import FORMAT_VERSION, sketch
from .format.errors import AccError, ConfigError
from .format.layout import TENSOR_FOLDER, rank_folder
from .intercept import apis
from .intercept.modules import ModuleCalls, ModuleTree
from .intercept.optimizer import LiveOptimizers, OptimizerSteps
from .intercept.patching import Patches
from .intercept.watch import Watch
from .record import contents, tree
from .record.recorder import Emission, Measured, StepRecorder
from .writer import StepWriter, Written


class LastStepDone(BaseException):
    """Raised out of the script's own step when the last wanted step is on disk and the user asked to stop there."""


class _Output:
    """A sink that opens its folder at the first record: by then the process knows its rank."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.writer: StepWriter | None = None

    def _open(self) -> StepWriter | None:
        if self.writer is None:
            self.writer = self._session.open_writer()
        return self.writer

    def record(self, emission: Emission) -> None:
        if (writer := self._open()) is not None:
            writer.record(emission)

    def store(self, measured: Measured, place: str | None, payload: contents.Contents) -> None:
        if (writer := self._open()) is not None:
            writer.store(measured, place, payload)


class Session:
    """Records the wanted steps of this process.

    With `finds_steps`, an optimizer step ends a step in training; in a script without optimizers the next call of the
    outermost module does.  Otherwise the owner calls `start`, `stop` and `step`.
    """

    def __init__(
        self,
        config: DumpConfig,
        *,
        finds_steps: bool = False,
        exit_after: bool = False,
        on_step: Callable[[int, Written], None] | None = None,
    ) -> None:
        self.config = config
        self.current_step = 0
        self.written: list[Written] = []
        self.failure: AccError | None = None
        self.modules = ModuleTree()
        self._watch = Watch()
        self._finds_steps = finds_steps
        self._exit_after = exit_after
        self._on_step = on_step
        self._patches = Patches()
        self._live = LiveOptimizers()
        self._optimizers_made = False
        self._root: torch.nn.Module | None = None
        self._recorder: StepRecorder | None = None
        self._output: _Output | None = None
        self._rank_id: int | None = None
        self._installed = False
        self._calls = ModuleCalls(
            self._watch,
            self.modules,
            records=config.level in ("L0", "mix"),
            on_outermost=self._outermost if finds_steps else None,
        )
        self._steps = OptimizerSteps(
            self._watch, self.modules, after_step=self._stepped if finds_steps else None
        )

    # ---- on and off

    def install(self) -> None:
        """Patch and hook torch.  Nothing of torch is touched before this."""
        if self._installed:
            return
        self._installed = True
        device.detect_npu()
        self._calls.install()
        self._steps.install()
        if self.config.level in ("L1", "mix"):
            apis.install(self._watch, self._patches)
        if self._finds_steps:
            self._watch.setting_up = True
            self._follow_constructors()

    def remove(self) -> None:
        """Put torch back exactly as it was."""
        self._patches.restore()
        self._calls.remove()
        self._steps.remove()
        self._installed = False

    def _follow_constructors(self) -> None:
        original = torch.optim.Optimizer.__init__
        live = self._live

        def noted(optimizer: torch.optim.Optimizer, *args: Any, **kwargs: Any) -> None:
            original(optimizer, *args, **kwargs)
            live.made(optimizer)
            self._optimizers_made = True

        self._patches.replace(torch.optim.Optimizer, "__init__", noted)

    # ---- recording

    def start(self, models: Sequence[torch.nn.Module] = (), rank_id: int | None = None) -> None:
        """Begin or go on recording the current step, if it is wanted."""
        self._rank_id = rank_id if rank_id is not None else self._rank_id
        for number, model in enumerate(models):
            self.modules.add_root(model, str(number) if len(models) > 1 else None)
        if self.failure is not None or not self.wants(self.current_step):
            return
        self.install()
        if self._recorder is None:
            self._output = _Output(self)
            self._recorder = StepRecorder(self.config, self._output)
        self._watch.begin_step(self._recorder)

    def stop(self) -> None:
        """Pause: calls are not recorded until `start`."""
        self._watch.end_step()

    def pause(self) -> None:
        """Record no call that begins from here; gradients of earlier calls still come in."""
        self._watch.gated = True

    def resume(self) -> None:
        self._watch.gated = False

    def step(self, *, complete: bool = True) -> None:
        """End the current step, close its files, and count on."""
        self.stop()
        self._calls.end_step()
        recorder, output = self._recorder, self._output
        self._recorder = self._output = None
        number = self.current_step
        self.current_step += 1
        if recorder is None or output is None:
            return
        recorder.close()
        if output.writer is None:
            return
        try:
            written = output.writer.close(self._trailer(recorder, complete=complete))
        except AccError as error:
            self.failure = error
            return
        self.written.append(written)
        if self._on_step is not None:
            self._on_step(number, written)

    def save(self, variable: Any, name: str) -> None:
        """Record any value under a name of the user's; a tensor's gradient follows when backward comes."""
        recorder = self._watch.recorder
        if recorder is None:
            return
        key = f"Saved.{name}"
        call = f"{key}.{recorder.number(key)}"

        def forward() -> None:
            listed = list(variable) if isinstance(variable, (list, tuple)) else [variable]
            body = {"input_args": [], "input_kwargs": {}, "output": recorder.wrote(listed, f"{call}.forward.output")}
            recorder.emit(Emission(f"{call}.forward", body, self._watch.owner, recorder.take_stack()))

        def arrived(gradient: torch.Tensor) -> None:
            body = {"input": [recorder.read(gradient, f"{call}.backward.input.0")], "output": []}
            recorder.emit(Emission(f"{call}.backward", body, None, None))

        self._watch.guard(forward)
        for tensor in tree.tensors_of(variable)[:1]:
            if tensor.requires_grad and tensor.grad_fn is not None:
                place = tensor.output_nr

                def before_node(gradients: Sequence[torch.Tensor | None], place: int = place) -> None:
                    gradient = gradients[place]
                    if gradient is not None and self._watch.recorder is recorder:
                        self._watch.guard(lambda: arrived(gradient))

                tensor.grad_fn.register_prehook(before_node)

    def close(self, *, complete: bool = True) -> None:
        """End recording for good: what is open is written to its end, torch is put back."""
        self.step(complete=complete)
        self.remove()

    def wants(self, step: int) -> bool:
        return not self.config.step or step in self.config.step

    @property
    def finished(self) -> bool:
        """Is the last wanted step behind us?"""
        return bool(self.config.step) and self.current_step > max(self.config.step)

    # ---- files

    def open_writer(self) -> StepWriter | None:
        """The writer for the current step, or None where this rank is not wanted or writing failed before."""
        rank = self._rank_id if self._rank_id is not None else device.current_rank()
        if self.failure is not None or (self.config.rank and (rank or 0) not in self.config.rank):
            self._watch.recorder = None
            return None
        folder = rank_folder(Path(self.config.dump_path), step=self.current_step, rank=rank, pid=os.getpid())
        try:
            return StepWriter(
                folder, self._header(folder), file_format=self.config.file_format, hash_name=self.config.hash
            )
        except AccError as error:
            self.failure = error
            self._watch.recorder = None
            return None

    def _header(self, folder: Path) -> dict[str, object]:
        config = self.config
        real = config.task == "tensor"
        return {
            "task": config.task,
            "level": config.level,
            "framework": "pytorch",
            "dump_data_dir": str((folder / TENSOR_FOLDER).absolute()) if real else None,
            "format_version": FORMAT_VERSION,
            "torch_version": torch.__version__,
            "summary_mode": None if real else config.summary_mode,
            "hash": config.hash if config.summary_mode == "md5" and not real else None,
            "sketch": sketch.SKETCH_VERSION,
            "world_size": device.world_size(),
        }

    def _trailer(self, recorder: StepRecorder, *, complete: bool) -> dict[str, object]:
        kinds = recorder.devices
        kind = next((found for found in ("npu", "cuda") if found in kinds), "cpu")
        return {
            "device": kind,
            "device_name": device.device_name(kind),
            "complete": complete,
            "coverage": {
                "calls": recorder.calls,
                "not_recordable": recorder.skipped,
                "failed": self._watch.failures,
            },
        }

    # ---- steps found without edits

    def _stepped(self, optimizer: torch.optim.Optimizer) -> None:
        self._optimizers_made = True
        if self._live.ends_step(optimizer):
            self._next_step()

    def _outermost(self, module: torch.nn.Module) -> None:
        self._watch.setting_up = False
        if self._root is None:
            self._root = module
            return
        if module is self._root and not self._optimizers_made:
            self._next_step()

    def _next_step(self) -> None:
        self.step()
        if self._exit_after and self.finished:
            raise LastStepDone
        self.start()


class PrecisionDebugger:
    """Record a run from inside its script.

        debugger = PrecisionDebugger("config.json")
        for batch in loader:
            debugger.start(model)
            loss = train(batch)
            debugger.stop()
            debugger.step()

    One session a process: constructing again hands the open one out, and the methods may be called on the class.
    Arguments given here win over config.json.  Raises ConfigError.
    """

    _session: Session | None = None
    _instance: PrecisionDebugger | None = None

    def __new__(cls, *_: Any, **__: Any) -> PrecisionDebugger:
        if cls._instance is None:
            cls._instance = super().__new__(cls)
        return cls._instance

    def __init__(
        self,
        config_path: str | os.PathLike[str] | None = None,
        task: str | None = None,
        dump_path: str | os.PathLike[str] | None = None,
        level: str | None = None,
        step: Sequence[int | str] | None = None,
    ) -> None:
        if type(self)._session is not None:
            return
        config = load_config(Path(config_path)) if config_path is not None else DumpConfig()
        config = merge(
            config, task=task, dump_path=None if dump_path is None else str(dump_path), level=level, step=None if step is None else list(step)
        )
        type(self)._session = Session(config)
        atexit.register(type(self).close)

    @classmethod
    def _open(cls) -> Session:
        if cls._session is None:
            raise ConfigError("PrecisionDebugger: none has been made. Construct one with a config_path first.")
        return cls._session

    @classmethod
    def start(
        cls,
        model: torch.nn.Module | Sequence[torch.nn.Module] | None = None,
        token_range: Any = None,
        rank_id: int | None = None,
    ) -> None:
        """Record from here.  `model` names the modules; without it the outermost module called does."""
        if token_range is not None:
            raise ConfigError("start: token_range is not offered. Use the `step` key: each forward call is a step.")
        models = [] if model is None else [model] if isinstance(model, torch.nn.Module) else list(model)
        cls._open().start(models, rank_id)

    @classmethod
    def stop(cls) -> None:
        """Stop recording; `start` goes on in the same step."""
        cls._open().stop()

    @classmethod
    def step(cls) -> None:
        """The training step is over: its dump is closed, the next `start` begins a new one."""
        session = cls._open()
        session.step()
        if session.failure is not None:
            failure, session.failure = session.failure, None
            raise failure

    @classmethod
    def save(cls, variable: Any, name: str, save_backward: bool = True) -> None:
        """Record `variable` under `name`, and its gradient when backward comes."""
        cls._open().save(variable.detach() if not save_backward and torch.is_tensor(variable) else variable, name)

    @classmethod
    def close(cls) -> None:
        """End the session: open files are closed, torch is as it was.  Done by itself when Python exits."""
        session, cls._session, cls._instance = cls._session, None, None
        atexit.unregister(cls.close)
        if session is not None:
            session.close()


_gates: list[Any] = []


def module_dump(module: torch.nn.Module, dump_name: str) -> None:
    """Record only what happens inside `module`, under the name `dump_name`, until `module_dump_end`."""
    session = PrecisionDebugger._open()
    session.modules.rename(module, dump_name)
    _gates.append(module.register_forward_pre_hook(lambda *_: session.resume()))
    _gates.append(module.register_forward_hook(lambda *_: session.pause()))
    session.pause()


def module_dump_end() -> None:
    """Record everything again."""
    for handle in _gates:
        handle.remove()
    _gates.clear()
    PrecisionDebugger._open().resume()
