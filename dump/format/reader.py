"""Bytes to a `Dump`, whatever state the file was left in.

    read_dump -> whole file split into raw records (_split)      -> records decoded one at a time (decode)
                 if cut while recording: line by line (_by_lines)    stack.json, construct.json beside it

The files are untrusted: the only errors raised are DumpNotFound and DumpCorrupt.  Splitting before decoding
keeps one record at a time as Python objects, and lets one odd record be read the slow way.
"""

from __future__ import annotations

import gc
import io
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from sys import intern
from typing import Any

import msgspec

from dump.format import FORMAT_VERSION, debug_file
from dump.format.decode import RecordDecoder
from dump.format.encode import read_journal
from dump.format.errors import DumpCorrupt, DumpNotFound
from dump.format.fields import HEADER_FIELDS
from dump.format.json_text import (
    BAD_JSON,
    decode_any,
    decode_record,
    decode_whole,
    deep_call,
    not_json,
    quoted,
    split_object,
    text_nests_too_deep,
    too_deep,
)
from dump.format.layout import CONSTRUCT_FILE, DEBUG_FILE, DUMP_FILE, STACK_FILE, STACK_JOURNAL
from dump.format.schema import CallRecord, CutShort, Dump, Header
from dump.format.typed import call_of
from dump.format.untrusted import brief, bytes_of_text, nests_too_deep, shown, wrong_value

_BOM = b"\xef\xbb\xbf"
_OUR_OPENING_END = b'"data": {\n'
_LONGEST_OPENING = 1 << 20
_HEADER_KINDS: dict[str, tuple[type, str]] = {
    "text": (str, "a string"),
    "integer": (int, "an integer"),
    "flag": (bool, "true or false"),
    "object": (dict, "an object"),
}
_HASH_BY_DIGITS = {8: "crc32", 16: "xor", 32: "md5"}


@dataclass(frozen=True, slots=True)
class Parts:
    """A file taken apart: its header's values, its records (`Raw` or decoded), why it is not whole."""

    header: Mapping[str, object]
    records: Mapping[str, object]
    incomplete: CutShort | None = None


def read_dump(folder: Path) -> Dump:
    """The dump in `folder` (or in the JSON file of another name that `folder` is), with its neighbours.

    Reads what msprobe writes and what `encode` writes, closed or cut short; of a file of ours that was cut, a
    last partial line is dropped and `Dump.incomplete` says so.  A dump of msprobe's does not say that it
    holds checksums: where its records do, `summary_mode` is "md5" and `hash` follows from their length.
    Raises DumpNotFound where there is no file, DumpCorrupt where its bytes are no dump.

    >>> dump = read_dump(Path("sample_dumps/bench_statistics/step0/rank0"))
    >>> call = dump.calls[0]
    >>> call.name, call.outputs[0].name, call.outputs[0].leaf.shape
    ('Functional.embedding.0.forward', 'output.0', (2, 16, 32))
    """
    source, parts = parts_of(folder)
    header = header_of(parts.header, source)
    decoder = RecordDecoder(source)
    with without_collecting():
        calls = tuple(_calls(parts.records, decoder))
    if header.summary_mode is None and decoder.hash_digits is not None:
        header = _with_digest(header, decoder.hash_digits)
    incomplete = parts.incomplete
    if incomplete is None and header.format_version is not None and header.complete is not True:
        limit = brief(header.ended_by) if header.ended_by is not None else ""
        incomplete = CutShort("by_limit" if limit else "early", str(source), len(calls), limit)
    return Dump(
        path=source.parent,
        header=header,
        calls=calls,
        owners=read_owners(source.parent),
        stacks=read_stacks(source.parent),
        incomplete=incomplete,
    )


def parts_of(path: Path) -> tuple[Path, Parts]:
    """The file at `path`, or in that folder, and its parts.  Raises DumpNotFound, DumpCorrupt."""
    source = path
    if path.is_dir():
        source = (
            path / DUMP_FILE if (path / DUMP_FILE).is_file() or not (path / DEBUG_FILE).is_file() else path / DEBUG_FILE
        )
    parts = _split(_read_bytes(source), source)
    return source, _with_calls(parts, source) if parts.header.get("level") == "debug" else parts


def decoded_records(folder: Path) -> tuple[Mapping[str, object], dict[str, object]]:
    """The header of the dump in `folder` and its records as JSON has them.  Raises as `parts_of`."""
    source, parts = parts_of(folder)
    return parts.header, {name: _plain(body, name, source) for name, body in parts.records.items()}


def _plain(body: object, name: str, source: Path) -> object:
    return decode_record(body, name, source) if isinstance(body, msgspec.Raw) else body


def _with_calls(parts: Parts, source: Path) -> Parts:
    """A debug.json of msprobe's with the calls that its names stand for."""
    if not any(debug_file.call_name(name) for name in parts.records):
        return parts
    records = debug_file.calls_of({name: _plain(body, name, source) for name, body in parts.records.items()})
    return replace(parts, records=records)


