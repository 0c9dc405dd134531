"""Nested arguments to nested records: every tensor becomes an entry, everything else a plain value.

Walking keeps the nesting, so the place of an entry is its name (`input.1.0`).  Formatting is left to the
writer.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch

MAX_DEPTH = 16
MAX_ITEMS = 4096

_PLAIN = (bool, int, float, str)
# Subclasses (enumerations, numpy's float64) go by the base's own method: theirs may cost, or fail.
_BASES: tuple[tuple[type, Callable[[Any], object]], ...] = (
    (str, str.__str__),
    (int, int.__index__),
    (float, float.__float__),
)
_NAMED_BY_TEXT = (complex, torch.dtype, torch.device, torch.layout, torch.memory_format)

OnTensor: TypeAlias = "Callable[[torch.Tensor, str], Any]"


@dataclass(frozen=True, slots=True)
class Plain:
    """An argument that is neither a tensor nor JSON's own: its type, and what can be said of it, several things by
    their names."""

    type: str
    value: object


def capture(thing: Any, path: str, *, on_tensor: OnTensor) -> Any:
    """`thing` with every tensor replaced by `on_tensor(tensor, path)`.

    Lists, tuples, mappings and dataclasses are walked, into lists and dicts.  `path` grows as the names of
    arguments do: `input.1.0`.  Deeper than 16 levels or beyond 4096 items of one container, the rest is named
    and not walked.
    """
    return _capture(thing, path, on_tensor, MAX_DEPTH)


def tensors_of(thing: Any) -> list[torch.Tensor]:
    """The tensors in `thing`, in the order that `capture` meets them."""
    found: list[torch.Tensor] = []
    _collect(thing, found, MAX_DEPTH)
    return found


def tuples_of(thing: Any, path: str) -> list[str]:
    """The places of the tuples in `thing`, which `capture` makes lists of; as deep as it walks."""
    found: list[str] = []
    _find_tuples(thing, path, found, MAX_DEPTH)
    return found


def _find_tuples(thing: Any, path: str, found: list[str], levels: int) -> None:
    parts: Iterable[tuple[Any, Any]]
    if isinstance(thing, (list, tuple)):
        if isinstance(thing, tuple):
            found.append(path)
        parts = enumerate(_items(thing))
    elif isinstance(thing, Mapping):
        parts = _named_parts(thing) or ()
    else:
        return
    if levels:
        for name, part in parts:
            _find_tuples(part, f"{path}.{name}", found, levels - 1)


def _capture(thing: Any, path: str, on_tensor: OnTensor, levels: int) -> Any:
    if isinstance(thing, torch.Tensor):
        return on_tensor(thing, path)
    if thing is None or type(thing) in _PLAIN:
        return thing
    if isinstance(thing, (list, tuple)):
        if not levels:
            return _too_deep(thing)
        items = [_capture(item, f"{path}.{index}", on_tensor, levels - 1) for index, item in enumerate(_items(thing))]
        omitted = (list.__len__(thing) if isinstance(thing, list) else tuple.__len__(thing)) - MAX_ITEMS
        if omitted > 0:
            items.append(Plain("omitted", omitted))
        return items
    parts = _named_parts(thing)
    if parts is None:
        return _describe(thing)
    if not levels:
        return _too_deep(thing)
    named = {name: _capture(part, f"{path}.{name}", on_tensor, levels - 1) for name, part in parts}
    if isinstance(thing, Mapping):
        omitted = (dict.__len__(thing) if isinstance(thing, dict) else len(thing)) - MAX_ITEMS
        if omitted > 0:
            named["..."] = Plain("omitted", omitted)
    return named


def _collect(thing: Any, found: list[torch.Tensor], levels: int) -> None:
    if isinstance(thing, torch.Tensor):
        found.append(thing)
    elif levels and isinstance(thing, (list, tuple)):
        for item in _items(thing):
            _collect(item, found, levels - 1)
    elif levels:
        for _, part in _named_parts(thing) or ():
            _collect(part, found, levels - 1)


def _items(thing: Any) -> Any:
    """The first items of a list or a tuple, by the base's own method: a subclass may count who asks, or load."""
    base: Any = list if isinstance(thing, list) else tuple
    return base.__getitem__(thing, slice(MAX_ITEMS))


def _named_parts(thing: Any) -> list[tuple[str, Any]] | None:
    """The items of a mapping or the fields of a dataclass; None for anything else."""
    if isinstance(thing, dict):
        base: Any = OrderedDict if isinstance(thing, OrderedDict) else dict
        return [(str(key), part) for key, part in itertools.islice(base.items(thing), MAX_ITEMS)]
    if isinstance(thing, Mapping):
        return [(str(key), thing[key]) for key in list(thing)[:MAX_ITEMS]]
    if dataclasses.is_dataclass(thing) and not isinstance(thing, type):
        return [(field.name, getattr(thing, field.name, None)) for field in dataclasses.fields(thing)]
    return None


def _bound(part: Any) -> object:
    """A slice's bound; of what is no number, such as a tensor on a device, the type alone."""
    if part is None:
        return None
    if isinstance(part, int):
        return int.__index__(part)
    return part.item() if isinstance(part, np.integer) else type(part).__name__


def _too_deep(thing: Any) -> Plain:
    return Plain(type(thing).__name__, "nested too deep")


def _describe(thing: Any) -> Plain:
    """Values torch's own calls take; of an unknown object the type alone, since its repr may cost or fail."""
    kind = type(thing).__name__
    if isinstance(thing, slice):
        return Plain("slice", [_bound(part) for part in (thing.start, thing.stop, thing.step)])
    for base, value_of in _BASES:
        if isinstance(thing, base):
            return Plain(kind, value_of(thing))
    if isinstance(thing, np.generic):
        return Plain(kind, thing.item())
    if isinstance(thing, _NAMED_BY_TEXT):
        return Plain(kind, str(thing))
    if thing is Ellipsis:
        return Plain("ellipsis", "...")
    return Plain(kind, None)
