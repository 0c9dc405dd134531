"""Calls with the nesting of their arguments, decoded one at a time: what making a call again starts from.

A dump of msprobe's does not say which of its lists were tuples (`tells_tuples`); ours does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from dump.format.decode import RecordDecoder
from dump.format.json_text import decode_record
from dump.format.reader import header_of, parts_of
from dump.format.schema import Argument, CallRecord, Header, NestedCall, Node

_NO_TUPLES: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class NestedDump:
    """The calls of one dump.  `path` is its folder."""

    path: Path
    header: Header
    records: Mapping[str, object]
    decoder: RecordDecoder

    @property
    def names(self) -> tuple[str, ...]:
        """All calls, in order of execution."""
        return tuple(self.records)

    @property
    def tells_tuples(self) -> bool:
        return self.header.format_version is not None

    def call(self, name: str) -> NestedCall | None:
        """The record of `name`; None where there is none.  Raises DumpCorrupt."""
        body = self.records.get(name)
        if isinstance(body, msgspec.Raw):
            body = decode_record(body, name, self.decoder.source)
        return None if body is None else _call(self.decoder, name, body)


def read_nested(folder: Path) -> NestedDump:
    """The dump in `folder`, or the JSON file of another name that it is.  Raises DumpNotFound, DumpCorrupt."""
    source, parts = parts_of(folder)
    return NestedDump(source.parent, header_of(parts.header, source), parts.records, RecordDecoder(source))


def nested_call(name: str, body: bytes, source: str) -> NestedCall:
    """One record alone, as it stands in a dump.json; errors name `source`.  Raises DumpCorrupt."""
    return _call(RecordDecoder(source), name, decode_record(msgspec.Raw(body), name, source))


def plain_call(name: str, body: bytes, source: str) -> CallRecord:
    """The same without the nesting of its arguments.  Raises DumpCorrupt."""
    return RecordDecoder(source).call(name, 0, decode_record(msgspec.Raw(body), name, source))


def _call(decoder: RecordDecoder, name: str, body: object) -> NestedCall:
    decoder.begin(name)
    if not isinstance(body, dict):
        raise decoder.wrong("record", "an object", body)
    places = body.get("tuples", [])
    if type(places) is not list or not all(type(place) is str for place in places):
        raise decoder.wrong("tuples", "a list of places", places)
    tuples = frozenset(places)
    positional = body.get("input_args") if "input_args" in body else body.get("input")
    return NestedCall(
        name,
        tuple(_listed(decoder, "input", positional, tuples)),
        _named(decoder, "input", body.get("input_kwargs"), tuples),
        tuple(_listed(decoder, "output", body.get("output"))),
        _named(decoder, "written", body.get("written")),
        decoder.text("autocast", "autocast", body.get("autocast") or ""),
    )


def _listed(decoder: RecordDecoder, group: str, value: object, tuples: frozenset[str] = _NO_TUPLES) -> list[Node]:
    items: list[Any] = value if isinstance(value, list) else [] if value is None else [value]
    return [_node(decoder, f"{group}.{index}", item, tuples, 1) for index, item in enumerate(items)]


def _named(decoder: RecordDecoder, group: str, value: object, tuples: frozenset[str] = _NO_TUPLES) -> dict[str, Node]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise decoder.wrong(group, "an object", value)
    return {key: _node(decoder, f"{group}.{key}", item, tuples, 1) for key, item in value.items()}


def _node(decoder: RecordDecoder, name: str, value: object, tuples: frozenset[str], depth: int) -> Node:
    if isinstance(value, list):
        decoder.check_nesting(name, depth)
        items = [_node(decoder, f"{name}.{index}", item, tuples, depth + 1) for index, item in enumerate(value)]
        return tuple(items) if name in tuples else items
    if isinstance(value, dict):
        leaf = decoder.leaf(name, value)
        if leaf is not None:
            return leaf
        decoder.check_nesting(name, depth)
        return {key: _node(decoder, f"{name}.{key}", item, tuples, depth + 1) for key, item in value.items()}
    found: list[Argument] = []
    decoder.walk(name, value, found, depth=depth)
    return found[0].leaf
