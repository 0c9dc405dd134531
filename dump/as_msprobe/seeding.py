"""`seed_all` as msprobe does it, for a framework whose runs must stay what they were under msprobe."""

from __future__ import annotations

import os

import torch

from ..environment import device
from ..environment import seeding as ours
from ..format.errors import ConfigError

_OF_NPU = {
    "HCCL_DETERMINISTIC": "True",
    "LCCL_DETERMINISTIC": "1",
    "CLOSE_MATMUL_K_SHIFT": "1",
    "ATB_LLM_LCOC_ENABLE": "0",
}


def seed_all(seed: int = 1234, mode: bool = False, rm_dropout: bool = False, is_enhanced: bool = False) -> None:
    """Seed Python, numpy and torch, and set what msprobe 26.2.0 sets.

    Whatever `mode` is, cuDNN is deterministic where there is a GPU, and HCCL, LCCL and matrix products are on an NPU.
    With `mode` an operator that has no deterministic kernel raises; without it torch is told that none is asked for.
    `dump.seed_all` warns instead, and leaves alone what is not asked for.

    Raises ConfigError for a seed outside [0, 2**32), for flags that are no booleans, and for `is_enhanced`.
    """
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise ConfigError(f"seed_all: expected a whole number as the seed, found {seed!r}.")
    for name, flag in (("mode", mode), ("rm_dropout", rm_dropout), ("is_enhanced", is_enhanced)):
        if not isinstance(flag, bool):
            raise ConfigError(f"seed_all: {name}: expected true or false, found {flag!r}.")
    try:
        ours.seed_all(seed, rm_dropout=rm_dropout, is_enhanced=is_enhanced)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    torch.use_deterministic_algorithms(mode)
    if device.detect_npu().state in ("ok", "simulated"):
        os.environ.update(_OF_NPU)
    if torch.cuda.is_available():
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.benchmark = False
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
