"""Which methods a process group has for its collectives, and who takes part in one."""

from __future__ import annotations

import sys
import zlib
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch

from ..record import tree
from ..torch_internals import ddp_facts, group_gather_base, group_named, group_scatter_base, name_of_group

_PICKLED = ("_object", "_object_list")  # functions that send Python objects, as bytes that mean nothing by themselves
_FRAMES = 8


@dataclass(frozen=True, slots=True)
class GroupMethod:
    """A method of a process group: the api it is recorded as, and which of its arguments hold tensors, in the order of
    the function of torch.distributed; those at `reads` are read, those at `writes` written."""

    name: str
    api: str
    order: tuple[int, ...] = (0,)
    reads: tuple[int, ...] = (0,)
    writes: tuple[int, ...] = (0,)


_OUT_IN: dict[str, Any] = {"order": (0, 1), "reads": (1,), "writes": (0,)}
METHODS: tuple[GroupMethod, ...] = (
    GroupMethod("allreduce", "all_reduce"),
    GroupMethod("allreduce_coalesced", "all_reduce_coalesced"),
    GroupMethod("broadcast", "broadcast"),
    GroupMethod("reduce", "reduce"),
    GroupMethod("allgather", "all_gather", **_OUT_IN),
    GroupMethod(group_gather_base, "all_gather_into_tensor", **_OUT_IN),
    GroupMethod("all_gather_single", "all_gather_into_tensor", **_OUT_IN),
    GroupMethod("allgather_coalesced", "all_gather_coalesced", **_OUT_IN),
    GroupMethod("allgather_into_tensor_coalesced", "all_gather_into_tensor_coalesced", **_OUT_IN),
    GroupMethod("all_gather_single_coalesced", "all_gather_into_tensor_coalesced", **_OUT_IN),
    GroupMethod("gather", "gather", order=(1, 0), reads=(1,), writes=(0,)),
    GroupMethod("gather_into_tensor", "gather_into_tensor", order=(1, 0), reads=(1,), writes=(0,)),
    GroupMethod("gather_single", "gather_into_tensor", order=(1, 0), reads=(1,), writes=(0,)),
    GroupMethod("scatter", "scatter", **_OUT_IN),
    GroupMethod("reduce_scatter", "reduce_scatter", **_OUT_IN),
    GroupMethod(group_scatter_base, "reduce_scatter_tensor", **_OUT_IN),
    GroupMethod("reduce_scatter_single", "reduce_scatter_tensor", **_OUT_IN),
    GroupMethod("reduce_scatter_tensor_coalesced", "reduce_scatter_tensor_coalesced", **_OUT_IN),
    GroupMethod("reduce_scatter_single_coalesced", "reduce_scatter_tensor_coalesced", **_OUT_IN),
    GroupMethod("alltoall", "all_to_all", **_OUT_IN),
    GroupMethod("alltoall_base", "all_to_all_single", **_OUT_IN),
    GroupMethod("all_to_all_single", "all_to_all_single", **_OUT_IN),
    GroupMethod("send", "send", writes=()),
    GroupMethod("recv", "recv", reads=()),
    GroupMethod("recv_anysource", "recv", reads=()),
)


def sends_objects() -> bool:
    """Is this a function that sends Python objects?"""
    frame = sys._getframe(1)
    for _ in range(_FRAMES * 2):
        if frame.f_code.co_name.endswith(_PICKLED) and frame.f_globals.get("__name__", "").startswith("torch."):
            return True
        if frame.f_back is None:
            return False
        frame = frame.f_back
    return False


def plain(given: Any) -> Any:
    """`[tensor]` as the tensor: a process group takes lists where torch.distributed takes one."""
    while isinstance(given, (list, tuple)) and len(given) == 1:
        given = given[0]
    return given


Members: TypeAlias = "tuple[str, tuple[int, ...]]"
"""The name of a process group, and its ranks in the world."""


_TO_ONE = ("reduce", "gather")


def settings(api: str, options: Any, ranks: tuple[int, ...], peer: Members | None) -> dict[str, Any]:
    """What is plain among the arguments: the reduction, and the rank of the world that gives or gets it all, which of a
    message is that at its other end."""
    found: dict[str, Any] = {}
    if peer is not None:
        source, target = peer[1]
        found |= {"dst": target} if api == "send" else {"src": source}
    reduction = getattr(options, "reduceOp", None)
    if reduction is not None:
        found["op"] = str(getattr(reduction, "op", reduction)).rpartition(".")[2].partition(":")[0]
    if hasattr(options, "rootRank"):
        found["dst" if api in _TO_ONE else "src"] = ranks[options.rootRank]
    return found


def hook_of(model: Any) -> dict[str, str]:
    """`{"hook": name}` where a communication hook reduces the gradients of a DistributedDataParallel."""
    name = ddp_facts(model).get("comm_hook")
    return {"hook": str(name)} if name else {}


def members(group: Any) -> Members:
    """The name of a process group and its ranks in the world."""
    name = group.group_name if hasattr(group, "group_name") else name_of_group(group)
    return str(name), tuple(torch.distributed.get_process_group_ranks(group))


def members_named(name: str) -> Members | None:
    """The members of the group that a functional collective names."""
    found = group_named(name) if group_named is not None else None
    return None if found is None else members(found)


def group_argument(ranks: tuple[int, ...]) -> tree.Plain:
    """The process group as an argument, in msprobe's words: its ranks, and a number that is theirs on every rank."""
    number = zlib.crc32(str(list(ranks)).encode())
    return tree.Plain("torch.ProcessGroup", {"group_ranks": list(ranks), "group_id": f"{number:08x}"})


def peers(group: Any, other: int, *, tag: int, sends: bool) -> Members:
    """Sender and receiver of a message, as a group of their own."""
    name, ranks = members(group)
    ours, theirs = ranks[group.rank()], ranks[other]
    return f"{name} tag {tag}", (ours, theirs) if sends else (theirs, ours)
