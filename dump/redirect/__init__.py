"""Run a script that was written for CUDA on another device: the CPU as a bench, or the simulated NPU.

    with redirected("cpu"):
        model.cuda(); torch.zeros(2, device="cuda:1"); torch.autocast("cuda"); init_process_group("nccl")

Inside, whatever names a CUDA device means the target: strings and `torch.device` objects among the arguments of
torch's functions, `.cuda()`, default devices, `map_location`, autocast, GradScaler, process groups.  `torch.cuda`
answers as one device a process would that has nothing pending (`cuda_module`), and so does `torch.accelerator`.  On
leaving, all is as it was.

A `torch.device("cuda:1")` that the script holds stays what it is, so that its own branches (`device.type == "cuda"`)
go the way that they go on a GPU; a tensor says truthfully where it lies.  Not redirected: CUDA graphs, code compiled
for CUDA, `SyncBatchNorm`, processes that the script spawns.  `.cuda()` of a tensor that lies on the CPU already gives
that tensor, where a GPU would give a copy.

On a real NPU torch_npu's own `transfer_to_npu` does this (`cli.starting`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from .. import torch_internals
from ..intercept import catalog
from ..intercept.patching import Patches
from . import accelerator, cuda_module, tensors, training
from .arguments import Target, TargetKind

__all__ = ["Target", "TargetKind", "redirected"]


@contextlib.contextmanager
def redirected(kind: TargetKind) -> Iterator[None]:
    """Let CUDA mean `kind` within.  Install it before a recording, which must find these functions in place.

    For "npu" the simulated device must be enabled (`dump.sim`).
    """
    _let_identities_be_learnt()
    target = Target(kind)
    with Patches() as patches:
        tensors.install(patches, target)
        cuda_module.install(patches, target)
        accelerator.install(patches, target)
        training.install(patches, target)
        yield


def _let_identities_be_learnt() -> None:
    """The catalog of operators and torch.compile know torch's functions by identity, from the first time that they
    look; they must not take stand-ins for the functions themselves.  Loading torch.compile takes a second, which the
    first optimizer of a script takes anyway."""
    catalog.operators()
    torch_internals.trace_rules()
