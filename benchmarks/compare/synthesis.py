"""A long statistics dump from a real one: its calls again and again, as a deeper network would make them.

Copy k (0, 1, 2 ...) of the real step follows copy k-1.  In it

- every call is numbered on, as a later call of the same operator or module is;
- every statistic of a floating tensor (Max, Min, Mean, Norm, and the sketch where there is one) is multiplied by
  1 + k/1024, so that no two copies hold equal tensors and a cache of results gains nothing;
- identities (`value`, `storage`) are counted on, so that copies share no values.

Both sides are scaled alike: they differ in each copy as they did in the real step.  The last copy is cut where the
wanted number of calls is reached.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from dump.format.names import UNKNOWN, CallName, parse

Kind: TypeAlias = "tuple[str, str, str]"

_STATISTICS = ("Max", "Min", "Mean", "Norm")
_IDENTITIES = ("value", "storage")


def lengthen(source: Path, target: Path, calls: int) -> None:
    """Write the dump in folder `source` to folder `target` with `calls` calls, stacks and modules included."""
    header = json.loads((source / "dump.json").read_bytes())
    records = header.pop("data")
    owners = json.loads((source / "construct.json").read_bytes())
    stacks = json.loads((source / "stack.json").read_bytes())
    strides = _strides(records)
    target.mkdir(parents=True)
    order: list[tuple[str, int]] = []
    with (target / "dump.json").open("w", encoding="utf-8") as out:
        # msprobe writes its header first, ours some of its fields last: as keys of one object their order is free.
        out.write(json.dumps(header)[:-1] + ', "data": {\n')
        for position, (name, copy) in enumerate(_names(records, calls)):
            order.append((name, copy))
            line = f"{json.dumps(numbered(name, copy, strides))}: {json.dumps(_copy(records[name], copy))}"
            out.write(("," if position else "") + line + "\n")
        out.write("}}\n")
    lines = {numbered(name, copy, strides): _owner(owners.get(name), copy, strides) for name, copy in order}
    (target / "construct.json").write_text(json.dumps(lines), encoding="utf-8")
    (target / "stack.json").write_text(json.dumps(_stacks(stacks, order, strides)), encoding="utf-8")


def numbered(name: str, copy: int, strides: Mapping[Kind, int]) -> str:
    """The name of a call in copy number `copy`; `strides` says by how much a copy moves each kind of call."""
    call = parse(name)
    if call.prefix == UNKNOWN or not copy:
        return name
    return str(replace(call, number=call.number + copy * strides.get(_kind(call), 1)))


def _kind(call: CallName) -> Kind:
    """Forward and backward calls are numbered alike."""
    return (call.prefix, call.path, call.api)


def _strides(records: Mapping[str, object]) -> dict[Kind, int]:
    """How many calls of each kind the step makes."""
    counts: dict[Kind, int] = {}
    for call in map(parse, records):
        counts[_kind(call)] = max(counts.get(_kind(call), 1), call.number + 1)
    return counts


def _names(records: Mapping[str, object], calls: int) -> Iterator[tuple[str, int]]:
    for number in range(calls):
        copy, place = divmod(number, len(records))
        if not place:
            names = list(records)
        yield names[place], copy


def _copy(value: Any, copy: int) -> Any:
    if not copy:
        return value
    if isinstance(value, list):
        return [_copy(item, copy) for item in value]
    if not isinstance(value, dict):
        return value
    if value.get("type") == "torch.Tensor":
        return _tensor(value, copy)
    return {key: _copy(item, copy) for key, item in value.items()}


def _tensor(record: dict[str, Any], copy: int) -> dict[str, Any]:
    changed = dict(record)
    factor = 1.0 + copy / 1024
    if "float" in record.get("dtype", ""):
        changed |= {key: record[key] * factor for key in _STATISTICS if isinstance(record.get(key), (int, float))}
        if "sketch" in record:
            sums = np.frombuffer(b64decode(record["sketch"], b"_/"), "<f4") * np.float32(factor)
            changed["sketch"] = b64encode(sums.astype("<f4").tobytes(), b"_/").decode()
    changed |= {key: record[key] + copy * 10_000_000 for key in _IDENTITIES if isinstance(record.get(key), int)}
    return changed


def _owner(owner: object, copy: int, strides: Mapping[Kind, int]) -> object:
    return numbered(owner, copy, strides) if isinstance(owner, str) else owner


def _stacks(stacks: Mapping[str, Any], order: list[tuple[str, int]], strides: Mapping[Kind, int]) -> dict[str, Any]:
    """{"0": [[calls], [frames]]}: each stack with the names of all its copies."""
    copies: dict[str, list[str]] = defaultdict(list)
    for name, copy in order:
        copies[name].append(numbered(name, copy, strides))
    return {
        key: [[each for call in calls for each in copies.get(call, ())], frames]
        for key, (calls, frames) in stacks.items()
    }
