"""Turning PrivateUse1 into the device `npu`, once for the life of the process."""

from __future__ import annotations

import sys
from typing import Any

import torch

from dump.environment.synchronous import drawing_on_the_host
from dump.format.errors import ConfigError
from dump.sim import autocast, composites, faults
from dump.sim.device_module import SimulatedNpu
from dump.sim.kernels import fallback, host_kernel, kernel_for, lower, tally_of, view_kernel
from dump.sim.operators import VIEW_KERNELS, overload, pinned, plan_of
from dump.sim.storage import (
    HOST,
    as_npu,
    host_storage,
    open_device,
    storage_over_bytes,
    without_overrides,
)
from dump.torch_internals import functions, private_device_owner, setup_private_device

_aten: Any = torch.ops.aten
_empty_host = functions.empty
_empty_strided_host = functions.empty_strided
_copy_host = host_kernel(_aten.copy_.default)
_clone_host = host_kernel(_aten.clone.default)
_library: Any = torch.library.Library
_libraries: list[Any] = []


def register() -> None:
    """Register the device, its kernels and `torch.npu`; a second call does nothing.

    Raises ConfigError where PrivateUse1, of which a process has one, belongs to something else.
    """
    if _libraries:
        return
    _check_free()
    module = SimulatedNpu()
    setup_private_device("npu", backend_module=module)
    sys.modules["torch.npu"] = module
    open_device()
    everything = _library("_", "IMPL")
    everything.fallback(fallback, "PrivateUse1")
    aten = _library("aten", "IMPL")
    _libraries.extend((everything, aten))
    _register_kernels(aten)
    autocast.register(everything, aten)
    torch.UntypedStorage.__new__ = _new_storage  # type: ignore[method-assign]
    torch.Tensor.record_stream = _record_stream  # type: ignore[assignment, method-assign]
    torch.accelerator.synchronize = _synchronize
    torch.Generator = drawing_on_the_host(torch.Generator, "npu")  # type: ignore[misc]


def is_registered() -> bool:
    """Whether this process has the simulated device."""
    return bool(_libraries)


def _check_free() -> None:
    owner = private_device_owner()
    if "torch_npu" in sys.modules:
        raise ConfigError(
            "The simulated NPU needs a process without torch_npu, which owns the device `npu` here; "
            "start with TORCH_DEVICE_BACKEND_AUTOLOAD=0 in the environment, or use the real device."
        )
    if owner != "privateuseone" or hasattr(torch, "npu"):
        raise ConfigError(
            f"The simulated NPU needs torch's PrivateUse1 device, which is taken by {owner!r} here; "
            "a process has only one: start another without that backend."
        )


def _register_kernels(aten: Any) -> None:
    special = {
        "empty.memory_format": _empty,
        "empty_strided": _empty_strided,
        "_copy_from": _copy_from,
        "_to_copy": _to_copy,
        "convolution_overrideable": composites.convolution,
        "convolution_backward_overrideable": composites.convolution_backward,
    }
    for name, kernel in special.items():
        aten.impl(name, kernel, "PrivateUse1")
    for name in VIEW_KERNELS:
        aten.impl(overload(name), view_kernel(overload(name)), "PrivateUse1")
    for name in pinned():
        aten.impl(overload(name), kernel_for(overload(name)), "PrivateUse1")
    for name, body in composites.RECURRENT_CELLS.items():
        operator = overload(f"aten::{name}")
        aten.impl(operator, composites.composed_kernel(operator, body), "PrivateUse1")
    # Host memory is all there is, so every CPU tensor is as good as pinned (DataLoader(pin_memory=True)).
    aten.impl("_pin_memory", lambda x, device=None: _clone_host(x), "CPU")
    attention = composites.attention()
    for key in ("PrivateUse1", "AutogradPrivateUse1"):
        aten.impl("scaled_dot_product_attention", attention, key)


def _empty(
    size: Any,
    *,
    dtype: torch.dtype | None = None,
    layout: Any = None,
    device: Any = None,
    pin_memory: bool | None = None,
    memory_format: torch.memory_format | None = None,
) -> torch.Tensor:
    with without_overrides():
        if memory_format is None:
            return as_npu(_empty_host(size, dtype=dtype, device=HOST))
        return as_npu(_empty_host(size, dtype=dtype, device=HOST, memory_format=memory_format))


def _empty_strided(
    size: Any,
    stride: Any,
    *,
    dtype: torch.dtype | None = None,
    layout: Any = None,
    device: Any = None,
    pin_memory: bool | None = None,
) -> torch.Tensor:
    with without_overrides():
        return as_npu(_empty_strided_host(size, stride, dtype=dtype, device=HOST))


def _copy_from(source: torch.Tensor, target: torch.Tensor, non_blocking: bool = False) -> torch.Tensor:
    """`target.copy_(source)` where either of the two lies on npu."""
    with without_overrides():
        _copies[0] += 1
        _copy_host(lower(target), lower(source))
        return target


_copies = tally_of("aten::copy_")
_cast_host = host_kernel(_aten._to_copy.default)
_cast_plan = plan_of(_aten._to_copy.default)
_casts = tally_of("aten::_to_copy")


def _to_copy(x: torch.Tensor, **options: Any) -> torch.Tensor:
    """`x.to(...)` where it does copy: to another dtype or layout on npu, to npu, or away from it.

    Faults hit what the device computes, casts; never what crosses its border, which is somebody's evidence.
    """
    with without_overrides():
        _casts[0] += 1
        device = options.get("device")
        if device is not None and device.type not in ("cpu", "npu"):
            elsewhere: torch.Tensor = _aten._to_copy.default(lower(x), **options)
            return elsewhere
        options["device"] = HOST
        arguments = [lower(x)]
        stays = device is None or device.type == "npu"
        if stays and not x.is_cpu and _cast_plan.name in faults.ACTIVE:
            return as_npu(faults.launch(_cast_plan, _cast_host, arguments, options))
        cast: torch.Tensor = _cast_host(*arguments, **options)
        return as_npu(cast) if stays else cast


_record_other_stream: Any = torch.Tensor.record_stream


def _record_stream(self: torch.Tensor, stream: Any) -> None:
    """Nothing is freed while a stream still reads it: all work is done when it is asked for."""
    if self.device.type != "npu":
        _record_other_stream(self, stream)


def _synchronize(device: Any = None, /) -> None:
    """Nothing is ever pending on npu, and a process has one accelerator."""


_new_host_storage: Any = torch.UntypedStorage.__new__


def _new_storage(cls: Any, *args: Any, device: Any = None, **options: Any) -> Any:
    """`torch.UntypedStorage(n, device="npu")`, which deepcopy and torch.load ask for: a backend in Python
    cannot give torch an allocator.
    """
    if device is None:
        return _new_host_storage(cls, *args, **options)
    if torch.device(device).type != "npu":
        return _new_host_storage(cls, *args, device=device, **options)
    if len(args) == 1 and isinstance(args[0], int):
        return storage_over_bytes(host_storage(args[0]))
    return storage_over_bytes(_new_host_storage(cls, *args, device="cpu", **options))
