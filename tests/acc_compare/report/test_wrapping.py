from __future__ import annotations

import textwrap

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acc_compare.report.wrapping import WIDTH, columns, padded, wrap


@pytest.mark.parametrize(("text", "width"), [("abc", 3), ("张量", 4), ("a张，", 5), ("e\u0301", 1), ("", 0)])
def test_columns(text: str, width: int) -> None:
    assert columns(text) == width
    assert columns(padded(text, 8)) == 8


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text("abcdefgh.-", min_size=1, max_size=30), max_size=40), st.integers(0, 20))
def test_plain_text_wraps_as_the_standard_library_does(words: list[str], indent: int) -> None:
    text = " ".join(words)
    expected = textwrap.wrap(
        text,
        WIDTH,
        initial_indent="- ",
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    assert wrap(text, lead="- ", indent=indent) == expected


@settings(max_examples=200, deadline=None)
@given(st.text("张量误差，。：（）abc 1", max_size=300))
def test_chinese_is_cut_anywhere_but_at_punctuation(text: str) -> None:
    lines = wrap(text, lead="  ", indent=4)
    assert "".join(line.strip() for line in lines).replace(" ", "") == text.replace(" ", "")
    for number, line in enumerate(lines):
        # A run of closing marks, or of letters, may be longer than a line and stays whole.
        assert columns(line) <= WIDTH or " " not in line.strip()
        if number and text.split()[0][0] not in "，。：）":
            assert line.strip()[0] not in "，。：）" or " " in text


def test_a_line_breaks_between_characters_and_not_before_a_comma() -> None:
    text = "量" * 47 + "，" + "量" * 3
    assert wrap(text, lead="    ") == ["    " + "量" * 47 + "，", "量" * 3]
    text = "量" * 48 + "，" + "量" * 3
    assert wrap(text, lead="    ") == ["    " + "量" * 47, "量，" + "量" * 3]
    assert wrap("量" * 47 + "（甲）", lead="    ")[1] == "（甲）"


def test_long_words_stay_whole() -> None:
    path = "/a" * 80
    assert wrap(f"见 {path}", lead="  ") == ["  见", path]
    assert wrap("") == []
