"""Two ranks that give each other tensors; the first makes a NaN before it gives it away."""

import os
import sys

import common
import torch
import torch.distributed as dist


def train(rank, store):
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    debugger = common.debugger()
    debugger.start()
    x = torch.full((3,), float(rank))
    if rank == 0:
        x = torch.log(x - 1)
    dist.all_reduce(x)
    dist.broadcast(x, src=1)
    dist.all_gather([torch.zeros(3), torch.zeros(3)], x)
    if rank == 0:
        dist.send(x, 1)
    else:
        dist.recv(x, 0)
    debugger.stop()
    debugger.step()
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    torch.multiprocessing.spawn(train, (os.path.abspath("store"),), nprocs=2)
    sys.exit(0)
