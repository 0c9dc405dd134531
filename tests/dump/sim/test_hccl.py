"""Collectives on npu tensors, two ranks as two threads over one store."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
import torch
import torch.distributed as dist

import dump.sim
from dump.format.errors import ConfigError

if dump.sim.device_kind() != "npu":
    pytest.skip("this torch has no device in Python", allow_module_level=True)
dump.sim.enable()
if not dist.is_available() or not dist.is_gloo_available():
    pytest.skip("this build of torch has no gloo", allow_module_level=True)

from dump.sim.hccl import SimulatedHccl, register_hccl  # noqa: E402 - needs gloo


def on_two_ranks(work):
    """What `work(group, rank)` returns on both ranks."""
    store, results = dist.HashStore(), [None, None]

    def rank_of(rank):
        group = SimulatedHccl(store, rank, 2, timedelta(seconds=20))
        results[rank] = work(group, rank)

    threads = [threading.Thread(target=rank_of, args=(rank,)) for rank in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def mine(rank):
    return torch.arange(2.0, device="npu") + 10 * rank


def allreduce(group, rank):
    x = mine(rank)
    group.allreduce([x]).wait()
    return x


def broadcast(group, rank):
    x = mine(rank)
    group.broadcast([x], dist.BroadcastOptions()).wait()
    return x


def allgather(group, rank):
    parts = [torch.empty(2, device="npu") for _ in range(2)]
    group.allgather([parts], [mine(rank)]).wait()
    return torch.cat(parts)


def allgather_into_one(group, rank):
    whole = torch.empty(4, device="npu")
    group._allgather_base(whole, mine(rank)).wait()
    return whole


@pytest.mark.parametrize(
    ("work", "expected"),
    [
        (allgather_into_one, [0.0, 1.0, 10.0, 11.0]),
        (allreduce, [10.0, 12.0]),
        (broadcast, [0.0, 1.0]),
        (allgather, [0.0, 1.0, 10.0, 11.0]),
    ],
)
def test_a_collective_joins_both_ranks(work, expected):
    for found in on_two_ranks(work):
        assert found.device.type == "npu"
        assert found.tolist() == expected


def test_a_group_of_one_serves_ddp():
    dump.sim.register_hccl()
    dump.sim.register_hccl()
    dist.init_process_group("hccl", store=dist.HashStore(), rank=0, world_size=1)
    try:
        x = torch.ones(2, device="npu")
        dist.all_reduce(x)
        dist.barrier()
        assert dist.get_backend() == "hccl"
        model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(2, 1).to("npu"))
        model(x[None]).sum().backward()
        assert model.module.weight.grad.tolist() == [[1.0, 1.0]]
    finally:
        dist.destroy_process_group()


def test_a_foreign_hccl_is_not_replaced(monkeypatch):
    register_hccl()
    monkeypatch.setitem(dist.Backend._plugins, "HCCL", dist.Backend._BackendPlugin(object(), False))
    with pytest.raises(ConfigError, match="registered already"):
        register_hccl()
