"""Which forward calls of a model are recorded where a range of tokens was asked for: one call makes one token."""

from __future__ import annotations

from typing import TypeAlias

import torch

from .intercept.module_tree import walk
from .intercept.weak_table import WeakTable

Tokens: TypeAlias = "tuple[int, int] | None"
"""The first and the last forward call of a model, both included; None for all."""


class TokenRange:
    """Counts the calls of `root`, or of a module around it; without a root, those of any outermost module.

    `first` and `last` both belong to the range.
    """

    def __init__(self, root: torch.nn.Module | None, first: int, last: int) -> None:
        self._root = root
        self._first, self._last = first, last
        self._calls = 0
        self._holds: WeakTable[torch.nn.Module, bool] = WeakTable()

    def wants(self, outermost: torch.nn.Module) -> bool:
        """A call of `outermost` begins: is it, and what follows until the next, to be recorded?"""
        self._calls += self._is_around(outermost)
        return self._first < self._calls <= self._last + 1

    def _is_around(self, outermost: torch.nn.Module) -> bool:
        root = self._root
        if root is None:
            return True
        holds = self._holds.get(outermost)
        if holds is None:
            holds = self._holds[outermost] = any(module is root for _, module in walk(outermost))
        return holds
