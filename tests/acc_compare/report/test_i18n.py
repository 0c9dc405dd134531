from __future__ import annotations

import pickle
from typing import Any

import pytest

from acc_compare.messages import Message, count, listed, say
from acc_compare.report.i18n import known_language, text
from dump.format.errors import ConfigError


def test_a_message_is_data_until_somebody_asks_for_text() -> None:
    message = say("happened.digest", tensor="output.0")
    assert text(message) == "everything it read is equal bit by bit, output.0 is not"
    assert text(message, "zh") == "输入逐位相同，output.0 却不同"


def test_values_are_said_in_the_language_too() -> None:
    message = say("happened.drew", agree=say("agree.to", size=1e-7))
    assert text(message) == "its inputs agree to 1e-7, the numbers it drew differ"
    assert text(message, "zh") == "它的输入在 1e-7 以内一致，取到的随机数却不同"


def test_lists() -> None:
    names = listed(["a", say("agree.equal")])
    assert text(names) == "a, are equal"
    assert text(names, "zh") == "a、完全相等"
    assert text(listed([])) == ""


def test_names_are_the_same_in_every_language() -> None:
    assert text("Functional.gelu.0.forward", "zh") == "Functional.gelu.0.forward"


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        (count(1, "call"), "1 call"),
        (count(1243, "call"), "1,243 calls"),
        (say("agree.to", size=0.0016), "agree to 1.6e-3"),
        (say("looks.sketch_factor", factor=1.0012345), "a constant factor of 1.00123 (estimated from the sketch)"),
        (say("looks.shifted", by=1, axis=0), "is the bench's shifted by +1 along dimension 0"),
    ],
)
def test_numbers_stay_numbers_until_here(message: Message, shown: str) -> None:
    assert text(message) == shown


def test_a_message_survives_the_way_to_another_process() -> None:
    message = say("measured", what=say("measured.written"), size=1e-3)
    assert pickle.loads(pickle.dumps(message)) == message
    assert len({message, say("measured", what=say("measured.written"), size=1e-3)}) == 1


@pytest.mark.parametrize(("key", "values"), [("no.such.message", {}), ("measured", {"what": "x"})])
def test_an_unknown_message_or_a_missing_value_is_an_error(key: str, values: dict[str, Any]) -> None:
    with pytest.raises(KeyError):
        text(say(key, **values))


def test_an_unknown_language_is_refused() -> None:
    assert known_language("zh") == "zh"
    with pytest.raises(ConfigError, match="en, zh"):
        known_language("fr")


def test_a_name_that_no_program_has_is_cut_and_a_long_path_is_not() -> None:
    name, path = "Functional." + "g" * 400_000, "/".join(["folder"] * 500)
    said = text(say("note.npu_only", place=f"{path} {name}"))
    assert len(said) < len(path) + 300
    assert path in said
    assert "[399,851]" in said
