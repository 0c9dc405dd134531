"""What callers of msprobe read and set on a debugger besides calling it: `debugger.config`, `debugger.service`.

Trainers that record several models in turn give each a folder of its own between `stop` and `start`:

    debugger.service.config.dump_path = "dumps/actor"
    debugger.start(actor)
    debugger.stop()
    debugger.service.reset_status()
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .format.errors import ConfigError
from .session import Session

_SETTABLE = ("dump_path", "step", "rank", "dump_enable")
_SORTED = ("rank", "step")
_AS_LISTS = ("scope", "data_mode", "tensor_list")
_OTHER_NAMES = {"list": "api_list"}
_FIXED: dict[str, object] = {
    "framework": "pytorch",
    "risk_level": "ALL",
    "enable_dataloader": False,
    "slice_info": [],
    "bench_path": None,
    "load_config": None,
}


class DebuggerConfig:
    """The settings in force, under msprobe's names and in its types: paths are text, sets are lists.

    `dump_path`, `step`, `rank` and `dump_enable` may be set while the script runs; what is recorded of the present
    step is closed where it lies first.  Anything else that is set is told, once, and has no effect.
    """

    def __init__(self, session: Callable[[], Session], say: Callable[[str], None]) -> None:
        vars(self).update(_session=session, _say=say, _told=set())

    def __getattr__(self, name: str) -> Any:
        if name in _FIXED:
            return _FIXED[name]
        value = getattr(self._session().config, _OTHER_NAMES.get(name, name))
        if name in _SORTED:
            return sorted(value)
        if name in (*_AS_LISTS, *_OTHER_NAMES):
            return list(value)
        return str(value) if isinstance(value, Path) else value

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _SETTABLE:
            self._session().move(**{name: os.fspath(value) if name == "dump_path" else value})
        elif name not in self._told:
            self._told.add(name)
            self._say(f"note: config.{name} cannot be changed while the script runs; it stays as it was.")


class Service:
    """The session under the names of msprobe's.

    `first_start` may be set and read back; nothing depends on it, since models are known by identity.
    """

    def __init__(self, session: Callable[[], Session], config: DebuggerConfig) -> None:
        self._session = session
        self.config = config
        self.first_start = True

    @property
    def current_iter(self) -> int:
        """The number of the present step."""
        return self._session().current_step

    @property
    def init_step(self) -> int:
        """The number of the present step; setting it counts on from there."""
        return self._session().current_step

    @init_step.setter
    def init_step(self, step: int) -> None:
        self._session().count_from(step)

    @property
    def current_rank(self) -> int | None:
        return self._session().rank

    @property
    def should_stop_service(self) -> bool:
        """Is the last wanted step behind?"""
        return self._session().finished

    def reset_status(self) -> None:
        """Close what is recorded of the present step; `start` goes on in another folder."""
        self._session().end_part()

    _reset_status = reset_status

    def start(self, model: Any = None, token_range: Any = None, *_: Any, **__: Any) -> None:
        """As the debugger's, without its checks."""
        models = [] if model is None else list(model) if isinstance(model, (list, tuple)) else [model]
        self._session().start(models, tokens=token_range_of(token_range))

    def stop(self) -> None:
        self._session().stop()

    def step(self, **_: Any) -> None:
        self._session().step()


def token_range_of(value: Any) -> tuple[int, int] | None:
    """(first, last) forward call of the model to record, both included, counted from `start`.

    Raises ConfigError for anything but two whole numbers that rise.
    """
    if value is None:
        return None
    pair = list(value) if isinstance(value, (list, tuple)) else []
    if len(pair) != 2 or any(isinstance(each, bool) or not isinstance(each, int) for each in pair):
        raise ConfigError(f"token_range: expected two whole numbers, [first, last], found {value!r}.")
    first, last = pair
    if not 0 <= first <= last:
        raise ConfigError(f"token_range: expected numbers from 0 on that rise, found {value!r}.")
    return first, last
