"""`PrecisionDebugger`: a session driven from inside its script, under the names that msprobe's users know."""

from __future__ import annotations

import atexit
import os
import sys
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

import torch

from .config import DumpConfig, merge
from .config_reload import ReloadableConfig
from .format.errors import ConfigError, told_in_one_line
from .format.paths import from_home
from .intercept import custom
from .session import Session

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

    One session a process: constructing again hands the open one out, and the methods may be called on the
    class.  Arguments given here win over config.json.  Raises ConfigError, for other settings than those of the open
    session too.
    """

    _session: Session | None = None
    _instance: PrecisionDebugger | None = None
    _given: _Given = (None, {})

    def __new__(cls, *_: Any, **__: Any) -> PrecisionDebugger:
        if cls._instance is None:
            cls._instance = super().__new__(cls)
        return cls._instance

    @told_in_one_line
    def __init__(
        self,
        config_path: str | os.PathLike[str] | None = None,
        task: str | None = None,
        dump_path: str | os.PathLike[str] | None = None,
        level: str | None = None,
        step: Sequence[int | str] | None = None,
    ) -> None:
        flags = {
            "task": task,
            "dump_path": None if dump_path is None else os.fspath(dump_path),
            "level": level,
            "step": None if step is None else list(step),
        }
        given = (None if config_path is None else os.path.abspath(from_home(config_path)), flags)
        if PrecisionDebugger._session is not None:
            if given not in (PrecisionDebugger._given, (None, dict.fromkeys(flags))):
                _refuse_other(PrecisionDebugger._given, given)
            return
        reloadable = ReloadableConfig(Path(config_path), flags) if config_path is not None else None
        config = reloadable.config if reloadable is not None else merge(DumpConfig(), **flags)
        for sentence in config.ignored:
            _say(f"note: {sentence}")
        PrecisionDebugger._session = Session(config, reloadable=reloadable, say=_say)
        PrecisionDebugger._given = given
        atexit.register(PrecisionDebugger._at_exit)

    @staticmethod
    def _open() -> Session:
        if PrecisionDebugger._session is None:
            raise ConfigError("PrecisionDebugger: none has been made. Construct one with a config_path first.")
        return PrecisionDebugger._session

    @staticmethod
    @told_in_one_line
    def start(
        model: torch.nn.Module | Sequence[torch.nn.Module] | None = None,
        token_range: Sequence[int] | None = None,
        rank_id: int | None = None,
    ) -> None:
        """Record from here.  `model` names the modules; without it the outermost module called does.

        Raises OutputError where the step's folder holds a dump already, ConfigError under `acc dump`.
        """
        if token_range is not None:
            raise ConfigError(
                "start: token_range is not offered. Use the 'step' key with one step for each forward call."
            )
        models = [] if model is None else [model] if isinstance(model, torch.nn.Module) else list(model)
        PrecisionDebugger._open().start(models, rank_id=rank_id)

    @staticmethod
    def stop() -> None:
        """Stop recording, but for the backward of what was recorded; `start` goes on in the same step."""
        PrecisionDebugger._open().stop()

    @staticmethod
    @told_in_one_line
    def step() -> None:
        """The training step is over: its dump is closed, the next `start` begins a new one.

        Where the dump could not be written, that is said once and the training goes on without recording.
        """
        session = PrecisionDebugger._open()
        session.step()
        _tell_failure(session)

    @staticmethod
    @told_in_one_line
    def save(variable: Any, name: str, save_backward: bool = True) -> None:
        """Record `variable` under `name`, and the gradients of its tensors when backward comes."""
        PrecisionDebugger._open().save(variable, name, backward=save_backward)

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
    def close() -> None:
        """End the session: open files are closed, torch is as it was.  Done by itself when Python exits."""
        PrecisionDebugger._close(complete=True)

    @staticmethod
    def _at_exit() -> None:
        """Python exits between `start` and `stop` where the script failed there: its step is not complete."""
        session = PrecisionDebugger._session
        PrecisionDebugger._close(complete=session is None or not session.is_recording)

    @staticmethod
    def _close(*, complete: bool) -> None:
        session, PrecisionDebugger._session = PrecisionDebugger._session, None
        PrecisionDebugger._instance = None
        atexit.unregister(PrecisionDebugger._at_exit)
        if session is not None:
            session.close(complete=complete)
            _tell_failure(session)
            if not session.written and session.failure is None and not (nothing := session.why_nothing()).is_wanted:
                _say(f"nothing was recorded: {nothing.reason}")


@told_in_one_line
def module_dump(module: torch.nn.Module, dump_name: str) -> None:
    """Record `module` alone, as `dump_name`, until `module_dump_end`: its calls and what happens inside them; at level
    L1 its calls in place of that."""
    session = PrecisionDebugger._open()
    session.modules.rename(module, dump_name)
    session.only([module])


@told_in_one_line
def module_dump_end() -> None:
    """Record everything again."""
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


_told: weakref.WeakSet[Session] = weakref.WeakSet()


def _tell_failure(session: Session) -> None:
    if session.failure is not None and session not in _told:
        _told.add(session)
        _say(f"error: {session.failure} Nothing more is recorded.")


def _say(text: str) -> None:
    print(f"acc dump: {text}", file=sys.stderr, flush=True)
