"""One training step of a small model, of which one operand is a little off where the variable FAULT is set."""

import os

import common
import torch


def main():
    torch.manual_seed(5)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(64, 5)
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    images, target = torch.randn(2, 3, 6, 6), torch.tensor([1, 3])
    debugger = common.debugger()
    debugger.start(model)
    if os.environ.get("FAULT"):
        images = images * 1.25
    loss = torch.nn.functional.cross_entropy(model(images), target)
    loss.backward()
    optimizer.step()
    debugger.stop()
    debugger.step()


if __name__ == "__main__":
    main()
