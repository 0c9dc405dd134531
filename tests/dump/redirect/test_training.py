from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from dump.redirect import redirected

NEEDS_AUTOCAST_FOR_ALL = pytest.mark.skipif(
    not hasattr(torch, "get_autocast_dtype"), reason="autocast to float16 on the CPU came with torch 2.4"
)


@pytest.fixture(autouse=True)
def _on_the_cpu() -> Iterator[None]:
    with redirected("cpu"):
        yield


@NEEDS_AUTOCAST_FOR_ALL
def test_autocast_takes_the_dtype_that_cuda_takes() -> None:
    x = torch.ones(2, 2)
    for context in (torch.autocast("cuda"), torch.amp.autocast("cuda", dtype=torch.float16)):
        with context:
            assert (x @ x).dtype is torch.float16
            assert torch.is_autocast_enabled("cuda")
            assert torch.is_autocast_enabled()
    with torch.autocast("cuda", torch.bfloat16):
        assert (x @ x).dtype is torch.bfloat16
        assert torch.get_autocast_dtype("cuda") is torch.bfloat16
    with torch.autocast("cuda", enabled=False):
        assert (x @ x).dtype is torch.float32
    with torch.autocast("cpu"):
        assert (x @ x).dtype is torch.bfloat16
    assert not torch.is_autocast_enabled("cuda")


@NEEDS_AUTOCAST_FOR_ALL
def test_the_older_names_of_mixed_precision() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        with torch.cuda.amp.autocast():
            assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype is torch.float16
        scaler = torch.cuda.amp.GradScaler(init_scale=8.0)
    assert scaler.scale(torch.ones(())).item() == 8.0
    assert torch.amp.GradScaler().is_enabled()


@NEEDS_AUTOCAST_FOR_ALL
def test_custom_functions_under_autocast() -> None:
    class Square(torch.autograd.Function):
        @staticmethod
        @torch.amp.custom_fwd(device_type="cuda", cast_inputs=torch.float32)
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        @torch.amp.custom_bwd(device_type="cuda")
        def backward(ctx, grad):
            return 2 * ctx.saved_tensors[0] * grad

    x = torch.full((2,), 3.0, dtype=torch.float16, requires_grad=True)
    with torch.autocast("cuda"):
        out = Square.apply(x)
    out.sum().backward()
    assert out.dtype is torch.float32
    assert x.grad.tolist() == [6.0, 6.0]


def test_a_loader_that_pins_does_so_without_a_warning() -> None:
    assert [batch.tolist() for batch in DataLoader(torch.arange(4.0), 2, pin_memory=True)] == [[0, 1], [2, 3]]


@pytest.mark.parametrize("location", [None, "cuda:0", torch.device("cuda"), {"cpu": "cuda:1"}, {"cuda:0": "cuda:1"}])
def test_a_checkpoint(tmp_path: Path, location: object) -> None:
    torch.save({"x": torch.arange(3.0)}, tmp_path / "c.pt")
    loaded = torch.load(tmp_path / "c.pt", map_location=location)
    assert loaded["x"].device.type == "cpu"
    assert loaded["x"].tolist() == [0, 1, 2]


def test_a_checkpoint_that_was_saved_on_a_gpu(tmp_path: Path) -> None:
    torch.save(torch.arange(3.0), tmp_path / "c.pt")
    saved = (tmp_path / "c.pt").read_bytes()
    # The place of a storage is a pickled string: "cpu" with its length.
    saved_on_gpu = _with_place(tmp_path / "c.pt", tmp_path / "gpu.pt")
    assert saved_on_gpu.read_bytes() != saved
    assert torch.load(saved_on_gpu).tolist() == [0, 1, 2]


def _with_place(source: Path, target: Path) -> Path:
    """A copy of a checkpoint whose storages say "cuda:0"."""
    import zipfile

    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name.endswith("data.pkl"):
                content = content.replace(b"X\x03\x00\x00\x00cpu", b"X\x06\x00\x00\x00cuda:0")
            new.writestr(name, content)
    return target


def test_data_parallel_is_a_wrapper_around_its_module() -> None:
    model = nn.DataParallel(nn.Linear(2, 3)).cuda()
    assert model(torch.ones(4, 2, device="cuda")).shape == (4, 3)
    assert list(model.state_dict()) == ["module.weight", "module.bias"]


def test_a_group_of_processes(tmp_path: Path) -> None:
    dist = torch.distributed
    assert dist.is_nccl_available()
    meeting = f"file://{tmp_path / 'meet'}"
    dist.init_process_group("nccl", init_method=meeting, rank=0, world_size=1, device_id=torch.device("cuda:0"))
    try:
        assert dist.get_backend() == "gloo"
        assert dist.get_backend(dist.new_group([0], backend="nccl")) == "gloo"
        dist.barrier(device_ids=[0])
        model = nn.parallel.DistributedDataParallel(nn.Linear(2, 1).cuda(0), [0], output_device=0)
        model(torch.ones(3, 2).cuda()).sum().backward()
        assert model.module.weight.grad.tolist() == [[3, 3]]
        total = torch.ones(2, device="cuda")
        dist.all_reduce(total, dist.ReduceOp.SUM)
        assert total.tolist() == [1, 1]
    finally:
        dist.destroy_process_group()


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_compiled_code(backend: str) -> None:
    def work(x: torch.Tensor) -> torch.Tensor:
        return (x.cuda() + torch.ones(3, device="cuda")).to(torch.device("cuda:0")) * 2

    torch._dynamo.reset()  # torch 2.1 warns of another backend
    assert torch.compile(work, backend=backend, fullgraph=True)(torch.zeros(3)).tolist() == [2, 2, 2]
