"""What torch does otherwise while a dispatch mode is there, whatever that mode does, and how the audit avoids it.

- Forward-mode differentiation computes some tangents by other formulas: the mode steps aside.
- torch.jit.trace writes other graphs, or none: the mode steps aside.
- A subclass of `torch.Tensor` without a constructor of its own cannot be made: the mode steps aside.
- A number that torch holds as a tensor, as torch.jit.trace holds constants, reaches a mode as the number, which not
  every operator takes: it is made a tensor again.
- Version counters stand still within the kernels of operators that count their writes there (`torch._foreach_*`, custom
  operators in Python): such an operator is called as it is without a mode.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from types import FunctionType
from typing import Any, Protocol, TypeAlias

import torch
from torch.autograd import forward_ad

from .. import torch_internals
from ..older_torch import is_dynamo_compiling
from ..record import tree
from .in_place import redirect
from .patching import Patches
from .watch import Watch

_DYNAMO = os.path.join(torch.__path__[0], torch_internals.dynamo_folder, "")
_HELD_AS = {bool: torch.bool, int: torch.int64, float: torch.float64, complex: torch.complex128}
MINDS_ANY_MODE = not hasattr(torch_internals.TorchDispatchMode, "ignore_compile_internals")
"""Is this a torch that asks no mode whether it matters to what torch does beside operators (before 2.10)?"""
_Run: TypeAlias = "Callable[[Any, tuple[Any, ...], dict[str, Any]], Any]"


class StepsAside(Protocol):
    """The mode of the audit, which can be away for a while."""

    def step_aside(self) -> bool:
        """Take the mode away until `come_back`, which may be asked of as often; False where a script's mode is there
        too, so that it would change nothing."""

    def come_back(self) -> None: ...


def install(watch: Watch, mode: StepsAside, patches: Patches) -> None:
    """Let `mode` step aside where torch would do otherwise for it."""
    for function, make in ((forward_ad.enter_dual_level, _entering), (forward_ad.exit_dual_level, _leaving)):
        if isinstance(function, FunctionType):
            redirect(function, functools.partial(make, watch, mode), patches)
    for traces in (torch.jit.trace, torch.jit.trace_module, torch_internals.trace_graph):
        if isinstance(traces, FunctionType):
            redirect(traces, functools.partial(_tracing, watch, mode), patches)
    patches.replace(torch.Tensor, "__new__", _Making(watch, mode))


def _entering(watch: Watch, mode: StepsAside, original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def enter() -> Any:
        if is_dynamo_compiling():
            return original()
        level = original()
        watch.attempt(mode.step_aside)
        return level

    return enter


def _leaving(watch: Watch, mode: StepsAside, original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def leave(*, level: Any = None) -> Any:
        if is_dynamo_compiling():
            return original(level=level)
        result = original(level=level)
        watch.attempt(mode.come_back)
        return result

    return leave


def _tracing(watch: Watch, mode: StepsAside, original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def trace(*args: Any, **kwargs: Any) -> Any:
        is_aside = not is_dynamo_compiling() and watch.attempt(mode.step_aside)
        try:
            return original(*args, **kwargs)
        finally:
            if is_aside:
                watch.attempt(mode.come_back)

    return trace


class _Making:
    """`torch.Tensor.__new__`, by which a subclass is made while the mode is away.  To dynamo, which knows torch's by
    identity, it is torch's own."""

    def __init__(self, watch: Watch, mode: StepsAside) -> None:
        make = torch.Tensor.__new__

        def __new__(cls: Any, /, *args: Any, **kwargs: Any) -> Any:  # noqa: N807
            is_aside = cls is not torch.Tensor and not is_dynamo_compiling() and watch.attempt(mode.step_aside)
            try:
                return make(cls, *args, **kwargs)
            finally:
                if is_aside:
                    watch.attempt(mode.come_back)

        self._original, self._new = make, __new__

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self._original if sys._getframe(1).f_code.co_filename.startswith(_DYNAMO) else self._new


