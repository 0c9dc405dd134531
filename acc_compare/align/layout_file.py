"""layout.yaml to layouts: how either side is cut, where no record says so.  The file is untrusted, as a mapping is.

npu:
  mesh: {dp: 2, tp: 4}                            the slowest dimension first; their product is the number of ranks
  tensors:                                        by call and argument, or by parameter; the first that fits
    layers.*.qkv.weight: {tp: interleaved 0 3}    each part has rows of three groups, one after the other
    layers.*.qkv.weight.grad: {tp: interleaved 0 3, dp: average}
    Functional.linear.4.forward.output.0: {tp: shard 1, dp: shard 0}
    Functional.linear.5.forward.output.0: {tp: partial}
bench: ...

Along a dimension of the mesh that is not named a tensor is replicated.
"""

from __future__ import annotations

import re
from pathlib import Path

from acc_compare.align.mapping_file import Node, plain_yaml
from acc_compare.declared import Layout, Layouts
from acc_compare.wholes import Way
from dump.format.errors import ConfigError
from dump.format.paths import from_home

_MOST_RULES, _LONGEST, _MOST_RANKS = 2000, 300, 1 << 20
_WAYS = {"replicated": Way("same"), "partial": Way("summed"), "average": Way("summed", mean=True)}
_CUT = re.compile(r"shard (\d{1,2})|interleaved (\d{1,2}) (\d{1,4})", re.ASCII)
_NUMBER = re.compile(r"[1-9]\d{0,6}", re.ASCII)


def read_layouts(path: Path | str | None) -> Layouts:
    """What the file says of either side; nothing of None.  Raises ConfigError."""
    if path is None:
        return Layouts()
    source = from_home(path)
    sides = _table(plain_yaml(source), source, "the file", ("npu", "bench"))
    return Layouts(**{side: _layout(body, source, side) for side, body in sides.items()})


def _layout(body: Node, source: Path, side: str) -> Layout:
    told = _table(body, source, side, ("mesh", "tensors"))
    mesh = {name: _extent(text, source, side) for name, text in _table(told.get("mesh", ""), source, "mesh").items()}
    if not mesh:
        raise _wrong(source, f"{side}: a mesh is missing, such as mesh: {{dp: 2, tp: 4}}")
    tensors = _table(told.get("tensors", ""), source, f"{side}: tensors")
    if len(tensors) > _MOST_RULES or any(len(pattern) > _LONGEST for pattern in tensors):
        raise _wrong(source, f"{side}: tensors: more than {_MOST_RULES} names, or one of more than {_LONGEST} letters")
    rules = []
    for pattern, placed in tensors.items():
        where = f"{side}: {pattern}"
        ways = {n: _way(text, source, where) for n, text in _table(placed, source, where, tuple(mesh)).items()}
        rules.append((pattern, tuple(ways.get(name, Way("same")) for name in mesh)))
    return Layout(str(source), tuple(mesh.values()), tuple(rules))


def _way(text: Node, source: Path, where: str) -> Way:
    found = _CUT.fullmatch(text) if isinstance(text, str) else None
    if found is not None and found[1] is not None:
        return Way("dealt", int(found[1]))
    if found is not None and int(found[3]) > 0:
        return Way("dealt", int(found[2]), groups=int(found[3]))
    if isinstance(text, str) and text in _WAYS:
        return _WAYS[text]
    known = ", ".join((*_WAYS, "shard DIMENSION", "interleaved DIMENSION GROUPS"))
    raise _wrong(source, f"{where}: expected one of {known}")


def _extent(text: Node, source: Path, side: str) -> int:
    if not isinstance(text, str) or _NUMBER.fullmatch(text) is None or int(text) > _MOST_RANKS:
        raise _wrong(source, f"{side}: mesh: expected a number of ranks for each dimension")
    return int(text)


def _table(node: Node, source: Path, where: str, keys: tuple[str, ...] = ()) -> dict[str, Node]:
    found = {} if node == "" else node
    if not isinstance(found, dict):
        raise _wrong(source, f"{where}: expected a table")
    unknown = next((key for key in found if keys and key not in keys), None)
    if unknown is not None:
        raise _wrong(source, f"{where}: unknown key {unknown[:_LONGEST]!r}; known keys: {', '.join(keys)}")
    return found


def _wrong(source: Path, what: str) -> ConfigError:
    return ConfigError(f"{source}: {what}. docs/comparing.md shows what goes into a layout file.")
