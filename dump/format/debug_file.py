"""debug.json: what msprobe writes at level debug, the values that a script saved by name.

    {"task": "statistics", "level": "debug", "framework": "pytorch", "dump_data_dir": null,
     "data": {"loss.0.debug": {record}, "loss_grad.0.debug": {record}}}

With us a saved value is a call as any other, `Saved.loss.0.forward`, and its gradients are `Saved.loss.0.backward`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

_SAVED = re.compile(r"Saved\.(.+)\.(\d{1,18})\.(forward|backward)", re.DOTALL)
_NAMED = re.compile(r"(.+?)(_grad)?\.(\d{1,18})\.debug", re.DOTALL)
_HEADER = ("task", "level", "framework", "dump_data_dir")


def call_name(name: str) -> str | None:
    """`loss_grad.0.debug` -> `Saved.loss.0.backward`; None for what is no name of this file."""
    match = _NAMED.fullmatch(name)
    if match is None:
        return None
    return f"Saved.{match[1]}.{match[3]}.{'backward' if match[2] else 'forward'}"


def calls_of(records: Mapping[str, Any]) -> dict[str, object]:
    """The records of a debug.json, decoded, as those of the calls that they answer to.

    A name that is none of this file's is kept as it is.
    """
    found: dict[str, object] = {}
    for name, value in records.items():
        call = call_name(name)
        if call is None:
            found[name] = value
        elif call.endswith("forward"):
            listed = value if isinstance(value, list) else [value]
            found[call] = {"input_args": [], "input_kwargs": {}, "output": listed}
        elif gradients := list(_tensors(value)):
            found[call] = {"input": gradients, "output": []}
    return found


def text_of(header: Mapping[str, Any], records: Mapping[str, Any]) -> str:
    """debug.json for the saved values among the records of a dump.json, decoded."""
    data: dict[str, object] = {}
    for call, body in records.items():
        match = _SAVED.fullmatch(call)
        if match is None or not isinstance(body, dict):
            continue
        is_backward = match[3] == "backward"
        values = body.get("input" if is_backward else "output") or []
        value = values[0] if len(values) == 1 else values
        data[f"{match[1]}{'_grad' if is_backward else ''}.{match[2]}.debug"] = value
    return json.dumps({**{key: header.get(key) for key in _HEADER}, "data": data}, indent=1)


def _tensors(value: object) -> Iterator[dict[str, Any]]:
    """The records of tensors in a nest of lists and objects."""
    todo = [value]
    while todo:
        node = todo.pop()
        if isinstance(node, dict) and node.get("type") == "torch.Tensor":
            yield node
        elif isinstance(node, dict):
            todo += reversed(list(node.values()))
        elif isinstance(node, list):
            todo += reversed(node)
