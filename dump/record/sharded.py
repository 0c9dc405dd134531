"""Tensors that stand for others: DTensor, of which a rank holds a part, and results of collectives that still run.

What is recorded of one is the plain tensor in it, this rank's own memory, with the layout that says which part of the
whole it is.
"""

from __future__ import annotations

import sys
import weakref
from typing import Any

import msgspec
import torch

from .. import torch_internals
from .identity import version_of


class Layout(msgspec.Struct, frozen=True, gc=False, eq=False):
    """Where a part belongs: `shape` of the whole, the ranks of the `mesh`, and what was done along each dimension of
    it: `S(0)` cut along the tensor's dimension 0, `R` replicated, `P(sum)` a partial sum."""

    shape: tuple[int, ...]
    mesh: Any
    placements: tuple[str, ...]

    def record(self) -> dict[str, object]:
        """As dump.json holds it."""
        return {"shape": list(self.shape), "mesh": self.mesh, "placements": list(self.placements)}


class Local(msgspec.Struct, frozen=True, gc=False, eq=False):
    """The plain tensor in a tensor, and its layout where it is a part of a whole."""

    tensor: torch.Tensor
    layout: Layout | None = None


class Wrappers:
    """Version counters of tensors that stand for others: what is written through one moves its own, and leaves that of
    the plain tensor in it as it was."""

    def __init__(self) -> None:
        self._met: dict[int, tuple[weakref.ref[torch.Tensor], int]] = {}

    def is_written(self, tensor: torch.Tensor) -> bool:
        """Was it written since it was met, or ever where it was not?"""
        now = max(0, version_of(tensor))
        known, before = self._met.get(id(tensor), (None, 0))
        if known is None or known() is not tensor:
            before = 0
        self._met[id(tensor)] = weakref.ref(tensor), now
        return now != before


_MESHES: dict[int, tuple[Any, Any]] = {}
_MOST_MESHES = 64


def local_of(tensor: torch.Tensor) -> Local:
    """The plain tensor in a DTensor or in the result of a functional collective; any other is its own.

    Nobody waits for a result that is not there yet.
    """
    kind = type(tensor)
    if kind is torch.Tensor or kind is torch.nn.Parameter:
        return Local(tensor)
    sharded = sys.modules.get("torch.distributed.tensor")
    dtensor = getattr(sharded, "DTensor", None)
    if dtensor is not None and issubclass(kind, dtensor):
        return Local(local_of(torch_internals.local_tensor(tensor)).tensor, _layout(tensor))
    if kind.__name__ == "AsyncCollectiveTensor" and kind.__module__.startswith("torch.distributed."):
        return Local(tensor.elem)  # type: ignore[attr-defined]
    return Local(tensor)


def _layout(tensor: Any) -> Layout:
    mesh = tensor.device_mesh
    known = _MESHES.get(id(mesh))
    if known is None or known[0] is not mesh:
        if len(_MESHES) >= _MOST_MESHES:
            _MESHES.clear()
        known = _MESHES[id(mesh)] = (mesh, mesh.mesh.tolist())
    return Layout(tuple(tensor.shape), known[1], tuple(map(str, tensor.placements)))


def partition_of(parameter: torch.nn.Parameter) -> list[int] | None:
    """What a parameter's attributes say of it, as Megatron sets them: [dimension, stride] of one that is cut, [] of one
    that each rank has whole, None where nothing is said."""
    told = vars(parameter)
    if told.get("tensor_model_parallel"):
        found = [told.get("partition_dim"), told.get("partition_stride", 1)]
        return found if all(type(number) is int and number >= 0 for number in found) else None
    return [] if "tensor_model_parallel" in told or told.get("sequence_parallel") else None


def dispatches_itself(kind: type[torch.Tensor]) -> bool:
    """Does a subclass answer for operators itself, so that its contents need not lie in memory of its own?"""
    own = getattr(kind, "__torch_dispatch__", None)
    return hasattr(kind, "__tensor_flatten__") or own is not torch.Tensor.__torch_dispatch__
