"""Tensors labelled `npu` whose bytes lie in host memory.

An npu tensor here is a genuine `torch.Tensor`: a TensorImpl with device `npu:0` over a StorageImpl whose
pointer leads into memory that a CPU tensor owns.  That CPU tensor hangs on the Python object of the npu
storage, which torch keeps alive as long as the storage, so nothing is copied and nothing can dangle.

Everything called here is taken from `torch_internals` and `torch.ops` when the module is imported: a recorder
patches names of `torch` and `torch.Tensor`, and must not see the simulator's own calls.  Callers have
switched `__torch_function__` off (`without_overrides`), so that modes do not see them either.
"""

from __future__ import annotations

from typing import Any

import torch

from dump import torch_internals

_base: Any = torch_internals.TensorBase
_storage: Any = torch_internals.StorageBase

Tensor = torch.Tensor
without_overrides = torch_internals.without_overrides
HOST = torch.device("cpu")
HOST_KEYS = torch_internals.DispatchKeySet(torch_internals.DispatchKey.CPU)
"""Redispatching an operator with these keys runs its CPU kernel, whatever the tensors are labelled."""

untyped_storage = _base.untyped_storage
size = _base.size
stride = _base.stride
offset = _base.storage_offset
storage_pointer = _storage.data_ptr
storage_bytes = _storage.nbytes

_new_like = _base.new
_set_host = _base.set_
_as_strided_host = _base.as_strided
_is_conj = _base.is_conj
_is_neg = _base.is_neg
_conj: Any = torch.ops.aten._conj.default
_neg: Any = torch.ops.aten._neg_view.default
_blank_npu = torch_internals.new_device_tensor
_storage_over = torch_internals.storage_over
_empty_host = torch_internals.functions.empty
_set_any: Any = torch_internals.handle(torch.ops.aten.set_.source_Storage_storage_offset).redispatch_boxed

# Only complex numbers, and views of their parts, carry conjugation and negation as a flag beside the memory.
_COMPLEX = frozenset({torch.complex32, torch.complex64, torch.complex128})
_WITH_MEMORY = frozenset({torch.Tensor, torch.nn.Parameter})
_blank_host: dict[torch.dtype, torch.Tensor] = {}
_npu: list[torch.device] = []


def open_device() -> None:
    """Fix the device that storages are labelled with; `npu` must have been registered before."""
    if not _npu:
        _npu.append(torch.device("npu", 0))


def host_storage(nbytes: int) -> Any:
    """A fresh CPU storage of `nbytes` bytes, uninitialised."""
    return untyped_storage(_empty_host((nbytes,), dtype=torch.uint8))


def storage_for(owner: torch.Tensor) -> Any:
    """An npu storage over the whole memory of `owner`'s CPU storage; it keeps `owner` alive."""
    memory = untyped_storage(owner)
    storage = _storage_over(storage_pointer(memory), _npu[0], storage_bytes(memory))
    storage.host_owner = owner
    return storage


def storage_over_bytes(memory: Any) -> Any:
    """An npu storage over a CPU storage that no tensor describes yet (see `storage_for`)."""
    owner = _set_host(_empty_host((0,), dtype=torch.uint8), memory)
    return storage_for(owner)


def as_npu(host: torch.Tensor) -> torch.Tensor:
    """An npu tensor over the same memory as a CPU tensor that nobody else will reshape."""
    blank = _blank_npu((0,), host.dtype)
    npu: torch.Tensor = _set_any(HOST_KEYS, blank, storage_for(host), offset(host), size(host), stride(host))
    return npu


def rebind(npu: torch.Tensor, host: torch.Tensor) -> None:
    """Let an existing npu tensor describe what `host` describes: after a kernel resized it."""
    _set_any(HOST_KEYS, npu, storage_for(host), offset(host), size(host), stride(host))


def as_host(npu: torch.Tensor) -> torch.Tensor:
    """A CPU tensor over the same memory.  Mostly the owner itself, so the caller must not change its geometry
    without calling `rebind` afterwards.  Raises RuntimeError for a tensor on a third device.
    """
    storage = untyped_storage(npu)
    try:
        owner: torch.Tensor = storage.host_owner
    except AttributeError:
        owner = _adopt(storage)
    dtype = npu.dtype
    if owner.dtype is dtype and dtype not in _COMPLEX:
        if size(owner) == size(npu) and stride(owner) == stride(npu) and offset(owner) == offset(npu):
            return owner
        view: torch.Tensor = _as_strided_host(owner, size(npu), stride(npu), offset(npu))
        return view
    host = _described(npu, owner)
    if _is_conj(npu):
        host = _conj(host)
    return _neg(host) if _is_neg(npu) else host


def _adopt(storage: Any) -> torch.Tensor:
    """The owner for an npu storage that C++ has laid over one of our pointers, as pickling does: bytes that
    live as long as whoever lent them, which is as long as the storage itself.
    """
    if storage.device.type != "npu":
        raise RuntimeError(f"expected tensors on npu or cpu, found one on {storage.device}")
    memory = _storage_over(storage_pointer(storage), HOST, storage_bytes(storage))
    owner: torch.Tensor = _set_host(_empty_host((0,), dtype=torch.uint8), memory)
    storage.host_owner = owner
    return owner


def _described(npu: torch.Tensor, owner: torch.Tensor) -> torch.Tensor:
    blank = _blank_host.get(npu.dtype)
    if blank is None:
        blank = _blank_host[npu.dtype] = _empty_host((0,), dtype=npu.dtype)
    host: torch.Tensor = _set_host(_new_like(blank), untyped_storage(owner), offset(npu), size(npu), stride(npu))
    return host


def is_imagined(npu: torch.Tensor) -> bool:
    """Whether this may be one of torch.compile's tensors, which say npu and have no memory: those are subclasses."""
    return type(npu) not in _WITH_MEMORY


def same_memory(npu: torch.Tensor, host: torch.Tensor) -> bool:
    """Whether both still describe the same elements at the same addresses."""
    return bool(
        size(npu) == size(host)
        and stride(npu) == stride(host)
        and storage_pointer(untyped_storage(npu)) == storage_pointer(untyped_storage(host))
    )
