"""Nested arguments to nested records: every tensor becomes an entry, everything else a plain value.

Walking keeps the nesting, so the place of an entry is its name (`input.1.0`).  Formatting is left to the
writer.

No method of a script's own class is called: what is read is what Python itself keeps in an object.
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import gc
import itertools
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType, MemberDescriptorType
from typing import Any, TypeAlias

import numpy as np
import torch

MAX_DEPTH = 16
MAX_ITEMS = 4096

# Subclasses (enumerations, numpy's float64) go by the base's own method: theirs may cost, or fail.
_BASES: tuple[tuple[type, Callable[[Any], object]], ...] = (
    (str, str.__str__),
    (int, int.__index__),
    (float, float.__float__),
)
_KEYS_AS_THEY_ARE = frozenset({bool, int, float, complex, bytes, type(None)})
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

    Lists, tuples, mappings and dataclasses are walked, into lists and dicts; a mapping that is no dict by the dicts
    that it keeps.  `path` grows as the names of arguments do: `input.1.0`.  Deeper than 16 levels or beyond 4096
    items of one container, the rest is named and not walked.
    """
    return _capture(thing, path, on_tensor, MAX_DEPTH)


def tensors_of(thing: Any) -> list[torch.Tensor]:
    """The tensors in `thing`, in the order that `capture` meets them."""
    if type(thing) is torch.Tensor:  # what most calls return
        return [thing]
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
    kind = type(thing)
    if issubclass(kind, (list, tuple)):
        if issubclass(kind, tuple):
            found.append(path)
        parts = enumerate(_items(thing))
    elif issubclass(kind, Mapping):
        parts = _named_parts(thing) or ()
    else:
        return
    if levels:
        for name, part in parts:
            _find_tuples(part, f"{path}.{name}", found, levels - 1)


def _capture(thing: Any, path: str, on_tensor: OnTensor, levels: int) -> Any:
    kind = type(thing)
    if kind is torch.Tensor:
        return on_tensor(thing, path)
    if thing is None or kind is int or kind is float or kind is bool or kind is str:  # no `==` of a script's metaclass
        return thing
    if issubclass(kind, torch.Tensor):
        return on_tensor(thing, path)
    if issubclass(kind, (list, tuple)):
        if not levels:
            return _too_deep(thing)
        length = list.__len__(thing) if issubclass(kind, list) else tuple.__len__(thing)
        given = thing if kind is tuple and length <= MAX_ITEMS else _items(thing)
        items = [_capture(item, f"{path}.{index}", on_tensor, levels - 1) for index, item in enumerate(given)]
        if length > MAX_ITEMS:
            items.append(Plain("omitted", length - MAX_ITEMS))
        return items
    parts = _named_parts(thing)
    if parts is None:
        return _describe(thing)
    if not levels:
        return _too_deep(thing)
    named = {name: _capture(part, f"{path}.{name}", on_tensor, levels - 1) for name, part in parts}
    if issubclass(kind, dict):
        omitted = dict.__len__(thing) - MAX_ITEMS
        if omitted > 0:
            named["..."] = Plain("omitted", omitted)
    return named


def _collect(thing: Any, found: list[torch.Tensor], levels: int) -> None:
    kind = type(thing)
    if thing is None or kind is int or kind is float or kind is bool or kind is str:
        return
    if kind is torch.Tensor or issubclass(kind, torch.Tensor):
        found.append(thing)
    elif levels and issubclass(kind, (list, tuple)):
        for item in _items(thing):
            _collect(item, found, levels - 1)
    elif levels:
        for _, part in _named_parts(thing) or ():
            _collect(part, found, levels - 1)


def listed(output: Any) -> list[Any]:
    """What a call returned, one by one where it is a list or a tuple."""
    for base in (list, tuple):
        if issubclass(type(output), base):
            return [*base.__iter__(output)]
    return [output]


def _items(thing: Any) -> Any:
    """The first items of a list or a tuple, by the base's own method: a subclass may count who asks, or load."""
    base: Any = list if issubclass(type(thing), list) else tuple
    return base.__getitem__(thing, slice(MAX_ITEMS))


