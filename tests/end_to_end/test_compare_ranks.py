"""Jobs of two ranks under torchrun: healthy ones are the same, and a fault in one rank is named where it began."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

ROOT = Path(__file__).resolve().parent.parent.parent

TRAIN = '''
"""case [rank:step]: trains three steps; gelu is 1 % too large on that rank in that step."""
import sys
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.nn import functional

case = sys.argv[1]
fault_rank, fault_step = map(int, sys.argv[2].split(":")) if len(sys.argv) > 2 else (-1, -1)
torch.set_num_threads(1)
dist.init_process_group("gloo")
rank, world, step = dist.get_rank(), dist.get_world_size(), 0

if rank == fault_rank:
    genuine = torch.library.get_kernel("aten::gelu", "CPU")
    library = torch.library.Library("aten", "IMPL")

    def gelu(keys, x, *, approximate="none"):
        with torch._C.DisableTorchFunction(), torch.no_grad():
            y = genuine.call_boxed(keys, x, approximate=approximate)
            if step == fault_step:
                torch._C.TensorBase.mul_(y, 1.01)
        return y

    library.impl("gelu", gelu, "CPU", with_keyset=True)


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(32), nn.Linear(32, 128), nn.Linear(128, 32)

    def forward(self, x):
        return x + self.down(functional.gelu(self.up(self.norm(x))))


torch.manual_seed(0)
model = nn.Sequential(nn.Linear(16, 32), Block(), Block(), nn.Linear(32, 8))
mesh = init_device_mesh("cpu", (world,))
if case == "ddp":
    model = nn.parallel.DistributedDataParallel(model)
elif case == "fsdp1":
    from torch.distributed.fsdp import FullyShardedDataParallel
    model = FullyShardedDataParallel(model, device_id=torch.device("cpu"), use_orig_params=True)
elif case == "fsdp2":
    from torch.distributed.fsdp import fully_shard
    for part in model:
        fully_shard(part, mesh=mesh)
    fully_shard(model, mesh=mesh)
elif case == "tp":
    from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module
    for block in (model[1], model[2]):
        parallelize_module(block, mesh, {"up": ColwiseParallel(), "down": RowwiseParallel()})
optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
for step in range(3):
    batch = torch.randn(8, 16, generator=torch.Generator().manual_seed(step))
    if case != "tp":
        batch = batch[rank * 8 // world : (rank + 1) * 8 // world]
    optimizer.zero_grad()
    model(batch).square().mean().backward()
    optimizer.step()
dist.destroy_process_group()
'''

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not torch.distributed.is_available(), reason="torch without torch.distributed"),
]


@dataclass(frozen=True)
class Compared:
    code: int
    advice: dict[str, Any]

    @property
    def verdict(self) -> str:
        return str(self.advice["verdict"])

    @property
    def first(self) -> tuple[str, int, int]:
        suspect = self.advice["suspects"][0]
        return suspect["name"], suspect["rank"], suspect["step"]


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def record(folder: Path, name: str, *arguments: str, ranks: int = 2) -> Path:
    """Record the script on so many ranks into `folder`/`name`."""
    (folder / "train.py").write_text(TRAIN)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
    done = subprocess.run(
        [*launcher, "-m", "dump", "--step", "all", "-o", name, "train.py", *arguments],
        cwd=folder,
        env=_environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return folder / name


def compare(npu: Path, bench: Path) -> Compared:
    out = npu.parent / f"{npu.name}_{bench.name}"
    done = subprocess.run(
        [sys.executable, "-m", "acc_compare", "compare", str(npu), str(bench), "-o", str(out)],
        env=_environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    (advice,) = (out / "accuracy_compare").glob("advisor_*.json")
    return Compared(done.returncode, json.loads(advice.read_text()))


@pytest.mark.parametrize("case", ["ddp", "fsdp1", "fsdp2", "tp"])
def test_a_fault_in_one_rank_is_named_there_and_nothing_else_is(tmp_path: Path, case: str) -> None:
    bench = record(tmp_path, "bench", case)
    healthy = compare(record(tmp_path, "again", case), bench)
    assert (healthy.code, healthy.verdict, healthy.advice["suspects"]) == (0, "same", [])
    faulty = compare(record(tmp_path, "faulty", case, "1:1"), bench)
    assert (faulty.code, faulty.verdict) == (1, "different")
    assert faulty.first == ("Functional.gelu.0.forward", 1, 1)
    assert len(faulty.advice["suspects"]) == 1
    (page,) = (tmp_path / "faulty_bench" / "accuracy_compare").glob("overview_*.html")
    data = re.search(r'id="data">(.*?)</script>', page.read_text(encoding="utf-8"))
    assert data is not None
    assert {each["ranks"] for each in json.loads(data[1])["meetings"]} == {"0-1"}


def test_tensor_parallel_ranks_are_put_together_and_compared_with_one(tmp_path: Path) -> None:
    one, two = record(tmp_path, "one", "tp", ranks=1), record(tmp_path, "two", "tp")
    healthy = compare(two, one)
    assert (healthy.code, healthy.verdict, healthy.advice["suspects"]) == (0, "same", [])
    apart = compare(two / "step1" / "rank0", one / "step1" / "rank0")
    assert (apart.code, apart.verdict, apart.advice["suspects"]) == (2, "incomplete", [])
    faulty = compare(record(tmp_path, "faulty", "tp", "1:1"), one)
    assert faulty.first == ("Functional.gelu.0.forward", None, 1)


@pytest.mark.parametrize("case", ["ddp", "fsdp2"])
def test_data_parallel_ranks_are_put_together_and_compared_with_one(tmp_path: Path, case: str) -> None:
    one, two = record(tmp_path, "one", case, ranks=1), record(tmp_path, "two", case)
    for npu, bench in ((two, one), (one, two)):
        healthy = compare(npu, bench)
        assert (healthy.code, healthy.verdict, healthy.advice["suspects"]) == (0, "same", [])
    faulty = compare(record(tmp_path, "faulty", case, "1:1"), one)
    assert faulty.first == ("Functional.gelu.0.forward", None, 1)
