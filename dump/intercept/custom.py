"""Callables of the user's own, recorded because their names were registered: functions, methods, Triton kernels.

A function is replaced on its module while a session is installed.  A Triton kernel stays the object that it is, for
other kernels and torch.compile know it by its type: its `run`, through which `kernel[grid](...)` goes, is replaced on
the instance.  Operators that torch has registered are recorded anyway (`intercept.dispatcher_ops`); registering them
here names their calls as msprobe does.
"""

from __future__ import annotations

import functools
import inspect
import re
import weakref
from collections.abc import Callable, Collection
from dataclasses import dataclass
from types import FunctionType
from typing import Any

import torch

from ..format.errors import ConfigError, told_in_one_line
from ..format.names import MODULE_PREFIXES, UNKNOWN
from ..older_torch import is_dynamo_compiling
from ..torch_internals import CustomOpDef, OpOverload, OpOverloadPacket, custom_op_name, packet_name, schema
from . import apis
from .naming import NAMES
from .patching import Patches
from .points import in_short
from .scripted_code import name_original
from .watch import Watch

_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)
_NO_PREFIXES = frozenset({*MODULE_PREFIXES, UNKNOWN, "Optimizer", "Saved"})  # records of another shape or kind
_ANONYMOUS = "Custom"


@dataclass(frozen=True, slots=True)
class CustomApi:
    """`owner.attribute` is recorded as `key`; `writes` where it may write into its arguments unseen."""

    owner: Any
    attribute: str
    key: str
    writes: bool


_registered: dict[tuple[int, str], CustomApi] = {}


@told_in_one_line
def register_custom_api(module: Any, api: str, api_prefix: str | None = None, *, writes: bool = False) -> None:
    """Record calls of `module.api` as `{api_prefix}.{api}`, from now on and in sessions to come.

    `module` is what the function is looked up on when it is called: a module or a class; `api_prefix` is its name
    unless given.  `writes` says that the function writes into its tensor arguments past torch's version counter, as
    code does that hands out pointers; of a Triton kernel that is known.  Registering again replaces the prefix.

        register_custom_api(my_kernels, "fused_bias_gelu")
        register_custom_api(my_kernels, "add_kernel", "Triton")     # @triton.jit, called as add_kernel[grid](...)

    >>> import types
    >>> kernels = types.SimpleNamespace(twice=lambda x: x + x)
    >>> register_custom_api(kernels, "twice", "Mine")
    >>> restore_custom_api(kernels, "twice")

    Raises ConfigError where there is no such callable, or where it needs no registering: modules and
    `torch.autograd.Function`s are recorded anyway.
    """
    prefix = _checked_prefix(api_prefix if api_prefix is not None else _name_of(module))
    if not isinstance(api, str) or not hasattr(module, api):
        raise ConfigError(
            f"register_custom_api: {_shown(module)} has no {api!r}. Give the name of one of its functions."
        )
    _refuse_other(getattr(module, api), f"{_shown(module)}.{api}")
    restore_custom_api(module, api)
    operator = _operator_name(getattr(module, api))
    if operator is not None:
        NAMES.name_operator(operator, prefix)
        return
    custom = _registered[id(module), api] = CustomApi(module, api, f"{prefix}.{api}", writes)
    for session in list(_following):
        session.follow(custom)


@told_in_one_line
def restore_custom_api(module: Any, api: str) -> None:
    """Record calls of `module.api` no more, and put back what stood there, where it is registered; see
    `register_custom_api`."""
    operator = _operator_name(getattr(module, api, None))
    if operator is not None:
        NAMES.forget_operator(operator)
    if _registered.pop((id(module), api), None) is not None:
        for session in list(_following):
            session.leave((id(module), api))


