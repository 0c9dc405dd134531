"""JSON as our writer, Python's own and a killed process leave it, to Python's types: the quick way where it goes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from dump.format.encode import DEEPEST
from dump.format.errors import DumpCorrupt
from dump.format.untrusted import brief

split_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
decode_any = msgspec.json.Decoder().decode
BAD_JSON = (msgspec.MsgspecError, ValueError, OverflowError)
_TOKEN = re.compile(rb'"((?:[^"\\]|\\.)*)"|[\[{]|[\]}]', re.DOTALL)
_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)


def decode_record(raw: msgspec.Raw, name: str, source: object) -> object:
    """The record of the call `name` as Python's own types.  Raises DumpCorrupt."""
    try:
        return decode_any(raw)
    except RecursionError:
        raise too_deep(source, name) from None
    except BAD_JSON:
        pass
    try:
        # A number beyond float64 is an infinity here, and an error above.
        return json.loads(_without_lone_surrogates(bytes(raw)))
    except RecursionError:
        raise too_deep(source, name) from None
    except ValueError as error:
        raise DumpCorrupt(
            f"{source}: {brief(name)}: not valid JSON ({_detail(error)}). Record this run again."
        ) from error


def decode_whole(data: bytes, source: Path) -> Any:
    """Any JSON, also with the words NaN and Infinity that Python writes."""
    try:
        return decode_any(data)
    except RecursionError:
        raise too_deep(source, deep_call(data)) from None
    except BAD_JSON as error:
        failure = error
    try:
        return json.loads(_without_lone_surrogates(data))
    except RecursionError:
        raise too_deep(source, deep_call(data)) from None
    except ValueError as error:
        raise not_json(source, data, failure) from error


def quoted(data: bytes) -> bytes:
    """`data` with the words for non-finite numbers as strings, which `decode` takes for the numbers.

    Where such a word stands inside a string already, the added quotes end that string early and the result is
    no JSON any more, so that nothing is ever misread.
    """
    data = data.replace(b"-Infinity", b'"-inf"').replace(b"Infinity", b'"inf"').replace(b"NaN", b'"nan"')
    return _without_lone_surrogates(data)


def _without_lone_surrogates(data: bytes) -> bytes:
    r"""`data` with each \ud800 that has no partner as \ufffd: no output file could hold such a text."""
    if b"\\ud" not in data and b"\\uD" not in data:
        return data
    return _ESCAPE.sub(lambda match: rb"\ufffd" if match[1] else match[0], data)


def text_nests_too_deep(data: bytes) -> bool:
    """Does `data` open more levels than any record may hold?"""
    return any(depth > 2 * DEEPEST for depth, _ in _levels(data))


def deep_call(data: bytes) -> str | None:
    """The name two levels above where `data` first nests deeper than any record may: the call's."""
    name = None
    for depth, text in _levels(data):
        if text is not None and depth == 2:  # a string in `data`: a call's name, as records are objects
            name = text
        if depth > 2 * DEEPEST:
            break
    return name.decode("utf-8", "replace") if name is not None else None


def _levels(data: bytes) -> Iterator[tuple[int, bytes | None]]:
    """The depth after each bracket, and at each string with its text."""
    depth = 0
    for match in _TOKEN.finditer(data):
        token = match[0]
        if token in b"[{":
            depth += 1
        elif token in b"]}":
            depth -= 1
        yield depth, match[1]


def too_deep(source: object, call: str | None) -> DumpCorrupt:
    where = f"{source}: {brief(call)}" if call is not None else f"{source}"
    return DumpCorrupt(f"{where}: nests deeper than {DEEPEST} levels, which no recording does.")


def _cut_off(source: object, size: int) -> DumpCorrupt:
    return DumpCorrupt(
        f"{source}: ends at byte {size} in the middle of a value: its recording was killed while it wrote. "
        "Record this run again."
    )


def not_json(source: object, data: bytes, error: BaseException) -> DumpCorrupt:
    if "truncated" in str(error) and isinstance(error, msgspec.MsgspecError):
        return _cut_off(source, len(data))
    return DumpCorrupt(f"{source}: not valid JSON ({brief(_detail(error))}). Record this run again.")


def _detail(error: BaseException) -> str:
    detail = " ".join(str(error).split())
    return "a number of thousands of digits" if "integer string conversion" in detail else detail
