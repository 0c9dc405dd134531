"""`PrecisionDebugger`: a session driven from inside its script, under the names that msprobe's users know."""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NoReturn, TypeAlias

import torch

from . import after_step
from .config import DumpConfig, Unknown, merge
from .config_reload import ReloadableConfig
from .format.errors import ConfigError, OutputError, told_in_one_line
from .format.paths import from_home
from .intercept import custom
from .record.observer import LastStepDone
from .service import DebuggerConfig, Service, token_range_of
from .session import Session
from .write.writer import Written

Models: TypeAlias = "torch.nn.Module | Sequence[torch.nn.Module] | None"


@dataclass(frozen=True, slots=True)
class Outer:
    """What a command around the script asks for: it wins over what the script says.

    `flags` are those of `config.merge`, `config_path` stands in for the script's.  With `tells` it is the command that
    says at the end what was recorded.
    """

    flags: Mapping[str, object] = field(default_factory=dict)
    config_path: Path | None = None
    exit_after: bool = False
    tells: bool = False


_Given: TypeAlias = "tuple[str | None, dict[str, Any]]"
"""What a debugger was made with: the path of its config.json, and its other arguments."""


class PrecisionDebugger:
    """Record a run from inside its script.

        debugger = PrecisionDebugger("config.json")
        for batch in loader:
            debugger.start(model)
            loss = train(batch)
            debugger.stop()
            debugger.step()

    Without a config.json:

    >>> debugger = PrecisionDebugger(task="statistics", dump_path="recorded")
    >>> debugger.start()
    >>> total = torch.ones(2, 3).exp().sum()
    >>> debugger.stop()
    >>> debugger.step()
    >>> debugger.close()
    >>> from dump.format.reader import read_dump
    >>> folder, = Path("recorded/step0").iterdir()  # of this process; with ranks there are several
    >>> [call.name for call in read_dump(folder).calls]
    ['Torch.ones.0.forward', 'Tensor.exp.0.forward', 'Tensor.sum.0.forward']

    One session a process: constructing again hands the open one out, and the methods may be called on the
    class.  Arguments given here win over config.json.  What follows `level` by position is `step` or `model, step`,
    as in msprobe's versions: modules are told from steps by their type.  `config` and `service` are what msprobe's
    callers know under these names.  Raises ConfigError, for other settings than those of the open session too.
    """

    outer: ClassVar[Outer] = Outer()
    as_msprobe: ClassVar[bool] = False
    """Is it called by msprobe's name?  Then what msprobe does not know in config.json is told and passed over, and the
    open session is handed out whatever other settings are asked for, as msprobe hands it out."""

    _session: ClassVar[Session | None] = None
    _ended: ClassVar[Session | None] = None
    _instance: ClassVar[PrecisionDebugger | None] = None
    _models: ClassVar[Sequence[torch.nn.Module]] = ()
    _given: ClassVar[_Given] = (None, {})

    def __new__(cls, *_: Any, **__: Any) -> PrecisionDebugger:
        if cls._instance is None:
            PrecisionDebugger._close(complete=True)  # one that its owner let go of: `_instance = None`
            cls._instance = super().__new__(cls)
        return cls._instance

    @told_in_one_line
    def __init__(
        self,
        config_path: str | os.PathLike[str] | None = None,
        task: str | None = None,
        dump_path: str | os.PathLike[str] | None = None,
        level: str | None = None,
        *placed: Any,
        model: Models = None,
        step: Sequence[int | str] | None = None,
    ) -> None:
        model, step = _model_and_step(placed, model, step)
        flags: dict[str, object] = {
            "task": task,
            "dump_path": None if dump_path is None else os.fspath(dump_path),
            "level": level,
            "step": None if step is None else list(step),
        }
        given = (None if config_path is None else os.path.abspath(from_home(config_path)), dict(flags))
        if PrecisionDebugger._session is not None:
            is_other = given not in (PrecisionDebugger._given, (None, dict.fromkeys(flags)))
            if is_other and not PrecisionDebugger.as_msprobe:
                _refuse_other(PrecisionDebugger._given, given)
            return
        outer = PrecisionDebugger.outer
        flags.update({name: value for name, value in outer.flags.items() if value is not None})
        path = outer.config_path or config_path
        unknown: Unknown = "pass" if PrecisionDebugger.as_msprobe else "guess"
        reloadable = None if path is None else ReloadableConfig(Path(path), flags, unknown=unknown)
        config = reloadable.config if reloadable is not None else merge(DumpConfig(), **flags)
        for sentence in config.ignored:
            _say(f"note: {sentence}")
        PrecisionDebugger._models = _listed(model)
        PrecisionDebugger._session = session = Session(
            config,
            reloadable=reloadable,
            say=_say,
            on_step=lambda number, written: after_step.finish(session.config, number, written, _say),
        )
        PrecisionDebugger._given = given
        atexit.register(PrecisionDebugger._at_exit)
        self.config = DebuggerConfig(PrecisionDebugger._open, _say)
        self.service = Service(PrecisionDebugger._open, self.config)

    @property
    def task(self) -> str:
        """The task in force."""
        return PrecisionDebugger._open().config.task

    @property
    def model(self) -> Models:
        """The model that was given with the settings."""
        models = PrecisionDebugger._models
        return (models[0] if len(models) == 1 else list(models)) if models else None

    @staticmethod
    def _open() -> Session:
        if PrecisionDebugger._session is None:
            raise ConfigError("PrecisionDebugger: none has been made. Construct one with a config_path first.")
        return PrecisionDebugger._session

    @staticmethod
    @told_in_one_line
    def start(
        model: Models = None,
        token_range: Sequence[int] | None = None,
        rank_id: int | None = None,
        scheduled_tokens: Mapping[str, int] | None = None,
    ) -> None:
        """Record from here.  `model` names the modules; without it the outermost module called does.

        With `token_range`, [first, last], only these forward calls of the model are recorded, counted from here.
        `rank_id` names the rank's folder.  `scheduled_tokens` are the tokens of each request in the batch that comes;
        where config.json names a `request_id` that is not among them, nothing is recorded until the next `start`.
        Raises OutputError where the step's folder holds a dump already, ConfigError under `acc dump`.
        """
        session = PrecisionDebugger._open()
        tokens = token_range_of(token_range)
        if not session.config.is_wanted(scheduled_tokens):
            session.stop()
            return
        try:
            session.start(_listed(model) or PrecisionDebugger._models, rank_id=rank_id, tokens=tokens)
        except OutputError as error:
            if not session.has_written_here:
                raise
            _tell_once(session, "again", f"note: {error} The folder is this run's own: it is not recorded twice.")

    @staticmethod
    def stop() -> None:
        """Stop recording, but for the backward of what was recorded; `start` goes on in the same step."""
        PrecisionDebugger._open().stop()

    @staticmethod
    @told_in_one_line
    def step(**others: Any) -> None:
        """The training step is over: its dump is closed, the next `start` begins a new one.

        Where the dump could not be written, that is said once and the training goes on without recording.  `others` are
        those of msprobe's AclGraphDumper, which callers hand to either (`dump=False`): told, and without effect.
        """
        session = PrecisionDebugger._open()
        if others:
            told = ", ".join(sorted(others))
            _tell_once(session, "step", f"note: step({told}) has no effect: each step is recorded.")
        session.step()
        _tell_failure(session)
        if PrecisionDebugger.outer.exit_after and session.finished:
            raise LastStepDone

    @staticmethod
    def set_init_step(step: int) -> None:
        """The present step has the number `step`, as where training goes on from a checkpoint.  Raises ConfigError."""
        if isinstance(step, bool) or not isinstance(step, int) or step < 0:
            raise ConfigError(f"set_init_step: expected a whole number from 0 on, found {step!r}.")
        PrecisionDebugger._open().count_from(step)

    @staticmethod
    def forward_backward_dump_end() -> None:
        """`stop` under its oldest name: what comes after the backward pass is not recorded."""
        PrecisionDebugger.stop()

    @staticmethod
    def monitor(model: Any) -> None:
        """Called for msprobe's task `grad_probe`, which is `acc monitor` here; at every other task it does nothing."""

    @staticmethod
    @told_in_one_line
    def save(variable: Any, name: str, save_backward: bool = True) -> None:
        """Record `variable` under `name`, and the gradients of its tensors when backward comes.

        At level debug nothing else is recorded, and `start` need not be called.  Raises OutputError then.
        """
        session = PrecisionDebugger._open()
        if session.config.level == "debug" and not session.is_recording:
            session.start()
        session.save(variable, name, backward=save_backward)

    @staticmethod
    @told_in_one_line
    def register_custom_api(module: Any, api: str, api_prefix: str | None = None) -> None:
        """Record calls of `module.api` too: `dump.register_custom_api`, which needs no debugger."""
        custom.register_custom_api(module, api, api_prefix)

    @staticmethod
    @told_in_one_line
    def restore_custom_api(module: Any, api: str) -> None:
        """Record calls of `module.api` no more, and put back what stood there."""
        custom.restore_custom_api(module, api)

    @staticmethod
    def _maybe_reload_config(force: bool = False) -> bool:
        """Look at config.json now; `force` is msprobe's, for whom looking again too soon is not looking."""
        return PrecisionDebugger._open().reread()

    @staticmethod
    def close() -> None:
        """End the session: open files are closed, torch is as it was.  Done by itself when Python exits."""
        PrecisionDebugger._close(complete=True)

    @staticmethod
    def hand_over(*, complete: bool) -> Session | None:
        """`close`, and the session that is over, the last of several; None where there was none."""
        PrecisionDebugger._close(complete=complete)
        ended, PrecisionDebugger._ended = PrecisionDebugger._ended, None
        return ended

    @staticmethod
    def _at_exit() -> None:
        """Python exits between `start` and `stop` where the script failed there: its step is not complete."""
        session = PrecisionDebugger._session
        PrecisionDebugger._close(complete=session is None or not session.is_recording)

    @staticmethod
    def _close(*, complete: bool) -> None:
        session, PrecisionDebugger._session = PrecisionDebugger._session, None
        PrecisionDebugger._instance = None
        PrecisionDebugger._models = ()
        atexit.unregister(PrecisionDebugger._at_exit)
        if session is not None:
            session.close(complete=complete)
            _tell_failure(session)
            if PrecisionDebugger.outer.tells:
                PrecisionDebugger._ended = session
            elif session.written and (session.rank or 0) == 0:
                _say(f"dump: {session.written[0].folder.parent.parent.absolute()} ({_amount(session.written)})")
            if not session.written and session.failure is None and not (nothing := session.why_nothing()).is_wanted:
                _say(f"nothing was recorded: {nothing.reason}")


