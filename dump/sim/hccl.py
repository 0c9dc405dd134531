"""A process group named `hccl` for the simulated device, carried by gloo.

Ranks are processes on one machine or several, as with gloo; the collectives run on the host memory behind the
npu tensors, so nothing is copied.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch.distributed as dist
from torch.distributed import distributed_c10d

from dump.format.errors import ConfigError
from dump.sim.kernels import lower
from dump.sim.storage import without_overrides

_c10d: Any = distributed_c10d

COLLECTIVES = (
    "_allgather_base", "_reduce_scatter_base", "allgather", "allgather_into_tensor_coalesced",
    "allreduce", "allreduce_coalesced", "alltoall", "alltoall_base", "barrier", "broadcast", "gather",
    "recv", "recv_anysource", "reduce", "reduce_scatter", "reduce_scatter_tensor_coalesced", "scatter",
    "send",
)  # fmt: skip


def _carried(name: str) -> Callable[..., Any]:
    def collective(self: SimulatedHccl, *args: Any, **kwargs: Any) -> Any:
        with without_overrides():
            lowered = [lower(x) for x in args]
            return getattr(self.gloo, name)(*lowered, **{key: lower(x) for key, x in kwargs.items()})

    collective.__name__ = name
    return collective


class SimulatedHccl(dist.ProcessGroup):
    """One rank's end of the group.  Every collective of `COLLECTIVES` is gloo's, on host memory."""

    def __init__(self, store: Any, rank: int, size: int, timeout: timedelta) -> None:
        super().__init__(rank, size)  # type: ignore[call-arg]
        self.gloo = _c10d.ProcessGroupGloo(_c10d.PrefixStore("simulated_hccl", store), rank, size, timeout)

    def getBackendName(self) -> str:  # noqa: N802 - torch's name
        return "hccl"


for _name in COLLECTIVES:
    setattr(SimulatedHccl, _name, _carried(_name))


def register_hccl() -> None:
    """Let `torch.distributed.init_process_group("hccl")` work for npu tensors; a second call does nothing.

    Raises ConfigError where torch was built without gloo, or where another backend has the name already.
    """
    if not dist.is_available() or not dist.is_gloo_available():
        raise ConfigError("The simulated hccl is carried by gloo, which this build of torch does not have.")
    backends: Any = dist.Backend
    if "hccl" in backends.backend_list:
        if backends._plugins["HCCL"].creator_fn is SimulatedHccl:
            return
        raise ConfigError("The distributed backend `hccl` is registered already, and not by the simulator.")
    backends.register_backend("hccl", SimulatedHccl, devices=["npu"])
