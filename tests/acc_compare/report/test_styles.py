from __future__ import annotations

import pytest
from openpyxl import Workbook

from acc_compare.report.styles import FLAG, PLAIN, QUOTED, RESULT, CellStyles, number_face


@pytest.mark.parametrize(
    ("style", "value", "face"),
    [
        ("error", 1.2e-7, "0.00E+00"),
        ("error", -1.2e-7, "0.00E+00"),
        ("error", 0.25, "0.0000"),
        ("error", 0.0, "0"),
        ("error", 3e8, "0.00E+00"),
        ("percent", 3.0, '0.0000"%"'),
        ("percent", 1e-5, '0.00E+00"%"'),
        ("percent", 0, '0"%"'),
        ("cosine", 0.99999987, "0.0000000"),
        ("share", 0.41, "0.0000"),
        ("value", 181.02, "0.000000"),
        ("value", 1234.5, "0.000"),
        ("value", 1e-8, "0.00000E+00"),
        ("value", 7, "0"),
        ("value", 0.0, "0"),
        ("factor", 5300.0, '#,##0"x"'),
        ("factor", 1.5, '0.00"x"'),
        ("factor", 1e9, '0.0E+00"x"'),
    ],
)
def test_number_face(style, value, face):
    assert number_face(style, value) == face


def test_each_look_is_one_style():
    styles = CellStyles(Workbook().active)
    numbers = [styles.number("error", "plain", face) for face in (PLAIN, QUOTED, FLAG, RESULT, "0.0000")]
    assert len(set(numbers)) == 5
    assert styles.number("error", "plain", PLAIN) == numbers[0]
    assert styles.number("pass", "plain", PLAIN) != numbers[0]
    assert styles.number("error", "accused", PLAIN) != numbers[0]
