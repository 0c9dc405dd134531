"""Put one object in the place of another wherever the process holds it by name: early-bound names, defaults, tables.

A script that did `from torch import relu`, a class that has `activation=F.gelu` among its defaults and a dict of
activations must go on agreeing with `torch.relu` and `F.gelu`, whatever stands there.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import sys
from collections.abc import Mapping
from types import BuiltinFunctionType, CellType, FunctionType
from typing import Any

from ..record.tree import own_dict

_OURS = tuple(f"{package}." for package in (__name__.partition(".")[0], "acc_compare"))


def exchange(new: Mapping[int, Any]) -> None:
    """Put `new[id(thing)]` in the place of every `thing`.

    That is done in the values of dicts (and with them the attributes of modules, classes and objects), in lists,
    default arguments and variables of closures.  Keys, sets and tuples stay: what is equal is found in them.

    No method of what is found is called, and a list is not read before all of its items are known to be there: a C
    extension may hold one with empty places, as the XML parser of Python's own library does while it parses.
    """
    old, now = new.keys(), set(map(id, new.values()))
    own = {id(vars(module)) for name, module in list(sys.modules.items()) if f"{name}.".startswith(_OURS)}
    types: list[type] = []
    inert: set[int] = {id(tuple), id(set), id(BuiltinFunctionType)}
    for holder in gc.get_objects():
        kind = type(holder)
        if id(kind) in inert:
            continue
        if kind is dict:
            if not old.isdisjoint(map(id, holder.values())) and id(holder) not in own:
                _in_dict(holder, new)
        elif kind is FunctionType:
            defaults = holder.__defaults__
            if defaults and not old.isdisjoint(map(id, defaults)):
                holder.__defaults__ = tuple(new.get(id(value), value) for value in defaults)
        elif kind is CellType:
            _in_cell(holder, new)
        elif kind is list:
            if not old.isdisjoint(map(id, gc.get_referents(holder))):
                _in_list(holder, new)
        elif issubclass(kind, type):
            types.append(holder)
        elif not _of_type(kind, "__flags__") & _HAS_VALUES_INLINE:
            inert.add(id(kind))
        elif not old.isdisjoint(map(id, gc.get_referents(holder))):
            _in_dict(own_dict(holder), new)
    for each in types:
        if not now.isdisjoint(map(id, _of_type(each, "__dict__").values())):
            forget_lookups(each)


def forget_lookups(kind: type) -> None:
    """Tell Python that the dict of `kind` was changed past it."""
    ctypes.pythonapi.PyType_Modified(ctypes.py_object(kind))


_of_type = type.__getattribute__
"""An attribute of a type, whatever its metaclass says."""

_HAS_VALUES_INLINE = 1 << 4
"""The flag of types whose instances may hold their attributes without a dict (CPython 3.11 and later)."""


def _in_dict(holder: dict[Any, Any], new: Mapping[int, Any]) -> None:
    for key, value in list(holder.items()):
        if id(value) in new:
            with contextlib.suppress(Exception):  # a key that cannot be looked up
                holder[key] = new[id(value)]


def _in_list(holder: list[Any], new: Mapping[int, Any]) -> None:
    if len(gc.get_referents(holder)) == len(holder):  # no empty places
        for index, value in enumerate(holder):
            if id(value) in new:
                holder[index] = new[id(value)]


def _in_cell(cell: CellType, new: Mapping[int, Any]) -> None:
    try:
        number = id(cell.cell_contents)
    except ValueError:  # empty
        return
    if number in new:
        cell.cell_contents = new[number]
