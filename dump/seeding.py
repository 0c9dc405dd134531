"""The same start on both sides: one call seeds every generator and asks for deterministic kernels."""

from __future__ import annotations

import functools
import os
import random
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F

_DROPOUTS = ("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout")


def seed_all(seed: int = 1234, mode: bool = False, rm_dropout: bool = False) -> None:
    """Seed Python, numpy and torch on every device; with `mode` also ask for deterministic kernels.

    The signature is the one that scripts written for msprobe call.  `rm_dropout` makes every dropout of this
    process a no-op from here on: two devices draw different masks from the same seed.

    Raises ValueError for a seed outside [0, 2**32).
    """
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed: expected an integer in [0, 2**32), found {seed}")
    os.environ["PYTHONHASHSEED"] = str(seed)
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - scripts under test draw from the legacy generator
    torch.manual_seed(seed)
    if mode:
        deterministic()
    if rm_dropout:
        remove_dropout()


def remove_dropout() -> None:
    """Let every functional dropout keep all elements (p = 0), which layers of torch.nn call too."""
    for name in _DROPOUTS:
        original = getattr(F, name)
        if not hasattr(original, "__wrapped__"):
            setattr(F, name, _keeping_all(original))


def _keeping_all(original: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    @functools.wraps(original)
    def dropout(
        input: torch.Tensor, p: float = 0.0, training: bool = True, inplace: bool = False
    ) -> torch.Tensor:
        return original(input, 0.0, training, inplace)

    return dropout


def deterministic() -> None:
    """Ask torch and the device libraries for run-to-run equal results.

    Kernels without a deterministic version warn rather than raise, so that an unmodified script still runs.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    os.environ["HCCL_DETERMINISTIC"] = "TRUE"
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
