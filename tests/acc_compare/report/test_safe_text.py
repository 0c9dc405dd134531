from __future__ import annotations

import pytest

from acc_compare.report.safe_text import (
    CUT_MARK,
    MAX_CELL_UNITS,
    cell_text,
    looks_like_formula,
    one_line,
    visible,
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain [1, 2] 层", "plain [1, 2] 层"),
        ("a\tb\nc\r", "a\tb\nc\r"),
        ("\x1b[31mred", "␛[31mred"),
        ("nul\x00 del\x7f", "nul␀ del␡"),
        ("over\u202eedirrevo zero\u200bwidth \U000e0041", "over\ufffdedirrevo zero\ufffdwidth \ufffd"),
        ("csi\x9b lone\udc80 \uffff", "csi\ufffd lone\ufffd \ufffd"),
    ],
)
def test_visible(text, shown):
    assert visible(text) == shown


def test_one_line_folds_white_space():
    assert one_line(" a\n  b\t\x07c ") == "a b ␇c"


@pytest.mark.parametrize("text", ["=1+1", "+1", "-2", "@sum", "\t=1", "\r=1"])
def test_formulas_are_seen(text):
    assert looks_like_formula(text)


@pytest.mark.parametrize("text", ["", "a=b", "1+1", " =1"])
def test_other_text_is_no_formula(text):
    assert not looks_like_formula(text)


def test_long_text_is_cut_to_what_a_cell_holds():
    assert cell_text("x" * MAX_CELL_UNITS) == "x" * MAX_CELL_UNITS
    cut = cell_text("x" * (MAX_CELL_UNITS + 1))
    assert len(cut) == MAX_CELL_UNITS
    assert cut.endswith(CUT_MARK)


def test_astral_characters_count_twice_and_are_not_split():
    cut = cell_text("y" + "😀" * MAX_CELL_UNITS)
    assert len(cut.encode("utf-16-le")) // 2 <= MAX_CELL_UNITS
    assert cut.removesuffix(CUT_MARK).endswith("😀")
