"""The CPU's kernels for the real torch_npu on the stub CANN libraries, which compute nothing themselves.

Memory, copies, streams, autograd formulas and Python code stay torch_npu's own.  What would launch a kernel is run by
the CPU's kernel of the same operator over the same bytes: the stub device's memory is host memory.  Of torch_npu's own
operators `npu_rms_norm` is written out here, format casts are copies, and all others raise.

`install(faulty=...)` makes one operator wrong, so that a comparison can be seen to notice.

What is written here in Python must not be met by a recording, as kernels are not: it goes by aten's overloads and by
numpy, not by the functions of torch.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

_C: Any = torch._C
_aten: Any = torch.ops.aten
_HOST = torch.device("cpu")
_DEVICE = torch.device("npu", 0)
_empty, _empty_strided = _aten.empty.memory_format, _aten.empty_strided.default
_copy, _set = _aten.copy_.default, _aten.set_.source_Storage_storage_offset
_NAME = "CANN stub (no NPU; kernels of the CPU)"

# torch_npu's own code answers these on the stub: they make memory, describe it, or copy it.
_OF_MEMORY = (
    "_cudnn", "_copy_from", "_fused_sdp_choice", "_has_compatible", "_local_scalar", "_nested", "_pin",
    "_reshape_alias", "_resize", "_to_copy", "alias", "as_strided", "detach", "empty", "is_pinned", "is_set_to",
    "new_empty", "npu", "pin_memory", "record_stream", "resize_", "set_", "unfold", "view",
)  # fmt: skip
_OF_TORCH_NPU_THAT_COMPUTE_NOTHING = (
    "npu::get_", "npu::empty", "npu::copy_memory", "npu::npu_change_data_ptr", "npu::_npu_format", "npu::npu_alloc",
    "npu::npu_get", "npu::npu_clear",
)  # fmt: skip
_libraries: list[torch.library.Library] = []  # kernels live as long as the object that registered them


def install(faulty: str | None = None) -> None:
    """Give the device its kernels.  `faulty` names an operator (`aten::gelu`) whose results come out a thousandth too
    large."""
    torch.npu.get_device_name = lambda *_: _NAME
    aten, npu = torch.library.Library("aten", "IMPL"), torch.library.Library("npu", "IMPL")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "overriding a previously registered kernel": that is what we are here for
        for operator in _operators_with_a_cpu_kernel():
            run = functools.partial(_run_on_host, operator, spoil=operator._schema.name == faulty)
            aten.impl(operator, run, "PrivateUse1")
        _install_convolutions(aten)
        _install_compositions(aten)
        _install_torch_npus_own(npu)
    _libraries.extend((aten, npu))


# ---- the same bytes, seen by the CPU and by the device


def on_host(tensor: torch.Tensor) -> torch.Tensor:
    """A CPU tensor over the memory of an npu tensor."""
    storage = tensor.untyped_storage()
    if storage.nbytes() == 0:
        return _empty_strided(tensor.size(), tensor.stride(), dtype=tensor.dtype, device=_HOST)
    same = _C._construct_storage_from_data_pointer(storage.data_ptr(), _HOST, storage.nbytes())
    empty = _empty([0], dtype=tensor.dtype, device=_HOST)
    return _set(empty, same, tensor.storage_offset(), tensor.size(), tensor.stride())


def on_device(tensor: torch.Tensor) -> torch.Tensor:
    """A copy of a CPU tensor in the stub device's memory."""
    copy = _empty_strided(tensor.size(), tensor.stride(), dtype=tensor.dtype, device=_DEVICE)
    if tensor.numel():
        _copy(on_host(copy), tensor)
    return copy


def _run_on_host(operator: Any, *args: Any, spoil: bool = False, **kwargs: Any) -> Any:
    """The operator's CPU kernel on the same memory; what it makes anew is copied to the device."""
    pairs: list[tuple[torch.Tensor, torch.Tensor]] = []

    def lower(value: Any) -> Any:
        if isinstance(value, torch.Tensor) and value.device.type == "npu":
            pairs.append((on_host(value), value))
            return pairs[-1][0]
        return _HOST if isinstance(value, torch.device) and value.type == "npu" else value

    def lift(value: Any) -> Any:
        if not isinstance(value, torch.Tensor) or value.device.type != "cpu":
            return value
        written = next((ours for host, ours in pairs if host is value), None)
        if spoil:
            _aten.mul_.Scalar(value, 1.001)
        if written is None:
            return on_device(value)
        if written.shape != value.shape or on_host(written).data_ptr() != value.data_ptr():
            _aten.set_.source_Tensor(written, on_device(value))  # an `out=` that the kernel has given another size
        return written

    with _C.DisableTorchFunction(), _C._AutoDispatchBelowAutograd():
        lowered = [_each(value, lower) for value in args]
        keywords = {name: _each(value, lower) for name, value in kwargs.items()}
        return _each(operator(*lowered, **keywords), lift)