@told_in_one_line
def module_dump(module: torch.nn.Module, dump_name: str) -> None:
    """Record `module` alone, as `dump_name`, until `module_dump_end`: its calls and what happens inside them; at level
    L1 its calls in place of that.

    >>> model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
    >>> debugger = PrecisionDebugger(task="statistics", dump_path="one_module")
    >>> debugger.start(model)
    >>> module_dump(model[2], "head")
    >>> result = model(torch.ones(1, 3))
    >>> module_dump_end()
    >>> debugger.step()
    >>> debugger.close()
    >>> from dump.format.reader import read_dump
    >>> folder, = Path("one_module/step0").iterdir()
    >>> [call.name for call in read_dump(folder).calls]
    ['Module.head.Linear.forward.0']
    """
    session = PrecisionDebugger._open()
    session.modules.rename(module, dump_name)
    session.only([module])


@told_in_one_line
def module_dump_end() -> None:
    """Record everything again; see `module_dump`."""
    PrecisionDebugger._open().only([])


def _refuse_other(before: _Given, given: _Given) -> NoReturn:
    """Raise ConfigError that names the first setting in which a second debugger differs from the open one."""
    (path, flags), (other_path, others) = before, given
    ours = {"config_path": path, **flags}
    name, other = next(
        (name, other) for name, other in {"config_path": other_path, **others}.items() if other != ours[name]
    )
    raise ConfigError(
        f"PrecisionDebugger: one is open with {name}={ours[name]!r}, and this one has {name}={other!r}. Call"
        " PrecisionDebugger.close() before another is made; without arguments the open one is handed out."
    )


