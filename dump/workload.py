"""The built-in workload: one image-classification training step, a ResNet in plain torch on synthetic data.

The flags are those of the usual ImageNet example (`-a resnet50 -b 32 --gpu 1 --dummy`), so that what works
here works there.  Data are drawn on the CPU from a fixed seed: the same on every device.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import NoReturn

import torch
from torch import nn

from .environment.device import best_device
from .format.errors import ConfigError

_LAYERS = {
    "resnet18": (False, (2, 2, 2, 2)),
    "resnet34": (False, (3, 4, 6, 3)),
    "resnet50": (True, (3, 4, 6, 3)),
}


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut (He et al. 2015, figure 5 left)."""

    expansion = 1

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = _shortcut(channels, width * self.expansion, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += identity
        return self.relu(out)  # type: ignore[no-any-return]


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolutions and a shortcut, the stride on the 3x3 (He et al. 2015, figure 5 right)."""

    expansion = 4

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, width * self.expansion, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(width * self.expansion)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(channels, width * self.expansion, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        identity = x
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        if self.downsample is not None:
            identity = self.downsample(x)
        out += identity
        return self.relu(out)  # type: ignore[no-any-return]


def _shortcut(channels: int, out: int, stride: int) -> nn.Module | None:
    if stride == 1 and channels == out:
        return None
    return nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out))


class ResNet(nn.Module):
    """The residual network with the module names that torchvision's has, so that dumps of both align."""

    def __init__(self, arch: str, classes: int) -> None:
        super().__init__()
        deep, counts = _LAYERS[arch]
        block: type[BasicBlock] | type[Bottleneck] = Bottleneck if deep else BasicBlock
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        channels = 64
        for number, (width, count) in enumerate(zip((64, 128, 256, 512), counts, strict=True), start=1):
            blocks: list[nn.Module] = []
            for index in range(count):
                blocks.append(block(channels, width, 2 if index == 0 and number > 1 else 1))
                channels = width * block.expansion
            self.add_module(f"layer{number}", nn.Sequential(*blocks))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for number in range(1, 5):
            x = self.get_submodule(f"layer{number}")(x)
        return self.fc(torch.flatten(self.avgpool(x), 1))  # type: ignore[no-any-return]


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, by raising."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"built-in workload: {message}. Put a script's path before the script's own flags.")


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected at least 1, found {number}")
    return number


def _device(text: str) -> torch.device:
    """A device that can be used here."""
    try:
        torch.empty(1, device=text)
    except (RuntimeError, AssertionError) as error:  # CUDA is missing: AssertionError
        reason = str(error).splitlines()[0]
        raise argparse.ArgumentTypeError(f"device {text!r} cannot be used here ({reason})") from error
    return torch.device(text)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The workload's options.  Raises ConfigError."""
    parser = _Parser(prog="acc dump -- (built-in workload)", description=str(__doc__).splitlines()[0])
    parser.add_argument("-a", "--arch", choices=sorted(_LAYERS), default="resnet50", help="network (resnet50)")
    parser.add_argument("-b", "--batch-size", type=_count, default=32, metavar="N", help="images a step (32)")
    parser.add_argument("--steps", type=_count, default=1, metavar="N", help="training steps (1)")
    parser.add_argument("--lr", type=float, default=0.1, help="learning rate (0.1)")
    parser.add_argument("--image-size", type=_count, default=224, metavar="N", help="height and width (224)")
    parser.add_argument("--classes", type=_count, default=1000, metavar="N", help="classes (1000)")
    parser.add_argument("--seed", type=int, default=0, help="of weights and data (0)")
    parser.add_argument(
        "--device", type=_device, default=None, help="npu, cuda or cpu (the first of them that is there)"
    )
    parser.add_argument("--gpu", type=int, default=None, help="accepted; one device is used")
    parser.add_argument("--dummy", action="store_true", help="accepted; the data are always synthetic")
    return parser.parse_args(list(arguments))


def train(options: argparse.Namespace) -> None:
    """Train for `options.steps` steps and print the losses."""
    torch.manual_seed(options.seed)
    device = options.device or torch.device(best_device())
    model = ResNet(options.arch, options.classes).to(device)
    optimizer = torch.optim.SGD(model.parameters(), options.lr, momentum=0.9, weight_decay=1e-4)
    criterion = nn.CrossEntropyLoss()
    data = torch.Generator().manual_seed(options.seed + 1)
    size = (options.batch_size, 3, options.image_size, options.image_size)
    for step in range(options.steps):
        images = torch.rand(size, generator=data).to(device)
        target = torch.randint(options.classes, (options.batch_size,), generator=data).to(device)
        loss = criterion(model(images), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        print(f"step {step}: loss {loss.item():.6f} on {device.type}")
