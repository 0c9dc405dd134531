"""`acc dump --as-msprobe`: the script drives the recording by msprobe's names; here is only what is around it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from .. import as_msprobe
from ..format.errors import ConfigError

if TYPE_CHECKING:
    from ..session import Session


class DrivenRecording:
    """Has the methods that `launch` asks for; `session` is the one that the script made, once it is over."""

    def __init__(self) -> None:
        self.session: Session | None = None

    def install(self) -> None:
        """Nothing: the script's own calls do it."""

    def start(self) -> None:
        """Nothing, likewise."""

    def close(self, *, complete: bool = True) -> None:
        from ..debugger import PrecisionDebugger

        self.session = PrecisionDebugger.hand_over(complete=complete) or self.session


@contextmanager
def answering(flags: Mapping[str, object], config: Path | None, *, exit_after: bool = False) -> Iterator[None]:
    """msprobe's names are answered here and in processes that are started; `flags` win over what the script says.

    Raises ConfigError where the real msprobe is loaded already.
    """
    if as_msprobe.TOP in sys.modules and not as_msprobe.is_answered():
        raise ConfigError("--as-msprobe: the real msprobe is imported in this process already.")
    given = {**flags, "config_path": None if config is None else str(config.absolute())}
    path = list(sys.path)
    sys.path.insert(0, str(as_msprobe.FOLDER))  # of multiprocessing's children too, which are given this list
    before = {name: os.environ.get(name) for name in as_msprobe.VARIABLES}
    os.environ.update(as_msprobe.answer_in_children(given))
    as_msprobe.answer(at_once=True)
    from ..debugger import Outer, PrecisionDebugger

    PrecisionDebugger.outer = Outer(flags, config, exit_after, tells=True)
    try:
        yield
    finally:
        PrecisionDebugger.outer = Outer()
        sys.path[:] = path
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
