"""One record of dump.json, as JSON gave it, to a `CallRecord`.

Everything here is untrusted: whatever has the wrong type, size or depth raises DumpCorrupt with the names of
the call and of the field, and nothing else is ever raised.  Names of arguments:

    input_args[i], input[i] -> input.{i}        output[i] -> output.{i}     a list in a list -> .{j}
    input_kwargs[k]         -> input.{k}        parameters[p] -> parameters.{p}    a mapping -> .{key}
    written["input.3"]      -> written.input.3  parameters_grad {p: [t]} -> parameters_grad.{p} (an output)
"""

from __future__ import annotations

import binascii
import math
from collections.abc import Callable
from sys import intern
from typing import Any

from dump.format.encode import DEEPEST
from dump.format.errors import DumpCorrupt
from dump.format.fields import TENSOR_FIELDS, TENSOR_TYPE, Kind, keys
from dump.format.names import PARAMETERS_GRAD, parse
from dump.format.schema import (
    SKETCH_BUCKETS,
    WAVE_NUMBERS,
    Argument,
    CallRecord,
    CollectiveRecord,
    LayoutRecord,
    Leaf,
    Number,
    ScalarRecord,
    TensorRecord,
)
from dump.format.untrusted import MOST_FLOAT_BITS, brief, nests_too_deep, wrong_value

_FLOATS_IN = {"sketch": SKETCH_BUCKETS, "waves": WAVE_NUMBERS}
_MOST_DIMENSIONS = 64
_MOST_MESH_DIMENSIONS = 8
_MOST_ELEMENTS = 2**63 - 1
_MOST_INT_BITS = 64
_LONGEST_NAME = 1024  # of an argument that holds others; without a bound, one long key times its items is memory
_NON_FINITE = {
    "nan": math.nan,
    "inf": math.inf,
    "+inf": math.inf,
    "infinity": math.inf,
    "-inf": -math.inf,
    "-infinity": -math.inf,
}
STATISTICS = keys(TENSOR_FIELDS, "number")
_MOST_LEAVES = 1 << 17
_SHARED = ("dtype", "grad_fn")  # texts of which a dump has few
_NUMBERS = (bool, int, float)
_PLAIN_SCALARS = (*_NUMBERS, str)
_FLOATS = ("float", "float16", "float32", "float64")  # Python's and numpy's


