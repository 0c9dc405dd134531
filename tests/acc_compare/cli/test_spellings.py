"""msprobe's flags of `compare`, taken for ours."""

from __future__ import annotations

import pytest

from acc_compare.cli import main
from acc_compare.cli.spellings import in_our_words
from dump.format.errors import ConfigError

WORDS = [
    ("compare -tp a -gp b -o out", "compare a b -o out"),
    ("compare -gp b --target_path a -fm -da --xlsx", "compare a b --fuzzy"),
    ("compare --target_path a --golden_path b --output_path out -dm m.yaml", "compare a b -o out --mapping m.yaml"),
    ("compare -tp a -gp b -am m.yaml", "compare a b --mapping m.yaml"),
    ("compare a b --fuzzy_match -s", "compare a b --fuzzy"),
    ("compare a b -o out", "compare a b -o out"),
    ("dump -s script.py -tp x", "dump -s script.py -tp x"),
    ("", ""),
]


@pytest.mark.parametrize(("given", "ours"), WORDS, ids=range(len(WORDS)))
def test_a_command_line_in_our_words(given: str, ours: str) -> None:
    assert in_our_words(given.split()) == ours.split()


@pytest.mark.parametrize("given", ["compare -tp a", "compare -gp", "compare x -gp b"])
def test_half_a_pair_is_refused(given: str) -> None:
    with pytest.raises(ConfigError, match=r"-[tg]p"):
        in_our_words(given.split())


def test_it_is_what_the_command_takes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "-tp", "no_such_dump", "-gp", "no_such_bench", "-fm"]) == 2
    assert "no_such_dump" in capsys.readouterr().err
    assert main(["compare", "-tp", "a"]) == 2
    assert capsys.readouterr().err.startswith("acc: error: -tp and -gp")
