"""Situations of several ranks, for torchrun: as `situations.py`, a line for each and each rank."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from typing import Any

import situations
import torch
import torch.distributed as dist
import torch.nn.functional as F
from situations import mlp
from torch import nn
from torch.distributed.device_mesh import init_device_mesh

OF_RANKS: dict[str, Callable[[], Any]] = {}


def of_ranks(function: Callable[[], Any]) -> Callable[[], Any]:
    OF_RANKS[function.__name__] = function
    return function


def own(count: int = 2) -> list[torch.Tensor]:
    """Batches of this rank."""
    generator = torch.Generator().manual_seed(100 + dist.get_rank())
    return [torch.randn(4, 6, generator=generator) for _ in range(count)]


def local(thing: Any) -> Any:
    return thing.to_local() if hasattr(thing, "to_local") else thing


def train(model: nn.Module, optimizer: torch.optim.Optimizer, batches: list[torch.Tensor]) -> list[Any]:
    seen: list[Any] = []
    for batch in batches:
        optimizer.zero_grad()
        loss = model(batch).square().mean()
        loss.backward()
        optimizer.step()
        seen.append(loss)
    return [*seen, [local(p.grad) for p in model.parameters()], [local(p) for p in model.parameters()]]


@of_ranks
def ddp() -> Any:
    model = nn.parallel.DistributedDataParallel(mlp(), gradient_as_bucket_view=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    with model.no_sync():
        model(own()[0]).mean().backward()
    found = train(model, optimizer, own())
    model.register_comm_hook(
        None,
        lambda _, bucket: (
            dist.all_reduce(bucket.buffer(), async_op=True).get_future().then(lambda future: future.value()[0] / 2)
        ),
    )
    return found, train(model, optimizer, own())


@of_ranks
def fully_sharded() -> Any:
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh("cpu", (2,))
    model = mlp()
    for layer in (model[0], model[3]):
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    found = train(model, optimizer, own())
    norm = nn.utils.clip_grad_norm_(model.parameters(), 0.1)
    return found, local(norm), [local(value) for value in model.state_dict().values()]


@of_ranks
def tensor_parallel() -> Any:
    from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

    model = nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.Linear(8, 6))
    parallelize_module(model, init_device_mesh("cpu", (2,)), {"0": ColwiseParallel(), "2": RowwiseParallel()})
    torch.manual_seed(1)
    return train(model, torch.optim.SGD(model.parameters(), lr=0.1), [torch.randn(4, 6)])


@of_ranks
def dtensors() -> Any:
    from torch.distributed.tensor import Replicate, Shard, distribute_tensor

    mesh = init_device_mesh("cpu", (2,))
    x = distribute_tensor(torch.arange(24.0).view(4, 6), mesh, [Shard(0)]).requires_grad_()
    w = distribute_tensor(torch.eye(6) * 2, mesh, [Replicate()])
    y = F.gelu(x @ w).redistribute(mesh, [Shard(1)])
    total = y.sum().full_tensor()
    total.backward()
    return total, y.to_local(), x.grad.to_local(), str(y.placements), (x + 1).full_tensor()


@of_ranks
def messages() -> Any:
    rank = dist.get_rank()
    a, b = torch.full((3,), float(rank)), torch.empty(3)
    work = dist.batch_isend_irecv([dist.P2POp(dist.isend, a, 1 - rank), dist.P2POp(dist.irecv, b, 1 - rank)])
    for each in work:
        each.wait()
    gathered = [torch.empty(3) for _ in range(2)]
    dist.all_gather(gathered, torch.relu(b - 0.5))
    things: list[Any] = [None, None]
    dist.all_gather_object(things, {"rank": rank})
    out = torch.empty(2)
    dist.all_to_all_single(out, torch.tensor([1.0, 2.0]) * (rank + 1))
    group = dist.new_group([0, 1])
    handle = dist.all_reduce(a, group=group, async_op=True)
    handle.wait()
    return b, gathered, things, out, a, dist.get_process_group_ranks(group)


@of_ranks
def pipeline() -> Any:
    from torch.distributed.pipelining import PipelineStage, Schedule1F1B

    rank = dist.get_rank()
    part = nn.Sequential(nn.Linear(6, 6), nn.Tanh())
    stage = PipelineStage(part, rank, 2, torch.device("cpu"))
    schedule = Schedule1F1B(stage, n_microbatches=2, loss_fn=lambda y, t: F.mse_loss(y, t))
    torch.manual_seed(2)
    x, target = torch.randn(4, 6), torch.randn(4, 6)
    losses: list[Any] = []
    out = schedule.step(x) if rank == 0 else schedule.step(target=target, losses=losses)
    return out, losses, [p.grad for p in part.parameters()]


@of_ranks
def zero_redundancy() -> Any:
    from torch.distributed.optim import ZeroRedundancyOptimizer

    model = nn.parallel.DistributedDataParallel(mlp())
    optimizer = ZeroRedundancyOptimizer(model.parameters(), optimizer_class=torch.optim.Adam, lr=0.01)
    return train(model, optimizer, own())


@of_ranks
def uneven_inputs() -> Any:
    from torch.distributed.algorithms.join import Join

    model = nn.parallel.DistributedDataParallel(mlp())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with Join([model]):
        return train(model, optimizer, own(2 + dist.get_rank()))


@of_ranks
def checkpointed_in_the_step() -> Any:
    import torch.distributed.checkpoint as dcp
    from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
    from torch.distributed.fsdp import fully_shard

    model = mlp()
    fully_shard(model, mesh=init_device_mesh("cpu", (2,)))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    batch = own(1)[0]
    loss = model(batch).square().mean()
    loss.backward()
    optimizer.step()
    names: list[Any] = [tempfile.mkdtemp() if dist.get_rank() == 0 else None]
    dist.broadcast_object_list(names)
    weights, moments = get_state_dict(model, optimizer)
    dcp.save({"model": weights, "optimizer": moments}, checkpoint_id=names[0])
    kept = [local(p).clone() for p in model.parameters()]
    train(model, optimizer, [batch])
    weights, moments = get_state_dict(model, optimizer)
    dcp.load({"model": weights, "optimizer": moments}, checkpoint_id=names[0])
    set_state_dict(model, optimizer, model_state_dict=weights, optim_state_dict=moments)
    again = [local(p).clone() for p in model.parameters()]
    return kept, again, train(model, optimizer, [batch])


@of_ranks
def context_parallel() -> Any:
    from torch.distributed.tensor.experimental import context_parallel as parallel
    from torch.nn.attention import SDPBackend, sdpa_kernel

    torch.manual_seed(3)
    q, k, v = (torch.randn(1, 2, 8, 8) for _ in range(3))
    mesh = init_device_mesh("cpu", (2,))
    shared = parallel(mesh, buffers=(q, k, v), buffer_seq_dims=(2, 2, 2))
    with shared, sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        return F.scaled_dot_product_attention(q, k, v)


def main() -> None:
    dist.init_process_group("gloo")
    write = sys.stdout.write
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115  # for good
    torch.manual_seed(0)
    lines: list[str] = []
    situations.print = lambda line, **_: lines.append(line)  # type: ignore[attr-defined]
    situations.main(OF_RANKS)
    gathered: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(gathered, lines)
    if dist.get_rank() == 0:
        write("".join(f"{rank} {line}\n" for rank, each in enumerate(gathered) for line in each))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