def _model_and_step(
    placed: tuple[Any, ...], model: Models, step: Sequence[int | str] | None
) -> tuple[Models, Sequence[int | str] | None]:
    """What `placed` holds, of `step` or of `model, step`; where both are given by name they stay."""
    if len(placed) > 2:
        raise ConfigError(f"PrecisionDebugger: expected at most six arguments by position, found {4 + len(placed)}.")
    for value in placed:
        if _is_model(value):
            model = value
        elif value is not None:
            step = value
    return model, step


def _is_model(value: Any) -> bool:
    listed = value if isinstance(value, (list, tuple)) else [value]
    return bool(listed) and all(isinstance(each, torch.nn.Module) for each in listed)


def _listed(model: Any) -> Sequence[torch.nn.Module]:
    """The modules in what was given as the model; a wrapper that is none is told, and its parts are met when called."""
    listed = list(model) if isinstance(model, (list, tuple)) else [] if model is None else [model]
    modules = [each for each in listed if isinstance(each, torch.nn.Module)]
    if len(modules) < len(listed) and PrecisionDebugger._session is not None:
        (kind, *_) = sorted({type(each).__name__ for each in listed if not isinstance(each, torch.nn.Module)})
        text = (
            f"note: a {kind} was given as the model, which is no torch.nn.Module: modules are named as they are called."
        )
        _tell_once(PrecisionDebugger._session, kind, text)
    return modules


_told: weakref.WeakKeyDictionary[Session, set[str]] = weakref.WeakKeyDictionary()


def _tell_once(session: Session, what: str, text: str) -> None:
    told = _told.setdefault(session, set())
    if what not in told:
        told.add(what)
        _say(text)


def _amount(written: Sequence[Written]) -> str:
    calls, steps = sum(part.calls for part in written), len(written)
    return f"{calls:,} call{'' if calls == 1 else 's'} in {steps:,} step{'' if steps == 1 else 's'}"


def _tell_failure(session: Session) -> None:
    if session.failure is not None:
        _tell_once(session, "failure", f"error: {session.failure} Nothing more is recorded.")


def _say(text: str) -> None:
    with contextlib.suppress(ValueError, OSError):  # the script has closed it
        print(f"acc dump: {text}", file=sys.stderr, flush=True)
