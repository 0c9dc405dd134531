"""API calls: each operator of the catalog is followed in the way that its kind allows.

That costs a fraction of a microsecond a call while nobody listens.  Calls inside a recorded call are not recorded: what
the user called is.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection
from types import FunctionType
from typing import Any, TypeAlias

import torch

from .. import torch_internals
from ..older_torch import is_dynamo_compiling
from ..record.reading import requires_grad
from . import callers, calls, catalog
from .callers import in_the_name_of
from .in_place import RecordedMethod, redirect, redirect_in_c, restore_in_c
from .modules import runs_forward
from .patching import Patches
from .points import in_short
from .references import exchange
from .scripted_code import let_scripts_compile, let_traces_name, name_original
from .stand_ins import StandIn
from .watch import Progress, Watch

Function: TypeAlias = "Callable[..., Any]"

# Batch norms update their running statistics inside the kernel: where the first of the two stands.
_BATCH_NORMS = {"Functional.batch_norm": 1, "Torch.batch_norm": 3, "Torch.native_batch_norm": 3}
# A gradient scaler divides the gradients of its list inside the kernel.
_UNSCALES = f"Torch.{catalog.UNSCALE}"


class ApiCalls:
    """Follows the calls of every operator of the catalog, each function under its first name there."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._redirected: dict[int, Any] = {}
        self._stand_ins: dict[int, RecordedFunction] = {}

    def install(self, patches: Patches) -> dict[str, str]:
        """Torch is patched by `patches`; of the operators that cannot be followed, the reason, by name.

        Whoever undoes the patches calls `remove` next.
        """
        followed: set[FunctionType] = set()
        left_out: dict[str, str] = {}
        for operator in catalog.operators():
            key = f"{operator.prefix}.{operator.api}"
            try:
                self._follow(operator, key, patches, followed)
            except Exception as error:  # an attribute that cannot be set, or is no function any more
                left_out[key] = in_short(error)
        self._hand_out(patches)
        stand_ins = self._stand_ins
        let_scripts_compile({id(stand_in): number for number, stand_in in stand_ins.items()}, patches)
        let_traces_name(patches)
        if stand_ins:
            exchange(stand_ins)
        return left_out

    def _follow(self, operator: catalog.Operator, key: str, patches: Patches, followed: set[FunctionType]) -> None:
        original = getattr(operator.owner, operator.attribute)
        if isinstance(original, FunctionType):
            if original not in followed:
                followed.add(original)
                redirect(original, functools.partial(wrap, key=key, watch=self._watch, called_through=1), patches)
        elif isinstance(operator.owner, type):
            method = RecordedMethod(original, wrap(original, key, self._watch), self._watch)
            patches.replace(operator.owner, operator.attribute, method)
        elif id(original) not in self._redirected:
            stand_in = self._stand_ins.get(id(original))
            if stand_in is None and redirect_in_c(original, functools.partial(wrap, key=key, watch=self._watch)):
                self._redirected[id(original)] = original
                return
            if stand_in is None:
                stand_in = self._stand_ins[id(original)] = RecordedFunction(original, key, self._watch)
            patches.replace(operator.owner, operator.attribute, stand_in)

    def _hand_out(self, patches: Patches) -> None:
        """Let torch's C++ find the stand-ins where it looks a function up for `__torch_function__`."""
        functions = torch_internals.functions
        for name in dir(functions):
            stand_in = self._stand_ins.get(id(getattr(functions, name)))
            if stand_in is not None:
                patches.replace(type(functions), name, stand_in)

    def remove(self) -> None:
        """Put the originals back where the stand-ins have gone since."""
        callers.forget()
        while self._redirected:
            restore_in_c(self._redirected.popitem()[1])
        if self._stand_ins:
            exchange({id(stand_in): stand_in.original for stand_in in self._stand_ins.values()})
            self._stand_ins.clear()


