"""A process group named `hccl` for the simulated device, carried by gloo.

Ranks are processes on one machine or several, as with gloo; the collectives run on the host memory behind the
npu tensors, so nothing is copied.  Made for DistributedDataParallel and plain collectives: a device mesh, and
so FSDP, asks for more of a group than a Python one can give.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch.distributed as dist
from torch.distributed import distributed_c10d

from dump import torch_internals
from dump.format.errors import ConfigError
from dump.sim.kernels import lower
from dump.sim.storage import HOST, without_overrides

_c10d: Any = distributed_c10d

COLLECTIVES = (
    "_allgather_base", "_reduce_scatter_base", "all_gather_single", "all_gather_single_coalesced",
    "all_to_all_single", "allgather", "allgather_coalesced", "allgather_into_tensor_coalesced", "allreduce",
    "allreduce_coalesced", "alltoall", "alltoall_base", "barrier", "broadcast", "gather", "recv",
    "recv_anysource", "reduce", "reduce_scatter", "reduce_scatter_single", "reduce_scatter_single_coalesced",
    "reduce_scatter_tensor_coalesced", "scatter", "send",
)  # fmt: skip
"""Methods by which torch.distributed asks a group to communicate, by the names of several releases."""


def _carried(name: str) -> Callable[..., Any]:
    def collective(self: SimulatedHccl, *args: Any, **kwargs: Any) -> Any:
        with without_overrides():
            lowered = [lower(x) for x in args]
            return getattr(self.on_host, name)(*lowered, **{key: lower(x) for key, x in kwargs.items()})

    collective.__name__ = name
    return collective


class SimulatedHccl(dist.ProcessGroup):
    """One rank's end of the group.  Every collective is done by `on_host`, a gloo group of the same ranks."""

    def __init__(self, store: Any, rank: int, size: int, timeout: timedelta) -> None:
        super().__init__(rank, size)  # type: ignore[call-arg]
        prefixed = _c10d.PrefixStore("simulated_hccl", store)
        gloo = dist.ProcessGroup.BackendType.GLOO
        self.on_host: Any = dist.ProcessGroup(prefixed, rank, size)
        getattr(self.on_host, torch_internals.set_default_backend)(gloo)
        carrier = _c10d.ProcessGroupGloo(prefixed, rank, size, timeout)
        getattr(self.on_host, torch_internals.register_backend)(HOST, gloo, carrier)

    def getBackendName(self) -> str:  # noqa: N802 - torch's name
        return "hccl"


for _name in COLLECTIVES:
    if hasattr(dist.ProcessGroup, _name):
        setattr(SimulatedHccl, _name, _carried(_name))


def register_hccl() -> None:
    """Let `torch.distributed.init_process_group("hccl")` work for npu tensors; a second call does nothing.

    Raises ConfigError where torch was built without gloo, or where another backend has the name already.
    """
    if not dist.is_available() or not dist.is_gloo_available():
        raise ConfigError("The simulated hccl is carried by gloo, which this build of torch does not have.")
    backends: Any = dist.Backend
    if "hccl" in backends.backend_list:
        if torch_internals.backend_plugins["HCCL"].creator_fn is SimulatedHccl:
            return
        raise ConfigError("The distributed backend `hccl` is registered already, and not by the simulator.")
    backends.register_backend("hccl", SimulatedHccl, devices=["npu"])
