"""How the recorder reads a tensor: by what torch gave all of them in C, past what stands before that.

A subclass may have a `shape` or a `data_ptr` of its own, and a script may put something in the place of torch's: both
are the run's, and would hear of the recording.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from .. import torch_internals

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
fetched: Callable[[torch.Tensor], torch.Tensor] = _base.cpu
conjugation_done: Callable[[torch.Tensor], torch.Tensor] = _base.resolve_conj
negation_done: Callable[[torch.Tensor], torch.Tensor] = _base.resolve_neg


def is_lazily_changed(tensor: torch.Tensor) -> bool:
    """Is it a conjugated or negated view, which differs from its base by a bit alone?"""
    return is_conjugated(tensor) or is_negated(tensor)


def resolved(tensor: torch.Tensor) -> torch.Tensor:
    """What such a view stands for; any other tensor as it is."""
    return negation_done(conjugation_done(tensor)) if is_lazily_changed(tensor) else tensor
