"""Code that torch runs without asking Python for each operator: scripted functions and modules, compiled graphs.

What runs inside is not recorded one by one.  Here it is counted, so that it is said and not passed over.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import torch

from .patching import Patches
from .watch import Watch


class Opaque:
    """Counts the calls of scripted code that are made while a step is recorded."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._scripted: dict[str, int] = {}
        self._compiled_before = (0, 0)

    def install(self, patches: Patches, *, came_first: bool) -> None:
        """`came_first` says that nothing of the script has run yet: what is compiled by now is not the script's."""
        self._compiled_before = _compiled() if came_first else (0, 0)
        self._follow(torch.jit.ScriptFunction, patches)
        self._follow(torch.jit._script.RecursiveScriptModule, patches)

    def take(self) -> Mapping[str, object]:
        """`scripted`: calls of scripted code since the last time, by name.  `compiled`: what torch.compile has
        made graphs of so far, whether they ran in this step or not.  Each is left out where there is nothing to say."""
        scripted, self._scripted = self._scripted, {}
        found: dict[str, object] = {"scripted": scripted} if scripted else {}
        graphs, operators = (now - then for now, then in zip(_compiled(), self._compiled_before, strict=True))
        if graphs > 0:
            found["compiled"] = {"graphs": graphs, "operators": operators}
        return found

    def _follow(self, owner: Any, patches: Patches) -> None:
        original = owner.__call__
        watch = self._watch

        def __call__(self_: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N807
            if watch.listening():
                self._count(self_)
            return original(self_, *args, **kwargs)

        patches.replace(owner, "__call__", __call__)

    def _count(self, code: Any) -> None:
        name = str(getattr(code, "original_name", "") or getattr(code, "name", "") or type(code).__name__)
        self._scripted[name] = self._scripted.get(name, 0) + 1


def _compiled() -> tuple[int, int]:
    """How many graphs dynamo has made in this process, and how many operators they hold."""
    dynamo = sys.modules.get("torch._dynamo.utils")
    stats: Mapping[str, int] = dynamo.counters["stats"] if dynamo is not None else {}
    return stats.get("unique_graphs", 0), stats.get("calls_captured", 0)
