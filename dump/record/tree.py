"""Nested arguments to nested records: every tensor becomes an entry, everything else a plain value.

Walking keeps the nesting, so the place of an entry is its name (`input.1.0`).  Formatting is left to the writer.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

_PLAIN = (bool, int, float, str)
MAX_DEPTH = 16
MAX_ITEMS = 4096


@dataclass(frozen=True, slots=True)
class Plain:
    """An argument that is neither a tensor nor JSON's own: its type, and what can be said of it."""

    type: str
    value: object


def capture(thing: Any, path: str, on_tensor: Callable[[torch.Tensor, str], Any], depth: int = 0) -> Any:
    """`thing` with every tensor replaced by `on_tensor(tensor, path)`; lists, tuples and mappings are walked.

    `path` grows as the names of arguments do: `input.1.0`.  Deeper than 16 levels or beyond 4096 items of one
    container, the rest is named and not walked.
    """
    if isinstance(thing, torch.Tensor):
        return on_tensor(thing, path)
    if thing is None or type(thing) in _PLAIN:
        return thing
    if depth >= MAX_DEPTH:
        return Plain(type(thing).__name__, "nested too deep")
    if isinstance(thing, (list, tuple)):
        items = [
            capture(item, f"{path}.{index}", on_tensor, depth + 1)
            for index, item in enumerate(thing[:MAX_ITEMS])
        ]
        if len(thing) > MAX_ITEMS:
            items.append(Plain("omitted", len(thing) - MAX_ITEMS))
        return items
    if isinstance(thing, Mapping):
        keys = list(thing)[:MAX_ITEMS]
        return {str(key): capture(thing[key], f"{path}.{key}", on_tensor, depth + 1) for key in keys}
    if dataclasses.is_dataclass(thing) and not isinstance(thing, type):
        return {
            field.name: capture(getattr(thing, field.name, None), f"{path}.{field.name}", on_tensor, depth + 1)
            for field in dataclasses.fields(thing)
        }
    return _describe(thing)


def _describe(thing: Any) -> Plain:
    """Values torch's own calls take; of an unknown object the type alone, since its repr may cost or fail."""
    if isinstance(thing, slice):
        bounds = [part if isinstance(part, int) else None for part in (thing.start, thing.stop, thing.step)]
        return Plain("slice", bounds)
    if isinstance(thing, (bool, int, float, str)):  # subclasses: enums, numpy's float64
        return Plain(type(thing).__name__, _base_value(thing))
    if isinstance(thing, (complex, torch.dtype, torch.device, torch.layout, torch.memory_format)):
        return Plain(type(thing).__name__, str(thing))
    if thing is Ellipsis:
        return Plain("ellipsis", "...")
    return Plain(type(thing).__name__, None)


def _base_value(thing: bool | int | float | str) -> bool | int | float | str:
    for base in (str, int, float):
        if isinstance(thing, base):
            return base(thing)
    return str(thing)


def tensors_of(thing: Any, depth: int = 0) -> list[torch.Tensor]:
    """The tensors in `thing`, in the order that `capture` meets them."""
    found: list[torch.Tensor] = []
    _collect(thing, found, depth)
    return found


def _collect(thing: Any, found: list[torch.Tensor], depth: int) -> None:
    if isinstance(thing, torch.Tensor):
        found.append(thing)
    elif depth < MAX_DEPTH:
        if isinstance(thing, (list, tuple)):
            for item in thing[:MAX_ITEMS]:
                _collect(item, found, depth + 1)
        elif isinstance(thing, Mapping):
            for key in list(thing)[:MAX_ITEMS]:
                _collect(thing[key], found, depth + 1)
        elif dataclasses.is_dataclass(thing) and not isinstance(thing, type):
            for field in dataclasses.fields(thing):
                _collect(getattr(thing, field.name, None), found, depth + 1)
