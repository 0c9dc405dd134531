"""Calls that no attribute of torch holds: a custom `torch.autograd.Function`, and `torch.ops.NAMESPACE.OP`.

Both go through one method of torch's, which is where they are met.  A Function is recorded around what its
`forward` calls, as a module is: those calls keep their own records, and its gradients are those that its
`backward` read and wrote.  torch's own Functions (checkpointing, DDP) are no operators and make no record.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch.overrides import has_torch_function

from . import apis, calls
from .patching import Patches
from .watch import Watch

_is_traced_by_dynamo = torch.compiler.is_dynamo_compiling
_PLUMBING = frozenset({"torch", __name__.partition(".")[0]})
# Collectives called past torch.distributed return before their results are there.
NOT_RECORDED = frozenset({"profiler", "prim", "prims", "c10d", "_c10d_functional", "c10d_functional"})


def install(watch: Watch, patches: Patches) -> None:
    """Record custom autograd Functions and direct calls of registered operators."""
    _follow_functions(watch, patches)
    _follow_packets(watch, patches)


def operator_key(qualified: str) -> str:
    """What calls of a registered operator are named: `aten::relu` -> `Aten.relu`, `npu::x` -> `NPU.x`, `mine::x`
    -> `Torch.mine.x`, as msprobe names what it sees of the dispatcher."""
    namespace, _, name = qualified.partition("::")
    prefix = {"aten": "Aten", "npu": "NPU"}.get(namespace)
    return f"{prefix}.{name}" if prefix is not None else f"Torch.{namespace}.{name}"


def _follow_functions(watch: Watch, patches: Patches) -> None:
    original: Callable[..., Any] = vars(torch.autograd.Function)["apply"].__func__

    @functools.wraps(original)
    def apply(cls: type[torch.autograd.Function], *args: Any, **kwargs: Any) -> Any:
        if watch.recorder is None or watch.busy or _is_traced_by_dynamo() or not _is_users(cls):
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


def _follow_packets(watch: Watch, patches: Patches) -> None:
    original: Any = torch._ops.OpOverloadPacket.__call__
    stand_ins: dict[str, Callable[..., Any]] = {}

    @functools.wraps(original)
    def __call__(self: Any, /, *args: Any, **kwargs: Any) -> Any:  # noqa: N807
        # `getattr` of a packet looks for overloads; the name is an attribute of the instance.
        qualified: str = vars(self)["_qualified_op_name"]
        is_operator = qualified.partition("::")[0] not in NOT_RECORDED
        if watch.recorder is None or watch.busy or not is_operator or has_torch_function(args):
            return original(self, *args, **kwargs)
        stand_in = stand_ins.get(qualified)
        if stand_in is None:
            run = functools.partial(original, self)
            stand_in = stand_ins[qualified] = apis.wrap(run, operator_key(qualified), watch, came_first=True)
        return stand_in(*args, **kwargs)

    patches.replace(torch._ops.OpOverloadPacket, "__call__", __call__)
