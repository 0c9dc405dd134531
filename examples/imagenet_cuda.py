"""A classifier's training script as they are written for GPUs, in the manner of the usual ImageNet example.

It knows CUDA alone.  Unchanged, it runs elsewhere under `acc dump`:

    acc dump --device npu examples/imagenet_cuda.py -a resnet50 -b 32 --gpu 0 --dummy      an Atlas server
    acc dump --device cpu examples/imagenet_cuda.py -a resnet50 -b 32 --gpu 0 --dummy      a bench without a GPU
"""

from __future__ import annotations

import argparse
import os
import random
import time
from pathlib import Path

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torch.utils.data.distributed import DistributedSampler

from dump.workload import ResNet


class AverageMeter:
    """The last value of something, and its average."""

    def __init__(self, name: str) -> None:
        self.name, self.value, self.sum, self.count = name, 0.0, 0.0, 0

    def update(self, value: float, count: int = 1) -> None:
        self.value = value
        self.sum += value * count
        self.count += count

    def all_reduce(self) -> None:
        total = torch.tensor([self.sum, self.count], dtype=torch.float32, device="cuda")
        dist.all_reduce(total, dist.ReduceOp.SUM)
        self.sum, count = total.tolist()
        self.count = int(count)

    def __str__(self) -> str:
        return f"{self.name} {self.value:.6f} ({self.sum / max(self.count, 1):.6f})"


class DummyImages(Dataset):
    """Images and classes drawn from their number."""

    def __init__(self, count: int, size: int, classes: int) -> None:
        self.count, self.size, self.classes = count, size, classes

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        generator = torch.Generator().manual_seed(index)
        return torch.randn(3, self.size, self.size, generator=generator), index % self.classes


class Prefetcher:
    """Copies the next batch to the GPU on a stream of its own while this one is computed with."""

    def __init__(self, loader: DataLoader, device: torch.device) -> None:
        self.batches, self.device, self.stream = iter(loader), device, torch.cuda.Stream()
        self._preload()

    def _preload(self) -> None:
        self.next = next(self.batches, None)
        if self.next is not None:
            with torch.cuda.stream(self.stream):
                self.next = tuple(part.to(self.device, non_blocking=True) for part in self.next)

    def __iter__(self):
        while self.next is not None:
            torch.cuda.current_stream().wait_stream(self.stream)
            batch = self.next
            for part in batch:
                part.record_stream(torch.cuda.current_stream())
            self._preload()
            yield batch


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="?", default="imagenet", help="accepted; the data are always made up")
    parser.add_argument("-a", "--arch", default="resnet18", choices=("resnet18", "resnet34", "resnet50"))
    parser.add_argument("-b", "--batch-size", type=int, default=32)
    parser.add_argument("-j", "--workers", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--gpu", type=int, default=None)
    parser.add_argument("--dist-backend", default="nccl")
    parser.add_argument("--amp", action="store_true", help="mixed precision")
    parser.add_argument("--dummy", action="store_true", help="accepted; the data are always made up")
    parser.add_argument("--dummy-images", type=int, default=64)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--checkpoint", type=Path, default=None)
    parser.add_argument("--resume", type=Path, default=None)
    return parser.parse_args()


def main() -> None:
    args = parse()
    if args.seed is not None:
        random.seed(args.seed)
        torch.manual_seed(args.seed)
        torch.cuda.manual_seed_all(args.seed)
        torch.backends.cudnn.deterministic = True
    if not torch.cuda.is_available():
        raise SystemExit("this script needs a GPU")
    args.distributed = int(os.environ.get("WORLD_SIZE", "1")) > 1
    if args.distributed:
        dist.init_process_group(backend=args.dist_backend)
        args.gpu = int(os.environ["LOCAL_RANK"])
    if args.gpu is not None:
        torch.cuda.set_device(args.gpu)
    device = torch.device(f"cuda:{args.gpu or 0}")
    print(f"=> GPU {args.gpu} of {torch.cuda.device_count()}: {torch.cuda.get_device_name(device)}")

    model = ResNet(args.arch, args.classes)
    if args.distributed:
        model = nn.parallel.DistributedDataParallel(model.cuda(args.gpu), device_ids=[args.gpu])
    elif args.gpu is not None:
        model = model.cuda(args.gpu)
    else:
        model = nn.DataParallel(model).cuda()
    criterion = nn.CrossEntropyLoss().to(device)
    optimizer = torch.optim.SGD(model.parameters(), args.lr, momentum=0.9, weight_decay=1e-4)
    scaler = torch.cuda.amp.GradScaler(enabled=args.amp) if args.amp else torch.amp.GradScaler("cuda", enabled=False)
    first = 0
    if args.resume is not None:
        checkpoint = torch.load(args.resume, map_location=f"cuda:{args.gpu or 0}")
        model.load_state_dict(checkpoint["model"])
        optimizer.load_state_dict(checkpoint["optimizer"])
        first = checkpoint["epoch"]
        print(f"=> resumed at epoch {first}")

    data = DummyImages(args.dummy_images, args.image_size, args.classes)
    sampler = DistributedSampler(data) if args.distributed else None
    loader = DataLoader(
        data, args.batch_size, shuffle=sampler is None, sampler=sampler, num_workers=args.workers, pin_memory=True
    )
    for epoch in range(first, args.epochs):
        if sampler is not None:
            sampler.set_epoch(epoch)
        train(loader, model, criterion, optimizer, scaler, device, args)
        if args.checkpoint is not None and (not args.distributed or dist.get_rank() == 0):
            state = {"epoch": epoch + 1, "model": model.state_dict(), "optimizer": optimizer.state_dict()}
            torch.save(state, args.checkpoint)
    if args.distributed:
        dist.destroy_process_group()


def train(loader, model, criterion, optimizer, scaler, device, args) -> None:
    losses, top1, times = AverageMeter("loss"), AverageMeter("acc@1"), AverageMeter("seconds")
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    model.train()
    for number, (images, target) in enumerate(Prefetcher(loader, device)):
        began = time.time()
        start.record()
        with torch.autocast("cuda", enabled=args.amp):
            output = model(images)
            loss = criterion(output, target)
        optimizer.zero_grad(set_to_none=True)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        end.record()
        torch.cuda.synchronize()
        losses.update(loss.item(), images.size(0))
        top1.update(float((output.argmax(1) == target).float().mean()), images.size(0))
        hits = F.one_hot(target, args.classes).to(device, dtype=torch.bool, non_blocking=True)
        assert hits.any()
        print(f"[{number}] {losses} {top1}  memory {torch.cuda.max_memory_allocated() // 2**20} MB")
        times.update(start.elapsed_time(end) / 1000 if args.gpu is not None else time.time() - began)
    if args.distributed:
        losses.all_reduce()
    print(f" * {losses}")


if __name__ == "__main__":
    main()
