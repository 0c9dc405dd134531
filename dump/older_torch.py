"""Public names that torch has had since some release after 2.1, and what stands for them before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from .torch_internals import compiling_by_its_old_name

is_dynamo_compiling: Callable[[], bool] = getattr(torch.compiler, "is_dynamo_compiling", compiling_by_its_old_name)
"""Is the code that asks being traced by dynamo?  Since 2.3; dynamo knows the older name too."""

is_compiling: Callable[[], bool] = getattr(torch.compiler, "is_compiling", compiling_by_its_old_name)
"""Is it traced by dynamo or by torch.export?  Since 2.3."""


def grad_scaler() -> Any:
    """The class under all scalers; that of CUDA is its child since 2.3, and was the only one before.

    Raises AttributeError where there is neither.
    """
    return getattr(torch.amp, "GradScaler", None) or torch.cuda.amp.GradScaler


def autocast_dtype(kind: str) -> torch.dtype | None:
    """What autocast casts to on devices of a kind now; None where it is off.  By one name for all kinds since 2.4."""
    if hasattr(torch, "get_autocast_dtype"):
        return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
    older: Any = torch
    if kind == "cpu":
        return older.get_autocast_cpu_dtype() if older.is_autocast_cpu_enabled() else None
    return older.get_autocast_gpu_dtype() if kind == "cuda" and older.is_autocast_enabled() else None
