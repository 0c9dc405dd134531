"""What the scripts of this folder share: a debugger that does nothing, and a digest of what a run computed.

    python SCRIPT.py CONFIG.json [bare]

The scripts know msprobe's names and those of their framework only.  With `bare` nothing of msprobe's is imported: what
the script computes must be the same to the bit.
"""

import hashlib
import sys

import torch

IS_BARE = sys.argv[2:] == ["bare"]
_seen = hashlib.sha256()


class Nothing:
    """Takes every call, and has every attribute."""

    def __call__(self, *args, **kwargs):
        return self

    def __getattr__(self, name):
        return Nothing()


def debugger():
    """msprobe's debugger of the config.json on the command line, or one that does nothing."""
    if IS_BARE:
        return Nothing()
    from msprobe.pytorch import PrecisionDebugger

    return PrecisionDebugger(config_path=sys.argv[1])


def keep(*tensors):
    """Take the tensors into the digest."""
    for tensor in tensors:
        _seen.update(tensor.detach().float().contiguous().numpy().tobytes())


def keep_training(model):
    """Take weights and gradients into the digest."""
    for parameter in model.parameters():
        keep(parameter, *(() if parameter.grad is None else (parameter.grad,)))


def tell():
    """Print the digest of all that was kept, and of the state of the random numbers."""
    keep(torch.get_rng_state())
    print(_seen.hexdigest())
