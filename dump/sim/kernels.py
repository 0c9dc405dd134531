"""Running an operator called on npu tensors with its CPU kernel, over the same memory.

A kernel lowers its npu arguments to CPU tensors (no copy), redispatches to the CPU, and labels the results
npu (no copy).  It is the inner loop, so what the schema says was read beforehand (`operators.Plan`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch.autograd.graph import increment_version

from dump.sim import faults
from dump.sim.operators import Plan, is_composed, plan_of
from dump.sim.storage import (
    HOST,
    HOST_KEYS,
    Tensor,
    as_host,
    as_npu,
    rebind,
    same_memory,
    without_overrides,
)
from dump.torch_internals import below_autograd, boxed_call, handle

Kernel: TypeAlias = Callable[..., Any]

_calls: dict[str, list[int]] = {}
_kernels: dict[str, Kernel] = {}


def op_counts() -> dict[str, int]:
    """Calls answered so far in this process, by base name (`aten::addmm`); views are not counted."""
    return {name: tally[0] for name, tally in _calls.items() if tally[0]}


def tally_of(name: str) -> list[int]:
    """The one-element counter behind `op_counts` for a base name."""
    return _calls.setdefault(name, [0])


def lower(value: Any) -> Any:
    """What the CPU kernel gets for an argument: npu tensors as CPU tensors, also inside lists; the npu device
    as the CPU; everything else as it is.
    """
    if isinstance(value, Tensor):
        return value if value.is_cpu else as_host(value)
    if isinstance(value, (list, tuple)):
        return [lower(item) for item in value]
    if isinstance(value, torch.device):
        return HOST
    return value


def label(value: Any) -> Any:
    """A kernel's fresh results as npu tensors, also inside tuples and lists."""
    if isinstance(value, Tensor):
        return as_npu(value)
    if isinstance(value, (list, tuple)):
        return type(value)([label(item) for item in value])
    return value


def host_kernel(operator: Any) -> Kernel:
    """The CPU kernel of an operator, as a function of CPU tensors that skips autograd and autocast."""
    redispatch: Kernel = handle(operator).redispatch_boxed
    if not is_composed(operator.name()):
        return functools.partial(redispatch, HOST_KEYS)

    def composed(*args: Any, **kwargs: Any) -> Any:
        with below_autograd():
            return redispatch(HOST_KEYS, *args, **kwargs)

    return composed


def _loose_kernel(operator: Any) -> Kernel:
    """As `host_kernel`, and takes Python numbers for tensors (`x * 2`), which redispatching does not."""
    call: Kernel = boxed_call(operator)

    def loose(*args: Any, **kwargs: Any) -> Any:
        with below_autograd():
            return call(*args, **kwargs)

    return loose


def kernel_for(operator: Any) -> Kernel:
    """The npu kernel of an operator that computes; made once for each overload."""
    name = operator.name()
    kernel = _kernels.get(name)
    if kernel is None:
        plan = plan_of(operator)
        make = _writing_kernel if plan.writes else _pure_kernel
        kernel = _kernels[name] = make(plan, host_kernel(operator), _loose_kernel(operator))
    return kernel


def view_kernel(operator: Any) -> Kernel:
    """The npu kernel of an operator that only re-describes memory: the CPU's, on npu tensors."""
    return functools.partial(handle(operator).redispatch_boxed, HOST_KEYS)


def fallback(operator: Any, *args: Any, **kwargs: Any) -> Any:
    """Answers every operator without a kernel of its own on the device, such as a user's custom operator."""
    return kernel_for(operator)(*args, **kwargs)


def _pure_kernel(plan: Plan, host: Kernel, loose: Kernel) -> Kernel:
    """For operators that only make new tensors.  Both makers spell the loop out: it runs on every call."""
    name, single, lists, tally = plan.name, plan.single, plan.lists, tally_of(plan.name)
    active = faults.ACTIVE

    def kernel(*args: Any, **kwargs: Any) -> Any:
        with without_overrides():
            tally[0] += 1
            lowered = list(args)
            count = len(lowered)
            run = host
            for i in single:
                if i < count:
                    x = lowered[i]
                    if isinstance(x, Tensor):
                        if not x.is_cpu:
                            lowered[i] = as_host(x)
                    elif x is not None:
                        run = loose
            for i in lists:
                if i < count:
                    lowered[i] = lower(lowered[i])
            if kwargs:
                kwargs = {key: lower(value) for key, value in kwargs.items()}
            out = faults.launch(plan, run, lowered, kwargs) if name in active else run(*lowered, **kwargs)
            return as_npu(out) if isinstance(out, Tensor) else label(out)

    return kernel


def _writing_kernel(plan: Plan, host: Kernel, loose: Kernel) -> Kernel:
    """For operators that write into arguments (`add_`, `add.out`), and return those."""
    name, single, lists, tally = plan.name, plan.single, plan.lists, tally_of(plan.name)
    active, resizes = faults.ACTIVE, plan.resizes
    counts_versions = any(i in plan.lists for i in plan.written)
    alone = plan.returned[0] if len(plan.returned) == 1 else None

    def kernel(*args: Any, **kwargs: Any) -> Any:
        with without_overrides():
            tally[0] += 1
            lowered = list(args)
            count = len(lowered)
            run = host
            for i in single:
                if i < count:
                    x = lowered[i]
                    if isinstance(x, Tensor):
                        if not x.is_cpu:
                            lowered[i] = as_host(x)
                    elif x is not None:
                        run = loose
            for i in lists:
                if i < count:
                    lowered[i] = lower(lowered[i])
            keywords = {key: lower(value) for key, value in kwargs.items()} if kwargs else kwargs
            out = faults.launch(plan, run, lowered, keywords) if name in active else run(*lowered, **keywords)
            if resizes:
                _follow(plan, args, kwargs, lowered, keywords)
            if counts_versions:
                _count_versions(plan, args)
            if alone is None:
                return _results(plan, args, kwargs, out)
            return kwargs[alone] if isinstance(alone, str) else args[alone]

    return kernel


def _count_versions(plan: Plan, args: Any) -> None:
    """Move the version counters of written lists (`_foreach_add_`), as the kernels of other devices do themselves;
    for single arguments the dispatcher has done it."""
    for i in plan.written:
        if i in plan.lists and i < len(args):
            increment_version([x for x in args[i] if not x.is_inference()])


def _follow(plan: Plan, args: Any, kwargs: Any, lowered: Any, keywords: Any) -> None:
    """Re-describe the written npu tensors that the CPU kernel has given another shape or other memory."""
    pairs = [(args[i], lowered[i]) for i in plan.written if i < len(args)]
    pairs += [(kwargs[key], keywords[key]) for key in plan.written_names if key in kwargs]
    for npu, host in pairs:
        several = isinstance(npu, (list, tuple))
        for x, lowered_x in zip(npu, host, strict=True) if several else ((npu, host),):
            if x is not None and x is not lowered_x and not same_memory(x, lowered_x):
                rebind(x, lowered_x)


def _results(plan: Plan, args: Any, kwargs: Any, out: Any) -> Any:
    """Each result as the written argument that it is, or labelled where it is a new tensor."""
    if not plan.returned:
        return None
    values = out if len(plan.returned) > 1 else (out,)
    found = []
    for owner, value in zip(plan.returned, values, strict=True):
        if owner is None:
            found.append(label(value))
        else:
            found.append(kwargs[owner] if isinstance(owner, str) else args[owner])
    return tuple(found) if len(found) > 1 else found[0]