def run(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call an operator from within a mode, as it is called without one."""
    how = _ways.get(func)
    if how is None:
        how = _ways[func] = _way(func)
    return how(func, args, kwargs)


def with_tensors(func: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """`args`, as `func` takes them."""
    if not any(type(given) in _HELD_AS for given in args):
        return args
    places = _of_tensors.get(func)
    if places is None:
        places = _of_tensors[func] = _tensors_alone(func)
    return tuple(
        torch.ops.aten.scalar_tensor.default(given, dtype=_HELD_AS[type(given)])
        if place in places and type(given) in _HELD_AS
        else given
        for place, given in enumerate(args)
    )


def _tensors_alone(func: Any) -> frozenset[int]:
    """The places of the arguments for which an operator takes tensors, and no numbers in their place."""
    if not (isinstance(func, torch_internals.OpOverload) and torch_internals.available("schema")):
        return frozenset()
    if torch_internals.takes_numbers(func.name().partition("::")[2].partition(".")[0]):
        return frozenset()
    arguments = torch_internals.schema(func).arguments
    return frozenset(place for place, argument in enumerate(arguments) if str(argument.type) == "Tensor")


def _plainly(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return func(*args, **kwargs)


def _asked_for(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The answer of the next mode, or of the tensor's class where there is none: whom torch asks alone."""
    tensor = args[0]
    answers = torch_internals.keys_of(tensor).has(torch_internals.DispatchKey.Python)
    types = (type(tensor),) if answers else ()
    if torch_internals.dispatch_modes():
        mode = torch_internals.pop_dispatch_mode()
        try:
            return mode.__torch_dispatch__(func, types, args, kwargs)
        finally:
            torch_internals.push_dispatch_mode(mode)
    return type(tensor).__torch_dispatch__(func, types, args, kwargs) if answers else func(*args, **kwargs)


def _counted(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    with torch_internals.ExcludeKeys(torch_internals.DispatchKey.ADInplaceOrView, False):
        return func(*args, **kwargs)


def _counted_below(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The same for an operator that has counted its own write already."""
    tensors = tree.tensors_of((args, kwargs))
    if not all(map(is_plain, tensors)):
        return func(*args, **kwargs)
    keys = torch_internals.DispatchKeySet(torch_internals.DispatchKey.Undefined)
    for tensor in tensors:
        keys = keys | torch_internals.keys_of(tensor)
    keys = (keys & torch_internals.below_views).remove(torch_internals.DispatchKey.BackendSelect)  # has no kernel
    stand_still = not torch_internals.counts_writes_within()
    with torch_internals.ExcludeKeys(torch_internals.DispatchKey.ADInplaceOrView, stand_still):
        return torch_internals.handle(func).redispatch_boxed(keys, *args, **kwargs)


def _way(func: Any) -> _Run:
    if MINDS_ANY_MODE and func is torch.ops.aten.detach.default and torch_internals.available("keys_of"):
        return _asked_for
    needs = ("ExcludeKeys", "DispatchKey", "has_kernel", "schema")
    if not (isinstance(func, torch_internals.OpOverload) and all(map(torch_internals.available, needs))):
        return _plainly
    if not torch_internals.schema(func).is_mutable:
        return _plainly
    if not torch_internals.has_kernel(func.name(), "ADInplaceOrView"):
        return _counted
    more = ("keys_of", "below_views", "handle", "DispatchKeySet")
    is_torchs = func.namespace == "aten"
    return _plainly if is_torchs or not all(map(torch_internals.available, more)) else _counted_below


_ways: dict[Any, _Run] = {}
_of_tensors: dict[Any, frozenset[int]] = {}


def is_plain(tensor: torch.Tensor) -> bool:
    """Is it a tensor of which no class of the script's hears what is done with it?"""
    return type(tensor) in (torch.Tensor, torch.nn.Parameter)