def _named_parts(thing: Any) -> list[tuple[str, Any]] | None:
    """The items of a mapping or the fields of a dataclass; None for anything else."""
    kind = type(thing)
    if issubclass(kind, dict):
        base: Any = OrderedDict if issubclass(kind, OrderedDict) else dict
        items = enumerate(itertools.islice(base.items(thing), MAX_ITEMS))
        return [(_name(key, index), part) for index, (key, part) in items]
    if issubclass(kind, type):
        return None
    if issubclass(kind, Mapping):
        kept = gc.get_referents(thing) if kind is MappingProxyType else _attributes(thing).values()
        named = [_named_parts(each) or () for each in kept if issubclass(type(each), dict)]
        return list(itertools.islice(itertools.chain.from_iterable(named), MAX_ITEMS))
    if any("__dataclass_fields__" in vars(each) for each in kind.__mro__):
        own, missing = _attributes(thing), dataclasses.MISSING
        parts = [(field.name, own.get(field.name, field.default)) for field in dataclasses.fields(kind)]
        return [(name, None if part is missing else part) for name, part in parts]
    return None


def _name(key: Any, index: int) -> str:
    """A key in words; one whose words a script would make, by its type and its place."""
    kind = type(key)
    if issubclass(kind, enum.Enum):
        return f"{kind.__name__}.{_attributes(key).get('_name_', index)}"
    for base, value_of in _BASES:
        if issubclass(kind, base):
            return str(key if kind is bool else value_of(key))
    if kind in _KEYS_AS_THEY_ARE or issubclass(kind, _NAMED_BY_TEXT):
        return str(key)
    if kind is tuple:
        return f"({', '.join(_name(part, index) for part in key)})"
    return f"{kind.__name__}.{index}"


def _attributes(thing: Any) -> dict[str, Any]:
    """What an object itself has by name, in its slots and in its dict; the dict of none that makes its own."""
    kinds = type(thing).__mro__
    found: dict[str, Any] = {}
    for kind in reversed(kinds):
        for name, slot in vars(kind).items():
            if type(slot) is MemberDescriptorType:
                with contextlib.suppress(AttributeError):  # empty
                    found[name] = slot.__get__(thing)
    return found | own_dict(thing)


def own(thing: object, name: str) -> Any:
    """An attribute of an object, by none of its own methods; one that it does not keep in its dict, as it gives it."""
    kept = own_dict(thing)
    return kept[name] if name in kept else getattr(thing, name)


def own_dict(thing: object) -> dict[str, Any]:
    """The dict of an object, by none of its own methods."""
    try:
        found = object.__getattribute__(thing, "__dict__")
    except Exception:  # a `__dict__` of its own making
        return {}
    return found if type(found) is dict else {}


def _bound(part: Any) -> object:
    """A slice's bound; of what is no number, such as a tensor on a device, the type alone."""
    if part is None:
        return None
    kind = type(part)
    if issubclass(kind, int):
        return int.__index__(part)
    return np.integer.item(part) if issubclass(kind, np.integer) else kind.__name__


def _too_deep(thing: Any) -> Plain:
    return Plain(type(thing).__name__, "nested too deep")


def _describe(thing: Any) -> Plain:
    """Values torch's own calls take; of an unknown object the type alone, since its repr may cost or fail."""
    kind = type(thing)
    name = kind.__name__
    if kind is slice:
        return Plain("slice", [_bound(part) for part in (thing.start, thing.stop, thing.step)])
    for base, value_of in _BASES:
        if issubclass(kind, base):
            return Plain(name, value_of(thing))
    if issubclass(kind, np.generic):
        return Plain(name, np.generic.item(thing))
    if issubclass(kind, complex):
        return Plain(name, complex.__repr__(thing))
    if kind in _NAMED_BY_TEXT:
        return Plain(name, str(thing))
    if thing is Ellipsis:
        return Plain("ellipsis", "...")
    return Plain(name, None)
