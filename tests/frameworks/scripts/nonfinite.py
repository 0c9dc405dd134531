"""Calls on all pairs of NaN, infinities and numbers, of which the variable FAULT chooses the first."""

import itertools
import os

import common
import torch

VALUES = (float("nan"), float("inf"), -float("inf"), 0.0, 1.0)


def main():
    side = 0 if os.environ.get("FAULT") else 1
    values = [
        pair[side]
        for pair in itertools.product(VALUES, repeat=2)
        if pair not in ((VALUES[1], VALUES[2]), (VALUES[2], VALUES[1]))
    ]
    tensors = [(torch.tensor([value, 2.0]), torch.tensor(value)) for value in values]
    debugger = common.debugger()
    debugger.start()
    for value, (whole, single) in zip(values, tensors, strict=True):
        torch.mul(whole, 1.0)
        torch.neg(single)
        torch.mul(single, float("nan"))
        torch.clamp(whole, min=value, max=float("inf"))
    debugger.stop()
    debugger.step()


if __name__ == "__main__":
    main()