def _each(value: Any, act: Callable[[Any], Any]) -> Any:
    return type(value)([_each(item, act) for item in value]) if type(value) in (list, tuple) else act(value)


# ---- which operators


def _operators_with_a_cpu_kernel() -> list[Any]:
    """Overloads of aten that compute, and that the CPU answers by itself or by composing others."""
    on_cpu = set(_C._dispatch_get_registrations_for_dispatch_key("CPU"))
    on_npu = set(_C._dispatch_get_registrations_for_dispatch_key("PrivateUse1"))
    composed = ("CompositeExplicitAutograd", "CompositeImplicitAutograd", "CompositeExplicitAutogradNonFunctional")
    found = []
    for name in sorted(on_cpu | on_npu):
        operator = _overload(name) if name.startswith("aten::") else None
        if operator is None or name.removeprefix("aten::").startswith(_OF_MEMORY) or _is_view(operator):
            continue
        if name in on_cpu or any(_C._dispatch_has_kernel_for_dispatch_key(name, key) for key in composed):
            found.append(operator)
    return found


def _overload(name: str) -> Any:
    namespace, _, rest = name.partition("::")
    packet, _, overload = rest.partition(".")
    return getattr(getattr(getattr(torch.ops, namespace), packet, None), overload or "default", None)


def _is_view(operator: Any) -> bool:
    return any(result.alias_info is not None and not result.alias_info.is_write for result in operator._schema.returns)


def _install_convolutions(aten: torch.library.Library) -> None:
    """torch brings convolutions of a foreign device here, under names of their own."""

    def backward(gradient: Any, x: Any, weight: Any, *rest: Any) -> Any:
        return _run_on_host(_aten.convolution_backward.default, gradient, x, weight, None, *rest)

    forward = functools.partial(_run_on_host, _aten.convolution.default)
    aten.impl("convolution_overrideable", forward, "PrivateUse1")
    aten.impl("convolution_backward_overrideable", backward, "PrivateUse1")


def _install_compositions(aten: torch.library.Library) -> None:
    """Where torch_npu has a kernel for what torch composes (matmul, linear, dropout), compose it, as the CPU does."""
    for name in _C._dispatch_get_registrations_for_dispatch_key("AutogradPrivateUse1"):
        operator = _overload(name) if name.startswith("aten::") else None
        if operator is None or name == "aten::scaled_dot_product_attention":
            continue
        if _C._dispatch_has_kernel_for_dispatch_key(name, "CompositeImplicitAutograd"):
            aten.impl(operator, operator.decompose, "AutogradPrivateUse1")


# ---- torch_npu's own operators


def _install_torch_npus_own(npu: torch.library.Library) -> None:
    written = {"npu::npu_rms_norm": _rms_norm, "npu::npu_rms_norm_backward": _rms_norm_backward}
    for name in _C._dispatch_get_registrations_for_dispatch_key("PrivateUse1"):
        if not name.startswith("npu::") or name.startswith(_OF_TORCH_NPU_THAT_COMPUTE_NOTHING):
            continue
        cast = _copied if name.startswith("npu::npu_format_cast") else None
        npu.impl(_overload(name), written.get(name) or cast or functools.partial(_refuse, name), "PrivateUse1")


def _refuse(name: str, *_: Any, **__: Any) -> None:
    raise NotImplementedError(f"{name}: the CANN stub computes nothing, and there is no kernel of the CPU for it")


def _copied(x: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
    return on_device(on_host(x))


def _rms_norm(x: torch.Tensor, gamma: torch.Tensor, epsilon: float = 1e-6) -> tuple[torch.Tensor, torch.Tensor]:
    """y = x / sqrt(mean(x^2) + epsilon) * gamma over the last dimension, and 1 / sqrt(...); all in float32."""
    values = _array(x)
    scale = 1 / np.sqrt((values**2).mean(-1, keepdims=True) + np.float32(epsilon))
    return _tensor(values * scale * _array(gamma)), _tensor(scale)


def _rms_norm_backward(
    dy: torch.Tensor, x: torch.Tensor, gamma: torch.Tensor, rstd: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The derivatives of `_rms_norm` with respect to x and gamma."""
    scale, incoming = _array(rstd), _array(dy)
    normal, share = _array(x) * scale, incoming * _array(gamma)
    dx = scale * (share - normal * (share * normal).mean(-1, keepdims=True))
    return _tensor(dx), _tensor((incoming * normal).reshape(-1, x.shape[-1]).sum(0))


def _array(tensor: torch.Tensor) -> np.ndarray:
    """A copy of a float32 tensor of the device."""
    return on_host(tensor.detach()).numpy().copy()


def _tensor(array: np.ndarray) -> torch.Tensor:
    made = _empty(list(array.shape), dtype=torch.float32, device=_DEVICE)
    on_host(made).numpy()[...] = array
    return made
