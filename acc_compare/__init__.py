"""Lay two dumps side by side and name the operator at fault.

    from acc_compare import compare

    comparison = compare("npu_dump", "gpu_dump")
    for suspect in comparison.suspects:
        print(suspect.message)

The public names are handed out lazily (PEP 562).  Nothing in this package imports torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .comparison import Comparison, compare

__all__ = ["Comparison", "compare"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(".comparison", __name__), name)