class RecordedFunction(StandIn):
    """A function in C whose calls are recorded under `key` (`Torch.matmul`) while someone listens."""

    __slots__ = ("_key", "_watch")

    def __init__(self, original: Any, key: str, watch: Watch) -> None:
        super().__init__(original)
        self._key, self._watch = key, watch

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        if is_dynamo_compiling():
            return self.original(*args, **kwargs)
        watch, run = self._watch, self.original
        try:
            run = in_the_name_of(1, run)
        except Exception as error:
            watch.failed(error, __file__)
        try:
            return record(watch, self._key, run, args, kwargs) if listens(watch, args) else run(*args, **kwargs)
        except BaseException as error:
            raise error.with_traceback(callers.beyond(error.__traceback__))  # noqa: B904  # it is the same error


def wrap(original: Function, key: str, watch: Watch, *, called_through: int = 0) -> Function:
    """A stand-in for `original` that records its calls under `key` (`Torch.matmul`) while someone listens.

    `called_through` frames of ours lie between it and its caller.
    """

    def recorded(*args: Any, **kwargs: Any) -> Any:
        if is_dynamo_compiling():
            return original(*args, **kwargs)
        run = original
        try:
            run = in_the_name_of(1 + called_through, original)
        except Exception as error:
            watch.failed(error, __file__)
        try:
            return record(watch, key, run, args, kwargs) if listens(watch, args) else run(*args, **kwargs)
        except BaseException as error:
            raise error.with_traceback(callers.beyond(error.__traceback__))  # noqa: B904  # it is the same error

    recorded.__name__ = recorded.__qualname__ = key.rpartition(".")[2]
    functools.update_wrapper(recorded, original)
    name_original(recorded, original)
    return recorded


def listens(watch: Watch, args: tuple[Any, ...]) -> bool:
    """Is this call to be recorded?  Where that cannot be told, no."""
    try:
        return watch.recorder is not None and not watch.busy and (watch.listening() or ends_setup(watch, args))
    except Exception as error:
        watch.failed(error, __file__)
        return False


def ends_setup(watch: Watch, args: tuple[Any, ...]) -> bool:
    """A script's set-up (building the model, drawing its weights) ends with the first outermost module call, with the
    first call within a module's `forward`, or with the first that builds a graph.  If this is such a call, it ends
    here; on the thread where it does, the script trains."""
    if watch.busy or (watch.is_our_thread() and not watch.setting_up):
        return False
    watch.look_again()
    with torch_internals.without_overrides():
        builds_graph = torch.is_grad_enabled() and any(
            issubclass(type(arg), torch.Tensor) and requires_grad(arg) for arg in args
        )
    if builds_graph:
        if watch.claim(Progress.builds_graph):
            watch.setting_up = False
    elif runs_forward() and watch.claim(Progress.calls_model):
        watch.end_setup()
    return watch.listening()


def record(
    watch: Watch, key: str, run: Function, args: tuple[Any, ...], kwargs: dict[str, Any], *, writes: bool = False
) -> Any:
    """Make the call, one forward record of it, and, when backward comes, one backward record.

    `writes` says that it may write into any of its tensor arguments without moving their version counters, as a
    kernel does that is handed pointers.
    """
    call = watch.guard(_begin, watch, key, args, kwargs)
    watch.busy = True
    try:
        output = run(*args, **kwargs)
    finally:
        watch.busy = False
    if call is not None:
        watch.guard(_finish, watch, call, output, key, args, kwargs, writes)
    return output


def _begin(watch: Watch, key: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> calls.OpenCall | None:
    assert watch.recorder is not None
    name = f"{key}.{watch.recorder.number(key)}.forward"
    return calls.begin(watch, name, args=args, kwargs=kwargs, owner=watch.owner)


def _finish(
    watch: Watch,
    call: calls.OpenCall,
    output: Any,
    key: str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    writes: bool,
) -> None:
    unseen = call.places if writes else _writes_unseen(key, call.places, args, kwargs)
    calls.finish(watch, call, output, writes_unseen=unseen)


def _writes_unseen(key: str, places: Collection[str], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Collection[str]:
    """Of the places of the arguments, those that `key` writes without moving their version counters."""
    if key == _UNSCALES:
        return [place for place in places if place.startswith(("input.0.", "input.self."))]
    if key not in _BATCH_NORMS:
        return ()
    training = args[5] if len(args) > 5 else kwargs.get("training", False)
    first = _BATCH_NORMS[key]
    positions = (f"input.{first}", f"input.{first + 1}")
    return (*positions, "input.running_mean", "input.running_var") if training else ()
