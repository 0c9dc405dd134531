"""What every reader of a dump says and asks about values that may be anything, whatever their size or depth."""

from __future__ import annotations

from dump.format.encode import DEEPEST
from dump.format.errors import DumpCorrupt

_SHOWN = 40
MOST_FLOAT_BITS = 1023
"""An integer of no more bits has a float64 near it."""


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
