"""API calls: a light closure on each attribute that holds an operator.

The closure costs a fraction of a microsecond while nobody listens.  Calls inside a recorded call are not
recorded: what the user called is.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection
from typing import Any, TypeAlias

import torch
from torch.overrides import handle_torch_function, has_torch_function

from ..torch_internals import function_mode
from . import calls, catalog
from .modules import runs_forward
from .patching import Patches
from .points import in_short
from .scripted_code import let_scripts_compile, name_original
from .watch import Progress, Watch

Function: TypeAlias = "Callable[..., Any]"

# Batch norms update their running statistics inside the kernel: where the first of the two stands.
_BATCH_NORMS = {"Functional.batch_norm": 1, "Torch.batch_norm": 3, "Torch.native_batch_norm": 3}

_is_traced_by_dynamo = torch.compiler.is_dynamo_compiling


def install(watch: Watch, patches: Patches, *, came_first: bool) -> dict[str, str]:
    """Wrap every operator of the catalog; of those that could not be wrapped, the reason, by name.

    `came_first` says that no code of the user's has run yet, so that whatever it will remember of torch's
    functions are our stand-ins; else it may remember the originals.
    """
    function_mode()  # asked by every stand-in: what this torch makes of it is to be known here
    stand_ins: dict[tuple[int, str], Function] = {}
    originals: dict[Function, Function] = {}
    left_out: dict[str, str] = {}
    for operator in catalog.operators():
        key = f"{operator.prefix}.{operator.api}"
        try:
            original = getattr(operator.owner, operator.attribute)
            stand_in = stand_ins.get((id(original), key))
            if stand_in is None:
                stand_in = wrap(original, key, watch, came_first=came_first)
                stand_ins[id(original), key] = stand_in
                originals[stand_in] = original
            patches.replace(operator.owner, operator.attribute, stand_in)
        except Exception as error:  # an attribute that cannot be set, or is no function any more
            left_out[key] = in_short(error)
    let_scripts_compile(originals, patches)
    return left_out


def wrap(original: Function, key: str, watch: Watch, *, came_first: bool) -> Function:
    """A stand-in for `original` that records its calls under `key` (`Torch.matmul`) while someone listens."""

    def recorded(*args: Any, **kwargs: Any) -> Any:
        if _is_traced_by_dynamo():
            return original(*args, **kwargs)
        run = overridden if has_torch_function(args) and _is_users_override(args) else original
        if watch.recorder is None or watch.busy:
            return run(*args, **kwargs)
        if watch.listening() or ends_setup(watch, args):
            return record(watch, key, run, args, kwargs)
        return run(*args, **kwargs)

    def overridden(*args: Any, **kwargs: Any) -> Any:
        """Tensor subclasses know functions by identity, so they get the one that they could learn."""
        return handle_torch_function(recorded if came_first else original, args, *args, **kwargs)

    recorded.__name__ = recorded.__qualname__ = key.rpartition(".")[2]
    functools.update_wrapper(recorded, original)
    name_original(recorded, original)
    return recorded


def _is_users_override(args: tuple[Any, ...]) -> bool:
    """Does a `__torch_function__` outside torch answer this call?  Torch's own go by what its C++ hands out."""
    mode = function_mode()
    kinds = [] if mode is None else [type(mode)]
    kinds += [type(arg) for arg in args if hasattr(type(arg), "__torch_function__")]
    return any(kind.__module__.partition(".")[0] != "torch" for kind in kinds)


def ends_setup(watch: Watch, args: tuple[Any, ...]) -> bool:
    """A script's set-up (building the model, drawing its weights) ends with the first outermost module call, with the
    first call within a module's `forward`, or with the first that builds a graph.  If this is such a call, it ends
    here; on the thread where it does, the script trains."""
    if watch.busy or (watch.is_our_thread() and not watch.setting_up):
        return False
    if torch.is_grad_enabled() and any(isinstance(arg, torch.Tensor) and arg.requires_grad for arg in args):
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

    def begin() -> calls.OpenCall | None:
        assert watch.recorder is not None
        name = f"{key}.{watch.recorder.number(key)}.forward"
        return calls.begin(watch, name, args=args, kwargs=kwargs, owner=watch.owner)

    call = watch.guard(begin)
    watch.busy = True
    try:
        output = run(*args, **kwargs)
    finally:
        watch.busy = False
    if call is not None:
        watch.guard(
            lambda: calls.finish(
                watch,
                call,
                output,
                writes_unseen=call.places if writes else _writes_unseen(key, args, kwargs),
            )
        )
    return output


def _writes_unseen(key: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Collection[str]:
    """The places of the arguments that `key` writes without moving their version counters."""
    if key not in _BATCH_NORMS:
        return ()
    training = args[5] if len(args) > 5 else kwargs.get("training", False)
    first = _BATCH_NORMS[key]
    positions = (f"input.{first}", f"input.{first + 1}")
    return (*positions, "input.running_mean", "input.running_var") if training else ()