@contextmanager
def without_collecting() -> Iterator[None]:
    """The garbage collector off: records form no cycles, and looking for some among millions takes longer than making
    them."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def read_owners(folder: Path) -> Mapping[str, str | None]:
    """`construct.json`: call -> the module call that it ran in; empty where there is none.

    One entry stands on each line, so a file that was cut is read up to its last whole line.
    Raises DumpCorrupt.
    """
    source = folder / CONSTRUCT_FILE
    if not source.is_file():
        return {}
    data = _read_neighbour(source)
    try:
        found = decode_any(data) if data.strip() else {}
    except RecursionError:
        raise too_deep(source, None) from None
    except BAD_JSON:
        found = _lines_of_owners(data, source)
    if type(found) is not dict:
        raise wrong_value(source, "file", "an object", found)
    for call, owner in found.items():
        if owner is not None and type(owner) is not str:
            raise wrong_value(source, brief(call), "the name of a module's call, or null", owner)
    return {intern(call): intern(owner) if owner is not None else None for call, owner in found.items()}


def read_stacks(folder: Path) -> Mapping[str, tuple[str, ...]]:
    """`stack.json`: call -> its frames, innermost first; from the journal where a recording was cut.

    Reads {"0": [[calls], [frames]]} and the older {call: [frames]}.  Raises DumpCorrupt.
    """
    source = folder / STACK_FILE
    journal = folder / STACK_JOURNAL
    stacks: dict[str, tuple[str, ...]] = {}
    if not source.is_file():
        if journal.is_file():
            try:
                entries = read_journal(journal)
            except OSError as error:
                raise DumpCorrupt(f"{journal}: cannot be read ({error}).") from error
            for calls, frames in entries:
                stacks.update(dict.fromkeys(calls, tuple(frames)))
        return stacks
    found = decode_whole(_read_neighbour(source) or b"{}", source)
    if type(found) is not dict:
        raise wrong_value(source, "file", "an object", found)
    for key, entry in found.items():
        if _is_texts(entry):
            stacks[intern(key)] = tuple(entry)
        elif type(entry) is list and len(entry) == 2 and _is_texts(entry[0]) and _is_texts(entry[1]):
            stacks.update(dict.fromkeys(map(intern, entry[0]), tuple(entry[1])))
        else:
            raise wrong_value(source, brief(key), "[[call names], [frames]]", entry)
    return stacks


def _read_bytes(source: Path) -> bytes:
    """The file's bytes without a byte order mark; text for sure as far as a glance can tell."""
    data = _read_text(source)
    if not data or data.isspace():
        raise DumpCorrupt(f"{source}: the file is empty; its recording wrote nothing. Record this run again.")
    if data.lstrip()[:1] != b"{":
        raise DumpCorrupt(f"{source}: expected a JSON object, found bytes of another kind. Give a {DUMP_FILE}.")
    return data


def _read_neighbour(source: Path) -> bytes:
    """The same of a file beside a dump, which may be empty."""
    data = _read_text(source)
    if data.lstrip()[:1] not in (b"{", b""):
        raise DumpCorrupt(
            f"{source}: expected a JSON object, found bytes of another kind. Move it away to compare without it."
        )
    return data


def _read_text(source: Path) -> bytes:
    try:
        if not source.is_file():
            raise DumpNotFound(f"{source}: no such file. Give a folder that holds a {DUMP_FILE}.")
        data = bytes_of_text(source)
    except MemoryError:
        raise DumpCorrupt(f"{source}: too large for this machine's memory.") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in the path
        raise DumpNotFound(f"{source}: cannot be read ({error}). Check its permissions.") from error
    return data.removeprefix(_BOM)


def _split(data: bytes, source: Path) -> Parts:
    """The file's header and raw records; falls back to slower ways where the fast one cannot read it."""
    try:
        return _whole(split_object(data), source)
    except RecursionError:
        raise too_deep(source, deep_call(data)) from None
    except msgspec.ValidationError:
        raise DumpCorrupt(f"{source}: expected an object with the key 'data'. Give a {DUMP_FILE}.") from None
    except BAD_JSON as error:
        opening_end = data.find(b"\n", 0, _LONGEST_OPENING) + 1
        if data[:opening_end].endswith(_OUR_OPENING_END):
            return _by_lines(data, opening_end, source)
        failure = error
    if b"NaN" not in data and b"Infinity" not in data and b"\\ud" not in data.lower():
        raise not_json(source, data, failure) from failure
    try:
        return _whole(split_object(quoted(data)), source)
    except (*BAD_JSON, RecursionError):
        found = decode_whole(data, source)
    if type(found) is not dict or type(found.get("data")) is not dict:
        raise DumpCorrupt(f"{source}: expected an object with the key 'data'. Give a {DUMP_FILE}.")
    return Parts({key: value for key, value in found.items() if key != "data"}, found["data"])


