"""Lay two dumps side by side and name the operator at fault.

    from acc_compare import compare

    comparison = compare("npu_dump", "gpu_dump")
    for suspect in comparison.suspects:
        print(suspect.message)

In a test suite: `assert_same("npu_dump", "gpu_dump")`.

The public names are handed out lazily (PEP 562).  Nothing in this package imports torch.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing imports re, and what runs us as a module has the user's working folder first
if TYPE_CHECKING:
    from typing import Any

    from acc_compare.comparison import Comparison, compare
    from acc_compare.testing import assert_same

_HOMES = {"Comparison": "comparison", "compare": "comparison", "assert_same": "testing"}

__all__ = ["Comparison", "assert_same", "compare"]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        import dump

        return dump.__version__
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
