"""A dump.json as it stands on disk, flattened: read with the standard library alone, so that no reader of ours can
hide what a writer of ours got wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

Leaf: TypeAlias = "Mapping[str, Any] | None"
Leaves: TypeAlias = "Mapping[str, Leaf]"
Calls: TypeAlias = "Mapping[str, Leaves]"

TENSOR = "torch.Tensor"

# Where each part of a record stands in the names of arguments.
_PLACES = {
    "input_args": "input",
    "input_kwargs": "input",
    "input": "input",
    "output": "output",
    "parameters": "parameters",
}


def find_dump(root: Path, step: int) -> Path:
    """The one dump.json of a step below `root`.  Raises FileNotFoundError where there is none, or more."""
    found = sorted(root.glob(f"step{step}/*/dump.json"))
    if len(found) != 1:
        raise FileNotFoundError(f"expected one dump.json below {root}/step{step}, found {len(found)}")
    return found[0]


def read_calls(path: Path) -> Calls:
    """Every call of a dump.json with its arguments by name (`input.0`), in order of execution."""
    content = json.loads(path.read_bytes())
    return {name: leaves(name, body) for name, body in content["data"].items()}


def leaves(call: str, body: Mapping[str, Any]) -> Leaves:
    """The arguments of one record by name.  What only ours writes (`written`, `is_recompute`) is left out."""
    if ".parameters_grad" in call:
        return dict(_walk("", body))
    found: dict[str, Leaf] = {}
    for part, place in _PLACES.items():
        if part in body:
            found.update(_walk(place, body[part]))
    return found


def is_tensor(leaf: Leaf) -> bool:
    return leaf is not None and leaf.get("type") == TENSOR


def _walk(place: str, value: Any) -> Iterator[tuple[str, Leaf]]:
    if value is None:
        yield place, None
    elif isinstance(value, dict) and isinstance(value.get("type"), str):
        yield place, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _walk(f"{place}.{key}" if place else str(key), item)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _walk(f"{place}.{index}", item)