def _whole(top: Mapping[str, msgspec.Raw], source: Path) -> Parts:
    if "data" not in top:
        raise DumpCorrupt(f"{source}: lacks the key 'data', so it is no dump. Give a {DUMP_FILE}.")
    header = {key: decode_any(value) for key, value in top.items() if key != "data"}
    return Parts(header, split_object(top["data"]))


def _by_lines(data: bytes, start: int, source: Path) -> Parts:
    """A file of ours that is no strict JSON: every whole line counts, a torn last one does not.

    It holds the word NaN, or was not closed: the line that closes one begins with a brace.
    """
    try:
        header = {key: value for key, value in decode_any(data[:start] + b"}}").items() if key != "data"}
    except (*BAD_JSON, RecursionError) as error:
        raise not_json(source, data, error) from error
    records: dict[str, object] = {}
    lines = io.BytesIO(data)
    lines.seek(start)
    for number, line in enumerate(lines, start=2):
        try:
            records.update(_entries(b"{" + line.removeprefix(b",") + b"}"))
        except (*BAD_JSON, RecursionError) as error:
            after = data[lines.tell() :]
            if not after.strip(b"\0\r\n "):
                if not after.strip() and (trailer := _trailer(line)) is not None:
                    return Parts({**header, **trailer}, records)
                break
            raise DumpCorrupt(
                f"{source}: line {number} is not a record, though more follow it: the file was changed after "
                "it was written. Record this run again."
            ) from error
    return Parts(
        header,
        records,
        CutShort("no_end", str(source), len(records)),
    )


def _trailer(line: bytes) -> Mapping[str, object] | None:
    """What a line holds that closes a file of ours; None where it is none."""
    found: dict[str, object] | None = None
    if line.startswith(b"}"):
        with suppress(*BAD_JSON):
            found = decode_any(b"{" + line[1:].removeprefix(b","))
    return found


def _entries(line: bytes) -> Mapping[str, object]:
    """What a whole line holds.  Raises what `BAD_JSON` lists."""
    try:
        return split_object(line)
    except BAD_JSON:
        if b"NaN" not in line and b"Infinity" not in line:
            raise
    found = json.loads(line)
    if type(found) is not dict:
        raise ValueError("no object")
    return found


def _calls(records: Mapping[str, object], decoder: RecordDecoder) -> Iterator[CallRecord]:
    """The names of calls are one object with those in the neighbours of the dump, and with those of the other side."""
    for index, (name, body) in enumerate(zip(map(intern, records), records.values(), strict=True)):
        if isinstance(body, msgspec.Raw):
            call = call_of(decoder, name, index, body)
            if call is not None:
                yield call
                continue
            body = decode_record(body, name, decoder.source)
        yield decoder.call(name, index, body)


def header_of(values: Mapping[str, object], source: Path) -> Header:
    """The header, each field checked.  Raises DumpCorrupt where it is of the wrong type or too new."""
    fields: dict[str, Any] = {}
    for field in HEADER_FIELDS:
        value = values.get(field.key)
        if value is None and not field.required:
            continue
        kind, words = _HEADER_KINDS[field.kind]
        if type(value) is not kind:
            raise wrong_value(source, field.key, words, value)
        if kind is dict and nests_too_deep(value):
            raise too_deep(source, field.key)
        fields[field.name] = value
    header = Header(**fields)
    if header.format_version is not None and header.format_version > FORMAT_VERSION:
        raise DumpCorrupt(
            f"{source}: written in format {shown(header.format_version)}, this version reads up to "
            f"{FORMAT_VERSION}. Upgrade this package."
        )
    return header


def _with_digest(header: Header, digits: int) -> Header:
    return replace(header, summary_mode="md5", hash=header.hash or _HASH_BY_DIGITS.get(digits))


def _lines_of_owners(data: bytes, source: Path) -> dict[str, Any]:
    """The whole lines of a `construct.json` that was cut; the comma stands before or after an entry."""
    if text_nests_too_deep(data):  # how deep a decoder goes before it gives up is another matter in each Python
        raise too_deep(source, None)
    found: dict[str, Any] = {}
    lines = io.BytesIO(data)
    if lines.readline().strip() != b"{":
        raise DumpCorrupt(f"{source}: not valid JSON. Move it away to compare without it.")
    for line in lines:
        try:
            found.update(decode_any(b"{" + line.strip().strip(b",") + b"}"))
        except (*BAD_JSON, RecursionError) as error:
            if not data[lines.tell() :].strip(b"\0\r\n }"):
                break
            raise DumpCorrupt(f"{source}: not valid JSON. Move it away to compare without it.") from error
    return found


def _is_texts(value: object) -> bool:
    return type(value) is list and all(type(item) is str for item in value)