@told_in_one_line
def register_custom_ops(namespace: Any, names: Collection[str] | None = None, api_prefix: str | None = None) -> None:
    """Name calls of the operators in `torch.ops.NAMESPACE` `{api_prefix}.{operator}`, as msprobe does, rather than
    `Torch.NAMESPACE.operator`.

    `namespace` is its name or the object `torch.ops.NAMESPACE`; `api_prefix` is the name unless given.  `names`
    chooses some of its operators; without it all are meant, those registered later too.

        register_custom_ops("_C_ascend")
        register_custom_ops(torch.ops.mine, ["swiglu"], "Fused")

    >>> register_custom_ops("mine", api_prefix="Fused")
    >>> NAMES.key("mine::swiglu")
    'Fused.swiglu'
    >>> restore_custom_ops("mine")
    >>> NAMES.key("mine::swiglu")
    'Torch.mine.swiglu'

    Raises ConfigError for a namespace or a prefix that is no name, and for operators that are not there.
    """
    space = _namespace(namespace)
    prefix = _checked_prefix(api_prefix if api_prefix is not None else space)
    if names is None:
        NAMES.name_namespace(space, prefix)
        return
    if isinstance(names, str):
        raise ConfigError(f"register_custom_ops: names: expected a list of operators, found {names!r}.")
    missing = [name for name in names if not hasattr(getattr(torch.ops, space), name)]
    if missing:
        raise ConfigError(
            f"register_custom_ops: torch.ops.{space} has no {', '.join(missing)}. Import what defines it."
        )
    for name in names:
        NAMES.name_operator(f"{space}::{name}", prefix)


@told_in_one_line
def restore_custom_ops(namespace: Any, names: Collection[str] | None = None) -> None:
    """Undo the same call of another function; see `register_custom_ops`."""
    space = _namespace(namespace)
    if names is None:
        NAMES.forget_namespace(space)
    for name in names or ():
        NAMES.forget_operator(f"{space}::{name}")


class CustomApis:
    """What is registered, followed on behalf of one session between `install` and `remove`."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._patches: dict[tuple[int, str], Patches] = {}

    def install(self) -> dict[str, str]:
        """Follow what is registered; of what could not be followed, the reason, by its key."""
        _following.add(self)
        left_out: dict[str, str] = {}
        for custom in _registered.values():
            try:
                self.follow(custom)
            except Exception as error:  # the module has changed since it was registered
                left_out[custom.key] = in_short(error)
        return left_out

    def follow(self, custom: CustomApi) -> None:
        """Record calls of `custom` while the session listens."""
        patches = self._patches[id(custom.owner), custom.attribute] = Patches()
        thing = getattr(custom.owner, custom.attribute)
        if _is_kernel(thing):
            patches.replace(thing, "run", _recording_launches(thing.run, custom.key, self._watch))
        elif hasattr(type(thing), "__getitem__"):
            patches.replace(custom.owner, custom.attribute, _Subscripted(thing, custom.key, self._watch))
        else:
            found = inspect.getattr_static(custom.owner, custom.attribute)
            bind = type(found) if isinstance(found, (staticmethod, classmethod)) else _as_it_is
            original = found.__func__ if bind is classmethod else thing
            stand_in = _recording_calls(original, custom.key, self._watch, writes=custom.writes)
            patches.replace(custom.owner, custom.attribute, bind(stand_in))

    def leave(self, place: tuple[int, str]) -> None:
        """Put back what stood at `place`."""
        patches = self._patches.pop(place, None)
        if patches is not None:
            patches.restore()

    def remove(self) -> None:
        """Put everything back, the last first."""
        _following.discard(self)
        for place in reversed(list(self._patches)):
            self.leave(place)


_following: weakref.WeakSet[CustomApis] = weakref.WeakSet()


def _recording_calls(original: Callable[..., Any], key: str, watch: Watch, *, writes: bool) -> Callable[..., Any]:
    """A stand-in for a function.  Unlike torch's operators it knows no `__torch_function__`."""

    def recorded(*args: Any, **kwargs: Any) -> Any:
        if is_dynamo_compiling() or not apis.listens(watch, args):
            return original(*args, **kwargs)
        return apis.record(watch, key, original, args, kwargs, writes=writes)

    functools.update_wrapper(recorded, original)
    name_original(recorded, original)
    if isinstance(original, FunctionType):  # dynamo of torch 2.4 looks here for what it finds in the original
        recorded.__defaults__, recorded.__kwdefaults__ = original.__defaults__, original.__kwdefaults__
    return recorded


