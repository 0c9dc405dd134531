"""A classifier's training script for whatever accelerator torch finds, in the manner of today's ImageNet example.

It knows `torch.accelerator` (torch 2.6) and no device by name.  Unchanged, it runs under `acc dump`:

    acc dump examples/imagenet_accelerator.py -b 32 --dummy                    on the accelerator, or the CPU
    acc dump --device cpu examples/imagenet_accelerator.py -b 32 --dummy       on the CPU, as a bench
"""

from __future__ import annotations

import argparse

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from dump.workload import ResNet


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-b", "--batch-size", type=int, default=32)
    parser.add_argument("--gpu", type=int, default=None, help="the accelerator's number")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dummy", action="store_true", help="random images; there are no others here")
    options = parser.parse_args()
    torch.manual_seed(options.seed)

    if torch.accelerator.is_available():
        device = torch.accelerator.current_accelerator()
        if options.gpu is not None:
            torch.accelerator.set_device_index(options.gpu)
    else:
        device = torch.device("cpu")
    print(f"=> device {device}")

    model = ResNet("resnet18", options.classes).to(device)
    criterion = nn.CrossEntropyLoss().to(device)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=1e-4)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=30, gamma=0.1)
    size = options.image_size
    images = torch.randn(2 * options.batch_size, 3, size, size)
    data = TensorDataset(images, torch.randint(options.classes, (len(images),)))
    loader = DataLoader(data, batch_size=options.batch_size, pin_memory=device.type != "cpu")

    model.train()
    for number, (batch, target) in enumerate(loader):
        batch, target = batch.to(device, non_blocking=True), target.to(device, non_blocking=True)
        loss = criterion(model(batch), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        print(f"[{number}] loss {loss.item():.6f}")
    scheduler.step()
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()


if __name__ == "__main__":
    main()
