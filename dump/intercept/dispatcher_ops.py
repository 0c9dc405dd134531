"""Calls that no attribute of torch holds: a custom `torch.autograd.Function`, and `torch.ops.NAMESPACE.OP`.

Each kind goes through one method of torch's, which is where it is met, so that the objects themselves stay what they
are: `torch_npu.npu_rms_norm` keeps its overloads and its identity, and torch.compile knows it.

A Function is recorded around what its `forward` calls, as a module is: those calls keep their own records, and its
gradients are those that its `backward` read and wrote.  torch's own Functions (checkpointing, DDP) are no operators
and make no record.  Of overloads called by name (`torch.ops.mine.op.default`, which is also how a
`torch.library.custom_op` is called) those outside torch's own namespaces are recorded: torch calls its own all the
time, inside what its users call.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.overrides import has_torch_function

from ..older_torch import is_dynamo_compiling
from ..torch_internals import OpOverload, OpOverloadPacket, function_behind, packet_name, schema
from . import apis, calls
from .naming import NAMES, NOT_RECORDED
from .patching import Patches
from .points import Point
from .watch import Watch

_PLUMBING = frozenset({"torch", __name__.partition(".")[0]})
# Namespaces of torch's own, whose overloads its Python code calls.
_TORCHS_OWN = NOT_RECORDED | {
    "_dtensor", "_inductor_test", "_quantized", "aten", "aten_prims", "debugprims", "export", "fsdp", "higher_order",
    "inductor", "mkl", "mkldnn", "mkldnn_prepacked", "onednn", "quantized", "quantized_decomposed", "rngprims",
    "streams", "symm_mem",
}  # fmt: skip


def points(watch: Watch) -> Iterator[Point]:
    """Each kind of such calls, met by itself."""
    yield Point("custom autograd Functions", lambda patches: install_functions(watch, patches))
    yield Point(
        "calls through torch.ops",
        lambda patches: install_packets(watch, patches),
        needs=("OpOverloadPacket", "packet_name"),
    )
    yield Point(
        "calls of overloads of custom operators",
        lambda patches: install_overloads(watch, patches),
        needs=("OpOverload", "schema"),
    )


def install_packets(watch: Watch, patches: Patches) -> None:
    """Record direct calls of registered operators: `torch.ops.mine.op(x)`."""
    _follow(OpOverloadPacket, _name_of_packet, watch, patches)


def install_overloads(watch: Watch, patches: Patches) -> None:
    """Record direct calls of overloads that are not torch's own: `torch.ops.mine.op.default(x)`."""
    _follow(OpOverload, _name_of_overload, watch, patches)


def install_functions(watch: Watch, patches: Patches) -> None:
    """Record custom autograd Functions."""
    original = function_behind(torch.autograd.Function, "apply")

    @functools.wraps(original)
    def apply(cls: type[torch.autograd.Function], *args: Any, **kwargs: Any) -> Any:
        if watch.recorder is None or watch.busy or is_dynamo_compiling() or not _is_users(cls):
            return original(cls, *args, **kwargs)
        call = watch.guard(lambda: _begin(watch, cls, args, kwargs)) if watch.listening() else None
        output = original(cls, *args, **kwargs)
        if call is not None:
            watch.guard(lambda: calls.finish(watch, call, output))
        return output

    patches.replace(torch.autograd.Function, "apply", classmethod(apply))


def _is_users(function: type) -> bool:
    return function.__module__.partition(".")[0] not in _PLUMBING


def _begin(watch: Watch, function: type, args: tuple[Any, ...], kwargs: dict[str, Any]) -> calls.OpenCall | None:
    assert watch.recorder is not None
    key = f"Autograd.{function.__name__}"
    name = f"{key}.{watch.recorder.number(key)}.forward"
    return calls.begin(watch, name, args=args, kwargs=kwargs, owner=watch.owner)


def _follow(kind: Any, name_of: Callable[[Any], str | None], watch: Watch, patches: Patches) -> None:
    """Record calls of the objects of class `kind`; `name_of` gives the full name of one, or None to let it pass."""
    original: Any = kind.__call__
    stand_ins: dict[tuple[Any, str], Callable[..., Any]] = {}

    def stand_in_for(called: Any, args: tuple[Any, ...]) -> Callable[..., Any] | None:
        qualified = name_of(called)
        if qualified is None or has_torch_function(args):  # the override comes back here with what it made of it
            return None
        key = NAMES.key(qualified)
        stand_in = stand_ins.get((called, key))
        if stand_in is None:
            run = functools.partial(original, called)
            stand_in = stand_ins[called, key] = apis.wrap(run, key, watch, called_through=1)
        return stand_in

    @functools.wraps(original)
    def __call__(self: Any, /, *args: Any, **kwargs: Any) -> Any:  # noqa: N807
        if watch.recorder is None or watch.busy:
            return original(self, *args, **kwargs)
        stand_in = watch.attempt(stand_in_for, self, args)
        return original(self, *args, **kwargs) if stand_in is None else stand_in(*args, **kwargs)

    patches.replace(kind, "__call__", __call__)


def _name_of_packet(packet: Any) -> str | None:
    qualified: str = packet_name(packet)
    return None if qualified.partition("::")[0] in NOT_RECORDED else qualified


def _name_of_overload(overload: Any) -> str | None:
    return None if overload.namespace in _TORCHS_OWN else str(schema(overload).name)