class RecordDecoder:
    """Decodes the records of one dump; it shares equal shapes and names between them to save memory.

    `hash_digits` is the length of the first `md5` seen (32: MD5, 8: CRC-32), None where none was.
    """

    __slots__ = ("_call", "_groups", "_layouts", "_names", "_shapes", "hash_digits", "known_leaves", "source")

    def __init__(self, source: object) -> None:
        self.source = source
        self.hash_digits: int | None = None
        self.known_leaves: dict[bytes, Leaf] = {}
        self._shapes: dict[tuple[int, ...], tuple[int, ...]] = {}
        self._names: dict[tuple[str, int], str] = {}
        self._groups: dict[tuple[int, ...], tuple[int, ...]] = {}
        self._layouts: dict[LayoutRecord, LayoutRecord] = {}
        self._call = ""

    def remember(self, text: bytes, leaf: Leaf) -> None:
        """The leaf that `text` is, for the next call that has it."""
        if len(self.known_leaves) >= _MOST_LEAVES:
            self.known_leaves.clear()
        self.known_leaves[text] = leaf

    def begin(self, call: str) -> None:
        """Errors from now on are about the record of `call`."""
        self._call = call

    def call(self, name: str, index: int, body: object) -> CallRecord:
        """The record of call `name`, the `index`-th of its dump.  Raises DumpCorrupt."""
        self.begin(name)
        if type(body) is not dict:
            raise self.wrong("record", "an object", body)
        if parse(name).direction == PARAMETERS_GRAD:
            return CallRecord(name, index, outputs=tuple(self._gradients(body)))
        inputs: list[Argument] = []
        outputs: list[Argument] = []
        self._positional("input", body.get("input_args"), inputs)
        self._positional("input", body.get("input"), inputs)
        self._mapping("input", "input_kwargs", body.get("input_kwargs"), inputs)
        self._positional("output", body.get("output"), outputs)
        parameters: list[Argument] = []
        written: list[Argument] = []
        self._mapping("parameters", "parameters", body.get("parameters"), parameters)
        self._mapping("written", "written", body.get("written"), written)
        recompute = body.get("is_recompute")
        if recompute is not None and type(recompute) is not bool:
            raise self.wrong("is_recompute", "true or false", recompute)
        return CallRecord(
            name,
            index,
            tuple(inputs),
            tuple(outputs),
            tuple(parameters),
            tuple(written),
            recompute or False,
            self.collectives(body.get("collectives")),
        )

    def _gradients(self, body: dict[str, Any]) -> list[Argument]:
        found: list[Argument] = []
        for parameter, value in body.items():
            alone = type(value) is list and len(value) == 1
            self.walk(intern(f"{PARAMETERS_GRAD}.{parameter}"), value[0] if alone else value, found, depth=1)
        return found

    def _positional(self, group: str, value: object, into: list[Argument]) -> None:
        if value is None:
            return
        items = [value] if type(value) is dict else value
        if type(items) is not list:
            raise self.wrong(group, "a list", value)
        self._items(group, items, into, depth=1)

    def _items(self, name: str, items: list[Any], into: list[Argument], *, depth: int) -> None:
        """What stands in a list says its type: a bare number is none that a recorder wrote."""
        for position, item in enumerate(items):
            if type(item) in _NUMBERS:
                raise self.wrong(self.item_name(name, position), "an object", item)
            self.walk(self.item_name(name, position), item, into, depth=depth)

    def _mapping(self, group: str, key: str, value: object, into: list[Argument]) -> None:
        if value is None:
            return
        if type(value) is not dict:
            raise self.wrong(key, "an object", value)
        for name, item in value.items():
            self.walk(intern(f"{group}.{name}"), item, into, depth=1)

    def walk(self, name: str, value: object, into: list[Argument], *, depth: int) -> None:
        """Append the leaves below `value`."""
        kind = type(value)
        if value is None:
            into.append(Argument(name, None))
        elif kind is dict and isinstance(value, dict):
            leaf = self.leaf(name, value)
            if leaf is not None:
                into.append(Argument(name, leaf))
                return
            self.check_nesting(name, depth)
            for key, item in value.items():
                self.walk(f"{name}.{key}", item, into, depth=depth + 1)
        elif kind is list and isinstance(value, list):
            self.check_nesting(name, depth)
            self._items(name, value, into, depth=depth + 1)
        elif kind in _PLAIN_SCALARS:
            into.append(Argument(name, ScalarRecord(kind.__name__, value)))
        else:
            raise self.wrong(name, "a value that JSON has", value)

    def leaf(self, name: str, value: dict[str, Any]) -> Leaf:
        """The tensor or scalar that `value` describes; None where it is a mapping of further arguments."""
        kind = value.get("type")
        if type(kind) is not str:
            return None
        if ("dtype" in value and "shape" in value) or kind == TENSOR_TYPE:
            return self._tensor(name, value)
        if "value" in value:
            return self.scalar(name, kind, value["value"])
        rest = {key: item for key, item in value.items() if key != "type"}
        self._check_depth(name, rest)
        return ScalarRecord(intern(kind), rest or None)

    def scalar(self, name: str, kind: str, content: object) -> ScalarRecord:
        if type(content) is list or type(content) is dict:
            self._check_depth(name, content)
        elif kind in _FLOATS:
            content = _float_again(content)
        return ScalarRecord(intern(kind), content)

    def note_digest(self, digest: str) -> None:
        if self.hash_digits is None:
            self.hash_digits = len(digest)

    def _tensor(self, name: str, value: dict[str, Any]) -> TensorRecord:
        get = value.get
        if type(get("dtype")) is not str:
            raise self.wrong(f"{name}.dtype", "a string", get("dtype"))
        fields: dict[str, Any] = {}
        if get("shape") is None:
            raise self.wrong(f"{name}.shape", "a list of sizes", None)
        for key, found in value.items():
            row = _ROWS.get(key)
            if row is not None and found is not None:
                attribute, check = row
                is_done = check is _statistic and type(found) is float
                fields[attribute] = found if is_done else check(self, name, key, found)
        if fields.get("nan") or fields.get("inf"):  # a statistic that JSON holds as null was NaN (see encode)
            fields.update((key.lower(), math.nan) for key in STATISTICS if key in value and value[key] is None)
        if fields.get("md5"):
            self.note_digest(fields["md5"])
        return TensorRecord(**fields)

    def shape(self, name: str, value: object) -> tuple[int, ...]:
        """A checked list or tuple of sizes, one object for equal ones."""
        if type(value) is tuple:
            known = self._shapes.get(value)
            if known is not None:
                return known
        elif type(value) is not list:
            raise self.wrong(f"{name}.shape", "a list of sizes", value)
        count = 1
        for extent in value:
            if type(extent) is not int or extent < 0:
                raise self.wrong(f"{name}.shape", "sizes of 0 or more", extent)
            count *= max(extent, 1)
            if count > _MOST_ELEMENTS:
                raise self.wrong(f"{name}.shape", f"at most {_MOST_ELEMENTS} elements", value)
        if len(value) > _MOST_DIMENSIONS:
            raise self.wrong(f"{name}.shape", f"at most {_MOST_DIMENSIONS} dimensions", value)
        shape = tuple(value)
        return self._shapes.setdefault(shape, shape)

    def strides(self, name: str, key: str, value: object) -> tuple[int, ...]:
        if type(value) in (list, tuple) and isinstance(value, (list, tuple)) and len(value) <= _MOST_DIMENSIONS:
            return tuple(self.count(name, key, item) for item in value)
        raise self.wrong(f"{name}.{key}", "a list of strides", value)

    def number(self, name: str, key: str, value: object) -> Number | None:
        if isinstance(value, bool):
            return int(value)
        if isinstance(value, int):
            if value.bit_length() <= _MOST_INT_BITS:
                return value
            if value.bit_length() <= MOST_FLOAT_BITS:
                return float(value)
        if isinstance(value, str) and value.lower() in _NON_FINITE:
            return _NON_FINITE[value.lower()]
        raise self.wrong(f"{name}.{key}", "a number", value)

    def count(self, name: str, key: str, value: object) -> int:
        if type(value) is int and 0 <= value <= _MOST_ELEMENTS:
            return value
        raise self.wrong(f"{name}.{key}", "a count", value)

    def identity(self, name: str, key: str, value: object) -> int | None:
        if value is None or (type(value) is int and value.bit_length() <= _MOST_INT_BITS):
            return value
        raise self.wrong(f"{name}.{key}", "an integer", value)

    def flag(self, name: str, key: str, value: object) -> bool:
        if type(value) is bool:
            return value
        raise self.wrong(f"{name}.{key}", "true or false", value)

    def text(self, name: str, key: str, value: object) -> str:
        if type(value) is str:
            return value
        raise self.wrong(f"{name}.{key}", "a string", value)

    def floats(self, name: str, key: str, value: object) -> bytes | None:
        """The little-endian float32 of a sketch or of waves."""
        if value is None:
            return None
        try:
            raw = binascii.a2b_base64(value.replace("_", "+")) if type(value) is str else b""
        except ValueError:  # binascii.Error, and characters that are not ASCII
            raw = b""
        if len(raw) != 4 * _FLOATS_IN[key]:
            raise self.wrong(f"{name}.{key}", f"base64 of {4 * _FLOATS_IN[key]} bytes", value)
        return raw

    def layout(self, name: str, value: object) -> LayoutRecord | None:
        """The layout of a part, one object for equal ones."""
        if value is None:
            return None
        where = f"{name}.layout"
        if type(value) is not dict:
            raise self.wrong(where, "an object", value)
        placements = value.get("placements")
        if type(placements) is not list or not all(type(placement) is str for placement in placements):
            raise self.wrong(f"{where}.placements", "a list of strings", placements)
        mesh, extents = self._mesh(where, value.get("mesh"))
        if len(extents) != len(placements):
            raise self.wrong(f"{where}.placements", f"{len(extents)} of them", placements)
        shape = self.shape(where, value.get("shape"))
        found = LayoutRecord(shape, mesh, extents, tuple(map(intern, placements)))
        return self._layouts.setdefault(found, found)

    def _mesh(self, where: str, value: object) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The ranks of a mesh in C order, and its extents."""
        ranks, extents = [value], []
        for _ in range(_MOST_MESH_DIMENSIONS):
            if not (ranks and type(ranks[0]) is list):
                break
            if not all(type(part) is list and len(part) == len(ranks[0]) for part in ranks):
                raise self.wrong(f"{where}.mesh", "lists of equal lengths", value)
            extents.append(len(ranks[0]))
            ranks = [item for part in ranks if type(part) is list for item in part]
        return tuple(self.count(where, "mesh", rank) for rank in ranks), tuple(extents)

    def collectives(self, value: object) -> tuple[CollectiveRecord, ...]:
        """The collectives of the call at hand."""
        if value is None:
            return ()
        if type(value) is not list:
            raise self.wrong("collectives", "a list", value)
        return tuple(self._collective(item) for item in value)

    def _collective(self, value: object) -> CollectiveRecord:
        if type(value) is not dict:
            raise self.wrong("collectives", "a list of objects", value)
        kind = self.text("collectives", "kind", value.get("kind"))
        group = self.text("collectives", "group", value.get("group"))
        ranks = value.get("ranks")
        if type(ranks) is not list:
            raise self.wrong("collectives.ranks", "a list of ranks", ranks)
        members = tuple(self.count("collectives", "ranks", rank) for rank in ranks)
        order = self.count("collectives", "order", value.get("order"))
        return CollectiveRecord(intern(kind), intern(group), self._groups.setdefault(members, members), order)

    def check_nesting(self, name: str, depth: int) -> None:
        """Raise DumpCorrupt where an argument that holds others lies too deep, or has too long a name."""
        if depth >= DEEPEST:
            raise self._too_deep(name)
        if len(name) > _LONGEST_NAME:
            raise self.wrong(name, f"a name of at most {_LONGEST_NAME} characters", name)

    def _check_depth(self, name: str, value: object) -> None:
        if nests_too_deep(value):
            raise self._too_deep(name)

    def item_name(self, group: str, position: int) -> str:
        """`{group}.{position}`, one string object for all calls."""
        key = (group, position)
        name = self._names.get(key)
        if name is None:
            name = self._names[key] = f"{group}.{position}"
        return name

    def _too_deep(self, name: str) -> DumpCorrupt:
        return DumpCorrupt(
            f"{self.source}: {brief(self._call)}: {brief(name)} nests deeper than {DEEPEST} levels. "
            "Record this run again."
        )

    def wrong(self, field: str, expected: str, found: object) -> DumpCorrupt:
        """The error for a value of the wrong kind in the record at hand."""
        return wrong_value(self.source, f"{brief(self._call)}: {brief(field)}", expected, found)


def _sizes(decoder: RecordDecoder, name: str, key: str, value: object) -> tuple[int, ...]:
    return decoder.shape(name, value)


def _text(decoder: RecordDecoder, name: str, key: str, value: object) -> str:
    if key == "md5" and type(value) is int:  # msprobe's xor of words
        return f"{value % 2**64:016x}"
    found = decoder.text(name, key, value)
    return intern(found) if key in _SHARED else found


def _statistic(decoder: RecordDecoder, name: str, key: str, value: object) -> Number | None:
    return value if type(value) is float else decoder.number(name, key, value)


def _layout(decoder: RecordDecoder, name: str, key: str, value: object) -> LayoutRecord | None:
    return decoder.layout(name, value)


_CHECKS: dict[Kind, Callable[[RecordDecoder, str, str, Any], Any]] = {
    "sizes": _sizes,
    "text": _text,
    "number": _statistic,
    "count": RecordDecoder.count,
    "integer": RecordDecoder.identity,
    "strides": RecordDecoder.strides,
    "sketch": RecordDecoder.floats,
    "waves": RecordDecoder.floats,
    "layout": _layout,
    "flag": RecordDecoder.flag,
}
_ROWS = {field.key: (field.name, _CHECKS[field.kind]) for field in TENSOR_FIELDS}


def _float_again(value: object) -> object:
    """A scalar float: null stands for NaN (see encode), a string for what JSON has no number for."""
    if value is None:
        return math.nan
    if isinstance(value, str):
        return _NON_FINITE.get(value.lower(), value)
    return value
