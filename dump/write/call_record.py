"""The record of a call as JSON's own types, laid out as msprobe lays it out."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

from ..format import encode
from ..record import tree
from ..record.entries import Emission, Entry

_AS_IT_IS = frozenset(("is_recompute", "tuples", "autocast", "collectives"))  # keys whose values are no arguments

OnEntry: TypeAlias = Callable[[Entry, str], object]
"""The record of a tensor, made of what was measured of it and of its name."""


def plain_body(
    emission: Emission, on_tensor: OnEntry, *, nan: object = encode.NULL, is_named: bool = True
) -> dict[str, object]:
    """A record as JSON's own types, laid out as msprobe lays it out; each tensor is what `on_tensor` makes of it and,
    where `is_named`, its name, each argument that is NaN is `nan`."""
    return {
        key: value
        if key in _AS_IT_IS
        else _plain(value, _place(emission.name, key) if is_named else "", on_tensor, nan)
        for key, value in emission.body.items()
    }


def _plain(captured: Any, place: str, on_tensor: OnEntry, nan: object) -> Any:
    """A captured argument; `place` grows as its name does, where it has one."""
    if isinstance(captured, Entry):
        return on_tensor(captured, place)
    if isinstance(captured, list):
        return [_plain(item, place and f"{place}.{index}", on_tensor, nan) for index, item in enumerate(captured)]
    if isinstance(captured, dict):
        return {key: _plain(item, place and f"{place}.{key}", on_tensor, nan) for key, item in captured.items()}
    if isinstance(captured, tree.Plain):
        value = _scalar(captured.value, nan)
        return {"type": captured.type, **(value if isinstance(value, dict) else {"value": value})}
    if captured is None:
        return None
    return {"type": type(captured).__name__, "value": _scalar(captured, nan)}


def _scalar(value: object, nan: object) -> object:
    return nan if isinstance(value, float) and math.isnan(value) else encode.plain(value)


def _place(name: str, key: str) -> str:
    """What the names of arguments under `key` of a record begin with."""
    if ".parameters_grad." in name:
        return f"{name}.{key}"
    return f"{name}.{'input' if key in ('input_args', 'input_kwargs') else key}"
