"""What the environment changes about a training script: where it runs, how, and which variant of it.

The scripts are plain and run alone; the benchmark starts them with these variables set.

    DEVICE=cpu  STEPS=2  SEED=0  DATA_SEED=1  DTYPE=float32  AUTOCAST=  CHANNELS_LAST=  COMPILE=  VARIANT=

A line that only a variant runs, or only the others, ends with `# planted: VARIANT`: the calls that such a line makes
are what a comparison with another variant has to name.
"""

from __future__ import annotations

import contextlib
import os
from typing import Any, TypeVar

import torch

DEVICE = os.environ.get("DEVICE", "cpu")
STEPS = int(os.environ.get("STEPS", "2"))
SEED = int(os.environ.get("SEED", "0"))
DTYPE = getattr(torch, os.environ.get("DTYPE", "float32"))
AUTOCAST = os.environ.get("AUTOCAST", "")
VARIANT = os.environ.get("VARIANT", "")

Model = TypeVar("Model", bound=torch.nn.Module)


def place(model: Model) -> Model:
    """The model on its device, in its dtype, memory format and, where asked for, compiled."""
    model = model.to(DEVICE, DTYPE)
    if os.environ.get("CHANNELS_LAST"):
        model = model.to(memory_format=torch.channels_last)
    if os.environ.get("COMPILE"):
        model.compile(backend=os.environ["COMPILE"])
    return model


def autocast() -> contextlib.AbstractContextManager[Any]:
    return torch.autocast(DEVICE, getattr(torch, AUTOCAST)) if AUTOCAST else contextlib.nullcontext()


class Data:
    """Random batches, the same on every device: drawn on the host from a generator of its own."""

    def __init__(self) -> None:
        self._generator = torch.Generator().manual_seed(int(os.environ.get("DATA_SEED", "1")))

    def normal(self, *shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=self._generator).to(DEVICE, DTYPE)

    def integers(self, below: int, *shape: int) -> torch.Tensor:
        return torch.randint(0, below, shape, generator=self._generator).to(DEVICE)
