"""Code that torch.compile makes, under the audit, in a torch that asks no mode whether it minds (before 2.10).

dynamo compiles while all modes are away, and guards what it has made by the keys that the dispatcher then had.  A mode
that is there when the guard is asked adds a key: the guard fails at every call, all is compiled anew, and after a
few times no more, so that a run would be another one.  There the mode is away wherever dynamo looks at what is called,
and back where it does not, as in a function under `torch.compiler.disable`.  What an operator of the script's own does
between two graphs is recorded as ever; what no call stands for there, nobody sees, which is said once it has happened.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from .. import torch_internals
from .in_place import redirect_in_c, restore_in_c
from .under_a_mode import StepsAside
from .watch import Watch

_COMPILED = "what no call stands for where code is compiled"
_NEEDS = "an audit sees it since torch 2.10"
_ANEW = "compiled code"
_NEEDS_CORE = "under an audit it is compiled anew at each call without the native core, before torch 2.10"


class CompiledCode:
    """Takes the audit's mode away while dynamo looks at what the recorded thread calls."""

    NEEDS = ("set_frame_callback",)

    def __init__(self, watch: Watch, mode: StepsAside) -> None:
        self._watch = watch
        self._mode = mode
        self._led: Any = None
        self._away_on: int | None = None
        self._was_away = False

    def install(self) -> Mapping[str, str]:
        """Follow where dynamo begins and ends to look; what cannot be, with the reason."""
        function = torch_internals.set_frame_callback
        if not redirect_in_c(function, self._following):
            return {_ANEW: _NEEDS_CORE}
        self._led = function
        return {}

    def remove(self) -> None:
        """Follow no longer; nothing where it was not followed."""
        led, self._led = self._led, None
        if led is not None:
            restore_in_c(led)
        if self._away_on is not None:
            self._away_on = None
            self._mode.come_back()

    def left_out(self) -> Mapping[str, str]:
        """What the audit did not see, with the reason; nothing where no compiled code has run."""
        return {_COMPILED: _NEEDS} if self._was_away else {}

    def _following(self, original: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def led(callback: Any) -> Any:
            before = original(None)  # from here on dynamo does not look at what we call
            if (before is None) != (callback is None):
                self._watch.attempt(self._come_back if callback is None else self._step_aside)
            original(callback)
            return before

        return led

    def _step_aside(self) -> None:
        if self._away_on is None and self._watch.is_our_thread() and self._mode.step_aside():
            self._away_on, self._was_away = threading.get_ident(), True

    def _come_back(self) -> None:
        if self._away_on == threading.get_ident():
            self._away_on = None
            self._mode.come_back()
