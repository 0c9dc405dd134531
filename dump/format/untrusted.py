"""What every reader of a dump says and asks about values that may be anything, whatever their size or depth."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import IO

from dump.format.encode import DEEPEST
from dump.format.errors import DumpCorrupt

_SHOWN = 40
_BLOCK = 1 << 24
"""Bytes that are looked at at once; a file of no more is read as it is."""
MOST_FLOAT_BITS = 1023
"""An integer of no more bits has a float64 near it."""


def bytes_of_text(source: Path) -> bytes:
    """A file of text, up to the first NUL, which no text holds, where nothing else follows: a disk that lost power
    leaves such an end, and a file may be made to have one of any length.  That NUL stays, so that the text is known as
    cut.

    Raises OSError, and DumpCorrupt where something follows.
    """
    with source.open("rb", buffering=0) as file:
        if file.seek(0, os.SEEK_END) <= _BLOCK:
            file.seek(0)
            return file.read()
        file.seek(0)
        end = 0
        while block := file.read(_BLOCK):
            at = block.find(b"\0")
            if at < 0:
                end += len(block)
                continue
            end += at
            if block[at:].strip(b"\0") or _has_data(file):
                raise DumpCorrupt(f"{source}: NUL at byte {end:,}, so it is no text. Record this run again.")
            break
        file.seek(0)
        text = bytearray()
        while len(text) <= end and (block := file.read(end + 1 - len(text))):
            text += block
        return bytes(text)


def _has_data(file: IO[bytes]) -> bool:
    """Does anything but NULs follow?  Holes of the file are passed over where the system knows them."""
    seek_data = getattr(os, "SEEK_DATA", None) if isinstance(file, io.FileIO) else None
    while True:
        if seek_data is not None:
            try:
                file.seek(file.tell(), seek_data)
            except OSError:  # nothing but a hole is left
                return False
        block = file.read(_BLOCK)
        if not block:
            return False
        if block.strip(b"\0"):
            return True


def nests_too_deep(value: object) -> bool:
    """Whether JSON's lists and objects stand inside each other more than 64 deep in `value`."""
    level: list[object] = [value]
    for _ in range(DEEPEST):
        level = [item for each in level for item in _items(each)]
        if not level:
            return False
    return True


def wrong_value(source: object, where: str, expected: str, found: object) -> DumpCorrupt:
    """The error for a value of the wrong kind; what was found is shown cut to one short line."""
    found_text = shown(found)
    return DumpCorrupt(f"{source}: {where}: expected {expected}, found {found_text}. Record this run again.")


def shown(value: object) -> str:
    """A few characters that say what an untrusted value is, whatever its size or depth."""
    if type(value) is list:
        return f"a list of {len(value)}"
    if type(value) is dict:
        return f"an object of {len(value)} keys"
    if isinstance(value, int) and value.bit_length() > MOST_FLOAT_BITS:
        return f"an integer of {value.bit_length()} bits"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return repr(value[: _SHOWN + 1] if isinstance(value, str) else value)[:_SHOWN]


def brief(text: str) -> str:
    """A name from the file, safe to print on one line."""
    line = text if text.isprintable() else ascii(text)
    most = 4 * _SHOWN
    return line if len(line) <= most else line[: most - 3] + "..."


def _items(value: object) -> list[object]:
    if type(value) is list:
        return [item for item in value if type(item) is list or type(item) is dict]
    if type(value) is dict:
        return [item for item in value.values() if type(item) is list or type(item) is dict]
    return []
