"""Forward hooks that stay out of what the script saves and copies.

A module's hooks are part of it: `torch.save(model)` and `copy.deepcopy(model)` take them along.  Ours are no part of
the user's model, could not be pickled, and would report the copy's calls as the original's.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable
from typing import Any

import torch

from ..intercept.patching import Patches

_ours: weakref.WeakSet[Callable[..., Any]] = weakref.WeakSet()
_patches = Patches()
_hung: set[ForwardHook] = set()

_LISTS = {
    "_forward_pre_hooks": ("_forward_pre_hooks_with_kwargs",),
    "_forward_hooks": ("_forward_hooks_with_kwargs", "_forward_hooks_always_called"),
}
"""Where a module keeps its forward hooks by number, and what it notes of them by the same number."""


class ForwardHook:
    """`hook` before or after every call of `module`, as torch's own hooks are called, until `remove`."""

    def __init__(
        self, module: torch.nn.Module, hook: Callable[..., None], *, before: bool, kwargs: bool = True
    ) -> None:
        register = module.register_forward_pre_hook if before else module.register_forward_hook
        self._hook = hook
        self._handle: Any = register(hook, with_kwargs=kwargs)
        _ours.add(hook)
        if not _hung:
            _follow_copies()
        _hung.add(self)

    def remove(self) -> None:
        self._handle.remove()
        _hung.discard(self)
        if not _hung:
            _patches.restore()


def _follow_copies() -> None:
    original = torch.nn.Module.__reduce_ex__

    @functools.wraps(original)
    def __reduce_ex__(module: torch.nn.Module, protocol: Any) -> Any:  # noqa: N807
        reduced: Any = original(module, protocol)
        if isinstance(reduced, tuple) and len(reduced) > 2 and isinstance(reduced[2], dict):
            return (*reduced[:2], _without_ours(reduced[2]), *reduced[3:])
        return reduced

    _patches.replace(torch.nn.Module, "__reduce_ex__", __reduce_ex__)


def _without_ours(state: dict[str, Any]) -> dict[str, Any]:
    found = dict(state)
    for name, notes in _LISTS.items():
        numbers = {number for number, hook in state.get(name, {}).items() if hook in _ours}
        for each in (name, *notes):
            if numbers & state.get(each, {}).keys():
                found[each] = type(state[each])((n, value) for n, value in state[each].items() if n not in numbers)
    return found
