"""The same start on both sides: one call seeds every generator and asks for deterministic kernels."""

from __future__ import annotations

import functools
import os
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

# Each function that drops elements, with the place and the name of its probability.
_DROPOUTS = {
    "dropout": (1, "p"),
    "dropout1d": (1, "p"),
    "dropout2d": (1, "p"),
    "dropout3d": (1, "p"),
    "alpha_dropout": (1, "p"),
    "feature_alpha_dropout": (1, "p"),
    "scaled_dot_product_attention": (4, "dropout_p"),
}
_LIBRARIES = {
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    "LCCL_DETERMINISTIC": "1",
    "CLOSE_MATMUL_K_SHIFT": "1",
    "ATB_MATMUL_SHUFFLE_K_ENABLE": "0",
}
_MARK = "keeps_all_elements"


def seed_all(seed: int = 1234, mode: bool = False, rm_dropout: bool = False, is_enhanced: bool = False) -> None:
    """Seed Python, numpy and torch on every device; with `mode` also ask for deterministic kernels.

    The signature is the one that scripts written for msprobe call.  `rm_dropout` makes every dropout of this
    process a no-op from here on: two devices draw different masks from the same seed.  `is_enhanced`, which replaces
    operators by others, is refused: it would change the run.

    Raises ValueError for a seed outside [0, 2**32), and for `is_enhanced`.

    >>> seed_all(7)
    >>> first = random.random(), np.random.rand(), torch.rand(())
    >>> seed_all(7)
    >>> first == (random.random(), np.random.rand(), torch.rand(()))
    True
    """
    if is_enhanced:
        raise ValueError("seed_all: is_enhanced would change the run and is not offered; leave it out on both sides")
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed: expected an integer in [0, 2**32), found {seed}")
    os.environ["PYTHONHASHSEED"] = str(seed)  # for processes that this one starts
    random.seed(seed)
    np.random.seed(seed)  # the legacy generator: scripts draw from it
    torch.manual_seed(seed)
    if mode:
        deterministic()
    if rm_dropout:
        remove_dropout()


def remove_dropout() -> None:
    """Let every dropout of torch.nn.functional keep all elements, and with it the layers that call them.

    That of recurrent layers (`nn.LSTM(dropout=...)`) runs inside one operator and stays.
    """
    for name, (place, keyword) in _DROPOUTS.items():
        original = getattr(F, name)
        if not getattr(original, _MARK, False):
            setattr(F, name, _keeping_all(original, place, keyword=keyword))


def _keeping_all(original: Callable[..., torch.Tensor], place: int, *, keyword: str) -> Callable[..., torch.Tensor]:
    """`original` with its probability set to 0, whether it comes by place or by keyword."""

    @functools.wraps(original)
    def keeping_all(*args: Any, **kwargs: Any) -> torch.Tensor:
        if len(args) > place:
            return original(*args[:place], 0.0, *args[place + 1 :], **kwargs)
        return original(*args, **{**kwargs, keyword: 0.0})

    setattr(keeping_all, _MARK, True)
    return keeping_all


def deterministic() -> None:
    """Ask torch and the device libraries for run-to-run equal results.

    Kernels without a deterministic version warn rather than raise, so that an unmodified script still runs.  Of the
    libraries' variables the user's own choice stays, except that HCCL is asked in any case: for cuBLAS a workspace of
    fixed size (NVIDIA, "cuBLAS reproducibility"), for an NPU reductions in one order between devices (HCCL, LCCL) and
    within matrix products, as Ascend's guides to reproducible runs set them.
    """
    for variable, value in _LIBRARIES.items():
        os.environ.setdefault(variable, value)
    os.environ["HCCL_DETERMINISTIC"] = "TRUE"
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
