"""What msprobe's callers ask of its comparison, done by ours and written in msprobe's shape (docs/msprobe.md).

`compare` and `compare_distributed` are msprobe's functions, `command` its command; `tables` writes its columns.
"""

from __future__ import annotations

from .functions import compare, compare_distributed
from .single import SingleComparator

__all__ = ["SingleComparator", "compare", "compare_distributed"]
