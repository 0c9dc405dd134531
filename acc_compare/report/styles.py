"""How the workbook looks: the colours of a result, the format of a number, and cell styles made once each."""

from __future__ import annotations

from typing import Literal, TypeAlias

from openpyxl.cell import Cell as SheetCell
from openpyxl.styles import Alignment, Border, Font, PatternFill, Side
from openpyxl.worksheet.worksheet import Worksheet

from acc_compare.report.columns import NumberStyle

Tint: TypeAlias = Literal["error", "warning", "pass", "unmatched", "none"]
Mark: TypeAlias = Literal["plain", "call", "accused"]
"""`call`: a row of a call under suspicion; `accused`: the very tensor in which its error was seen."""

# Pale enough to read black text on, and told apart by lightness too where a printer has no colour.
TINTS: dict[Tint, str] = {
    "error": "F9D2D0",
    "warning": "FFF1C4",
    "pass": "EAF5E6",
    "unmatched": "E3E5E8",
    "none": "FFFFFF",
}
STRONG_TINTS: dict[Tint, str] = {
    "error": "EE9A94",
    "warning": "FFD966",
    "pass": "BFE0B4",
    "unmatched": "C3C8CE",
    "none": "FFFFFF",
}
HEADER = "34495E"
HEADER_OURS = "1F6F78"
INK, FAINT, ACCUSED = "202020", "8A8F94", "A30000"
FONT = "Calibri"

PLAIN, LINES, QUOTED, FLAG, WORD, RESULT = "@text", "@lines", "@quoted", "@flag", "@word", "@result"
ABSENT_TEXT, ABSENT_FLAG, ABSENT_NUMBER = "@absent text", "@absent flag", "@absent number"
"""Faces of cells without a number format: text, text of several lines, text that a spreadsheet might compute,
true or false, a word where a number would stand ('nan'), the result; and 'N/A' in the three kinds of columns.
The face of a number is its number format."""

_ALIGNMENTS = {
    PLAIN: "left",
    LINES: "left",
    QUOTED: "left",
    ABSENT_TEXT: "left",
    FLAG: "center",
    ABSENT_FLAG: "center",
    RESULT: "center",
}
_FLAG_FORMAT = '"True";"True";"False"'
"""Excel has words of its own for a boolean cell; LibreOffice would show 1 and 0."""

_THIN = Side(style="thin", color="D0D4D8")
_HEAVY = Side(style="medium", color=ACCUSED)
_LINE = Border(left=_THIN, right=_THIN, top=_THIN, bottom=_THIN)
_ACCUSED_LINE = Border(left=_THIN, right=_THIN, top=_HEAVY, bottom=_HEAVY)


def fill(colour: str) -> PatternFill:
    return PatternFill("solid", start_color="FF" + colour, end_color="FF" + colour)


def number_face(style: NumberStyle, value: float) -> str:
    """The number format (Excel's language) in which `value`, of a column of `style`, can be read at a glance.

    Chosen by size: four decimals would show 0.0000 for an error of 1e-7, and an exponent hides 0.5.
    """
    size = abs(value)
    if style == "cosine":
        return "0.0000000"
    if style == "share":
        return "0.0000"
    if isinstance(value, int) and size < 1_000_000:
        return '0"%"' if style == "percent" else "0"
    if style == "factor":
        return _factor_face(size)
    if style == "value":
        return _value_face(size)
    tail = '"%"' if style == "percent" else ""
    if size == 0:
        return "0" + tail
    return ("0.0000" if 1e-2 <= size < 1e4 else "0.00E+00") + tail


def _value_face(size: float) -> str:
    if size == 0:
        return "0"
    if 1e-3 <= size < 1e3:
        return "0.000000"
    return "0.000" if 1e3 <= size < 1e6 else "0.00000E+00"


def _factor_face(size: float) -> str:
    if size >= 1e7 or 0 < size < 1e-2:
        return '0.0E+00"x"'
    return '#,##0"x"' if size >= 100 else '0.00"x"'


class CellStyles:
    """Style numbers of one sheet's workbook.  Each combination is built on first use, then only looked up:
    giving a cell its style attribute by attribute takes longer than writing ten of them."""

    def __init__(self, sheet: Worksheet) -> None:
        self._sheet = sheet
        self._ids: dict[tuple[Tint, Mark, str], int] = {}

    def number(self, tint: Tint, mark: Mark, face: str) -> int:
        """The style's index in styles.xml, which is what the `s` of a cell refers to."""
        key = (tint, mark, face)
        if key not in self._ids:
            self._ids[key] = self._build(tint, mark, face)
        return self._ids[key]

    def _build(self, tint: Tint, mark: Mark, face: str) -> int:
        cell = SheetCell(self._sheet)
        cell.fill = fill((STRONG_TINTS if face == RESULT else TINTS)[tint])
        cell.border = _ACCUSED_LINE if mark == "accused" else _LINE
        faint = face in (ABSENT_TEXT, ABSENT_FLAG, ABSENT_NUMBER)
        ink = FAINT if faint else ACCUSED if mark == "accused" else INK
        cell.font = Font(name=FONT, size=10, bold=mark != "plain" or face == RESULT, color="FF" + ink)
        side = _ALIGNMENTS.get(face, "right")
        # The first of several lines shows, the others once the row is made higher.
        cell.alignment = Alignment(
            horizontal=side,
            vertical="top" if face == LINES else "center",
            wrap_text=face == LINES,
            indent=0 if side == "center" else 1,
        )
        if face == QUOTED:
            # Without it Excel would compute the text once someone edits the cell and presses Enter.
            cell.quotePrefix = True
        elif face == FLAG:
            cell.number_format = _FLAG_FORMAT
        elif not face.startswith("@"):
            cell.number_format = face
        return int(cell.style_id)
