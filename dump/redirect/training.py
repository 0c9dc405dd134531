"""What training scripts are made of besides tensors: mixed precision, loaders, checkpoints, several processes."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import amp
from torch.utils.data import DataLoader

from .. import torch_internals
from ..intercept.patching import Patches
from ..older_torch import grad_scaler
from .arguments import Target, placed

Function: TypeAlias = Callable[..., Any]

_AUTOCAST_QUESTIONS = ("is_autocast_enabled", "get_autocast_dtype", "set_autocast_enabled", "set_autocast_dtype")
_BACKENDS = {"cpu": "gloo", "npu": "hccl"}
_default_restore_location: Function = torch.serialization.default_restore_location


def install(patches: Patches, target: Target) -> None:
    """Let the parts of a training script mean the target where they mean CUDA."""
    _mixed_precision(patches, target)
    patches.replace(torch, "load", _load(torch.load, target))
    if target.kind == "cpu":
        patches.replace(DataLoader, "__init__", _without_pinning(DataLoader.__init__))
    # DataParallel is then a plain wrapper around its module, as on a machine without accelerators.
    patches.replace(sys.modules["torch.nn.parallel.data_parallel"], torch_internals.data_parallel_device, lambda: None)
    if torch.distributed.is_available():
        _several_processes(patches, target)


# ---- mixed precision


def _mixed_precision(patches: Patches, target: Target) -> None:
    patches.replace(amp.autocast_mode.autocast, "__init__", _autocast(amp.autocast_mode.autocast.__init__, target))
    scalers = grad_scaler()
    if not hasattr(amp, "GradScaler"):  # before torch 2.3 a scaler is CUDA's alone: without one, nothing is scaled
        patches.replace(scalers, "__init__", _without_scaling(scalers.__init__))
    else:
        patches.replace(scalers, "__init__", _scaler(scalers.__init__, target))
    if not hasattr(torch, "get_autocast_dtype"):  # before torch 2.4 the questions have names of their own
        return
    for name in _AUTOCAST_QUESTIONS:
        patches.replace(torch, name, _asking_of_cuda(getattr(torch, name), target))
    for name in ("custom_fwd", "custom_bwd"):
        for owner in (amp, amp.autocast_mode):
            patches.replace(owner, name, placed(getattr(owner, name), target))


def _autocast(original: Function, target: Target) -> Function:
    """With the dtype that CUDA would have taken: float16 unless told otherwise, where a CPU takes bfloat16."""
    older: Any = torch
    dtype_of = getattr(torch, "get_autocast_dtype", lambda kind: older.get_autocast_gpu_dtype())

    @functools.wraps(original)
    def __init__(self: Any, device_type: str, dtype: Any = None, *args: Any, **kwargs: Any) -> None:  # noqa: N807
        mapped = target.place(device_type)
        if mapped != device_type and dtype is None:
            dtype = dtype_of("cuda")
        original(self, mapped, dtype, *args, **kwargs)

    return __init__


def _without_scaling(original: Function) -> Function:
    @functools.wraps(original)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
        original(self, enabled=False)

    return __init__


def _scaler(original: Function, target: Target) -> Function:
    """A GradScaler is CUDA's unless told otherwise."""

    @functools.wraps(original)
    def __init__(self: Any, device: str = "cuda", *args: Any, **kwargs: Any) -> None:  # noqa: N807
        original(self, target.place(device), *args, **kwargs)

    return __init__


def _asking_of_cuda(original: Function, target: Target) -> Function:
    """Questions about autocast; without a device type they are about CUDA's."""

    @functools.wraps(original)
    def ask(*args: Any, **kwargs: Any) -> Any:
        if not kwargs and not any(isinstance(value, str) for value in args):
            return original(target.kind, *args)
        return original(*map(target.place, args), **{name: target.place(value) for name, value in kwargs.items()})

    return ask


# ---- data and checkpoints


def _without_pinning(original: Function) -> Function:
    """Pinned memory takes an accelerator; a loader that asks for it without one warns at every epoch."""

    @functools.wraps(original)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
        original(self, *args, **kwargs)
        self.pin_memory = False

    return __init__


def _load(original: Function, target: Target) -> Function:
    """Tensors that were saved on CUDA, or are wanted there, come to the target."""

    @functools.wraps(original)
    def load(f: Any, map_location: Any = None, *args: Any, **kwargs: Any) -> Any:
        return original(f, _mapped(map_location, target), *args, **kwargs)

    return load


def _mapped(location: Any, target: Target) -> Any:
    if location is None:
        return functools.partial(_restored, target=target)
    if isinstance(location, dict):
        placed_at = {saved: target.place(wanted) for saved, wanted in location.items()}
        return lambda storage, saved: _restored(storage, placed_at.get(saved, saved), target=target)
    return target.place(location)


def _restored(storage: Any, saved: Any, *, target: Target) -> Any:
    return _default_restore_location(storage, target.place(saved))


# ---- several processes


def _several_processes(patches: Patches, target: Target) -> None:
    from torch import distributed
    from torch.distributed import distributed_c10d
    from torch.nn.parallel import DistributedDataParallel

    def everywhere(name: str, new: Function) -> None:
        for owner in (distributed, distributed_c10d):
            patches.replace(owner, name, new)

    initialise = distributed_c10d.init_process_group
    everywhere("init_process_group", _with_backend(initialise, target, registers=True))
    everywhere("new_group", _with_backend(distributed_c10d.new_group, target, registers=False))
    everywhere("barrier", _without(distributed_c10d.barrier, "device_ids"))
    everywhere("is_nccl_available", lambda: True)
    wrap = _without(DistributedDataParallel.__init__, "device_ids", "output_device")
    patches.replace(DistributedDataParallel, "__init__", wrap)
    device_mesh: Any = getattr(distributed, "device_mesh", None)  # since torch 2.2
    for owner in (distributed, device_mesh):
        if hasattr(owner, "init_device_mesh"):
            patches.replace(owner, "init_device_mesh", placed(owner.init_device_mesh, target))


def _with_backend(original: Function, target: Target, *, registers: bool) -> Function:
    """nccl, by itself or as one of several ("cpu:gloo,cuda:nccl"), is the target's own backend."""
    own = _BACKENDS[target.kind]
    place = 0 if registers else 2

    @functools.wraps(original)
    def call(*args: Any, **kwargs: Any) -> Any:
        given = list(args)
        if len(given) > place:
            given[place] = _backend(given[place], own)
        elif registers or kwargs.get("backend") is not None:
            kwargs["backend"] = _backend(kwargs.get("backend"), own)
        kwargs.pop("device_id", None)
        if registers and own == "hccl":
            from .. import sim

            sim.register_hccl()
        return original(*given, **kwargs)

    return call


def _backend(backend: Any, own: str) -> Any:
    """`backend`; without one, or with nccl in it, the target's own."""
    return own if backend is None or "nccl" in str(backend).lower() else backend


def _without(original: Function, *names: str) -> Function:
    """`original` without arguments that number CUDA devices, which come by name or, for DDP, by place."""

    places = list(inspect.signature(original).parameters)

    @functools.wraps(original)
    def call(*args: Any, **kwargs: Any) -> Any:
        kept = [None if places[index] in names else value for index, value in enumerate(args)]
        return original(*kept, **{name: value for name, value in kwargs.items() if name not in names})

    return call
