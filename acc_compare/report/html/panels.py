"""Panels of tensors as the page's script reads them."""

from __future__ import annotations

import math
from base64 import b64encode
from collections.abc import Sequence
from typing import Any

import msgspec

from acc_compare.model import TensorPanel

_DIGITS = 9
"""Of a measured number; a float32 is known by as many."""


def packed_panels(panels: Sequence[TensorPanel]) -> list[dict[str, Any]]:
    """Plain JSON: the fields of each panel, numbers that are not finite as text, the map's levels as base64."""
    return [_plain(msgspec.to_builtins(panel, builtin_types=(bytes,))) for panel in panels]


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else str(value)
    if isinstance(value, bytes):
        return b64encode(value).decode("ascii")
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    return [_plain(part) for part in value] if isinstance(value, (list, tuple)) else value
