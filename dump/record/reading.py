"""How the recorder reads a tensor: by what torch gave all of them in C, past what stands before that.

A subclass may have a `shape` or a `data_ptr` of its own, and a script may put something in the place of torch's: both
are the run's, and would hear of the recording.
"""

from __future__ import annotations

from collections.abc import Callable
from types import GetSetDescriptorType
from typing import Any, TypeAlias

import torch

from .. import native, torch_internals

Facts: TypeAlias = (
    "tuple[torch.layout, torch.UntypedStorage, int, int, torch.dtype, tuple[int, ...], bool, int, bool, bool]"
)
"""Layout, storage, version counter, offset in the storage, dtype, shape (in a plain tuple, which Python's collector
drops), do its elements lie in order, how many there are, does autograd track it, is it on the host."""

_base: Any = torch_internals.TensorBase


def _attribute(name: str) -> Any:
    return getattr(_base, name).__get__


shape_of: Callable[[torch.Tensor], torch.Size] = _attribute("shape")
dtype_of: Callable[[torch.Tensor], torch.dtype] = _attribute("dtype")
device_of: Callable[[torch.Tensor], torch.device] = _attribute("device")
layout_of: Callable[[torch.Tensor], torch.layout] = _attribute("layout")
is_on_host: Callable[[torch.Tensor], bool] = _attribute("is_cpu")
is_meta: Callable[[torch.Tensor], bool] = _attribute("is_meta")
is_quantized: Callable[[torch.Tensor], bool] = _attribute("is_quantized")
is_nested: Callable[[torch.Tensor], bool] = _attribute("is_nested")
requires_grad: Callable[[torch.Tensor], bool] = _attribute("requires_grad")
maker_of: Callable[[torch.Tensor], Any] = _attribute("grad_fn")
number_of: Callable[[torch.Tensor], int] = _attribute("output_nr")
"""Which of its maker's outputs it is."""


def gradient_of(tensor: torch.Tensor) -> torch.Tensor | None:
    """The gradient that an optimizer reads: of a class that says another, that."""
    kind: Any = type(tensor)
    found: torch.Tensor | None = _gradient(tensor) if kind.grad is _base.grad else tensor.grad
    return found


_gradient = _attribute("grad")

storage_of: Callable[[torch.Tensor], torch.UntypedStorage] = _base.untyped_storage
offset_of: Callable[[torch.Tensor], int] = _base.storage_offset
strides_of: Callable[[torch.Tensor], tuple[int, ...]] = _base.stride
address_of: Callable[[torch.Tensor], int] = _base.data_ptr
count_of: Callable[[torch.Tensor], int] = _base.numel
bytes_of_one: Callable[[torch.Tensor], int] = _base.element_size
is_contiguous: Callable[[torch.Tensor], bool] = _base.is_contiguous
is_conjugated: Callable[[torch.Tensor], bool] = _base.is_conj
is_negated: Callable[[torch.Tensor], bool] = _base.is_neg

detached: Callable[[torch.Tensor], torch.Tensor] = _base.detach
in_order: Callable[[torch.Tensor], torch.Tensor] = _base.contiguous
viewed: Callable[..., torch.Tensor] = _base.view
laid_out: Callable[..., torch.Tensor] = _base.as_strided
selected: Callable[[torch.Tensor, int, int], torch.Tensor] = _base.select
narrowed: Callable[[torch.Tensor, int, int, int], torch.Tensor] = _base.narrow
uncounted: Callable[[torch.Tensor], torch.Tensor] = _attribute("data")
"""The same memory, past its version counter."""

fetched: Callable[[torch.Tensor], torch.Tensor] = _base.cpu
converted: Callable[[torch.Tensor, torch.dtype], torch.Tensor] = _base.to
copied: Callable[[torch.Tensor], torch.Tensor] = _base.clone
fill: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = _base.copy_
"""The first takes the elements of the second."""

as_numpy: Callable[[torch.Tensor], Any] = _base.numpy
number_in: Callable[[torch.Tensor], Any] = _base.item
conjugation_done: Callable[[torch.Tensor], torch.Tensor] = _base.resolve_conj
negation_done: Callable[[torch.Tensor], torch.Tensor] = _base.resolve_neg


def is_lazily_changed(tensor: torch.Tensor) -> bool:
    """Is it a conjugated or negated view, which differs from its base by a bit alone?"""
    return is_conjugated(tensor) or is_negated(tensor)


def resolved(tensor: torch.Tensor) -> torch.Tensor:
    """What such a view stands for; any other tensor as it is."""
    return negation_done(conjugation_done(tensor)) if is_lazily_changed(tensor) else tensor


_ATTRIBUTES_REFUSED = ("is_meta", "is_quantized", "is_nested")
_ATTRIBUTES_READ = ("layout", "untyped_storage", "_version", "storage_offset", "dtype", "shape", "is_contiguous")
_REFUSED = (
    *(getattr(_base, name) for name in _ATTRIBUTES_REFUSED),
    *(torch_internals.is_zerotensor, torch_internals.is_in_transform, is_conjugated, is_negated),
)
_READ = tuple(getattr(_base, name) for name in (*_ATTRIBUTES_READ, "numel", "requires_grad", "is_cpu"))


def facts_of(tensor: torch.Tensor) -> Facts | None:
    """What the recorder asks of a plain tensor with memory of its own, in which its elements lie as they are; None of
    any other, and of one whose writes nobody counts."""
    kind = type(tensor)
    if kind is not torch.Tensor and kind is not torch.nn.Parameter:
        return None
    try:
        found: Facts | None = _read(tensor, _REFUSED, _READ)
    except RuntimeError:  # what has no storage, or no version counter
        return None
    return found if found is not None and found[0] is torch.strided else None


def _read_in_python(thing: Any, refused: tuple[Any, ...], readers: tuple[Any, ...]) -> Any:
    if any(_asked(reader, thing) for reader in refused):
        return None
    found = (_asked(reader, thing) for reader in readers)
    return tuple(tuple(each) if issubclass(type(each), tuple) else each for each in found)


def _asked(reader: Any, thing: Any) -> Any:
    return reader.__get__(thing) if type(reader) is GetSetDescriptorType else reader(thing)


_read = getattr(native.core, "read", _read_in_python)