def _recording_launches(run: Callable[..., Any], key: str, watch: Watch) -> Callable[..., Any]:
    """A stand-in for a Triton kernel's `run(*args, grid=..., warmup=..., **kwargs)`, which returns a handle of its own.

    The kernel is handed pointers: what it has written moves no version counter.
    """

    def launched(*args: Any, grid: Any = None, warmup: bool = False, **kwargs: Any) -> Any:
        handles: list[Any] = []

        def launch(*args: Any, **kwargs: Any) -> None:
            handles.append(run(*args, grid=grid, warmup=warmup, **kwargs))

        if warmup or not apis.listens(watch, args):
            launch(*args, **kwargs)
        else:
            apis.record(watch, key, launch, args, kwargs, writes=True)
        return handles[0]

    return launched


class _Subscripted:
    """A stand-in for a kernel that is told its grid in brackets and has no `run`: `kernel[blocks, threads](x)`."""

    def __init__(self, original: Any, key: str, watch: Watch) -> None:
        self._original, self._key, self._watch = original, key, watch

    def __getitem__(self, grid: Any) -> Callable[..., Any]:
        return _recording_calls(self._original[grid], self._key, self._watch, writes=True)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return _recording_calls(self._original, self._key, self._watch, writes=True)(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)


def _is_kernel(thing: Any) -> bool:
    """Is it a Triton kernel, jitted, autotuned or with heuristics, or made like one?"""
    return hasattr(type(thing), "__getitem__") and callable(getattr(thing, "run", None))


def _as_it_is(function: Callable[..., Any]) -> Callable[..., Any]:
    return function


def _operator_name(thing: Any) -> str | None:
    """`mine::op` where `thing` is an operator that torch has registered."""
    if isinstance(thing, OpOverloadPacket):
        return str(packet_name(thing))
    if isinstance(thing, OpOverload):
        return str(schema(thing).name)
    return str(custom_op_name(thing)) if isinstance(thing, CustomOpDef) else None


def _refuse_other(thing: Any, where: str) -> None:
    if isinstance(thing, torch.nn.Module) or (isinstance(thing, type) and issubclass(thing, torch.autograd.Function)):
        raise ConfigError(f"register_custom_api: {where} is recorded without being registered.")
    if isinstance(thing, type) or not (callable(thing) or _is_kernel(thing)):
        raise ConfigError(f"register_custom_api: {where}: expected a function, found {type(thing).__name__}.")


def _checked_prefix(prefix: Any) -> str:
    if not isinstance(prefix, str) or not _NAME.fullmatch(prefix) or prefix.partition(".")[0] in _NO_PREFIXES:
        raise ConfigError(f"api_prefix: expected a name such as 'Triton', not one of {_listed()}, found {prefix!r}.")
    return prefix


def _listed() -> str:
    return ", ".join(sorted(_NO_PREFIXES))


def _name_of(module: Any) -> str:
    name = getattr(module, "__name__", None)
    return name if isinstance(name, str) and _NAME.fullmatch(name) else _ANONYMOUS


def _namespace(namespace: Any) -> str:
    name = namespace if isinstance(namespace, str) else getattr(namespace, "name", None)
    if not isinstance(name, str) or not name.isidentifier():
        raise ConfigError(f"register_custom_ops: expected the name of a namespace of torch.ops, found {namespace!r}.")
    return name


def _shown(module: Any) -> str:
    return str(getattr(module, "__name__", None) or f"an object of type {type(module).__name__}")
