"""Text from a dump made fit for a file: names and messages come from outside and may hold anything."""

from __future__ import annotations

import re

MAX_CELL_UNITS = 32_767
"""What one cell of Excel holds, in UTF-16 code units (Microsoft, "Excel specifications and limits")."""

CUT_MARK = " [cut]"

# What XML 1.0 (section 2.2) forbids, and the rest of the control characters, which a terminal would obey.
_CONTROLS = "\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff"
# What is not seen and yet changes what is read: marks and overrides of direction, joiners, tags (Unicode, UAX #9, #31).
_INVISIBLE = (
    "\xad\u061c\u115f\u1160\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufeff\ufff9-\ufffb\U000e0000-\U000e007f"
)
_UNPRINTABLE = re.compile(f"[{_CONTROLS}{_INVISIBLE}]")
_FORMULA_START = ("=", "+", "-", "@", "\t", "\r")


def visible(text: str) -> str:
    """`text` with every control character shown as its Unicode control picture (ESC as ␛), and what has none
    (lone surrogates, C1 controls, what is invisible or turns the direction of writing) as the replacement character;
    tab, newline and carriage return stay."""
    if text.isprintable() or text.replace("\n", "").isprintable():  # a hundred times quicker than to look for them
        return text
    return _UNPRINTABLE.sub(_picture, text)


def one_line(text: str) -> str:
    """`visible(text)` with each run of white space as one space."""
    return " ".join(visible(text).split())


def looks_like_formula(text: str) -> bool:
    """True where a spreadsheet would take `text`, typed in or read from a csv, for something to compute."""
    return text.startswith(_FORMULA_START)


def cell_text(text: str) -> str:
    """`visible(text)`, cut to what a cell of Excel holds; a cut text ends in `CUT_MARK`."""
    shown = visible(text)
    if len(shown) * 2 <= MAX_CELL_UNITS or _units(shown) <= MAX_CELL_UNITS:
        return shown
    kept = shown.encode("utf-16-le")[: 2 * (MAX_CELL_UNITS - len(CUT_MARK))]
    return kept.decode("utf-16-le", "ignore") + CUT_MARK


def _units(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


def _picture(match: re.Match[str]) -> str:
    code = ord(match.group())
    if code < 0x20:
        return chr(0x2400 + code)
    return "\u2421" if code == 0x7F else "\ufffd"
