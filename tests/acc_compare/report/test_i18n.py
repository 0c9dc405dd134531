from __future__ import annotations

import json
import pickle

import pytest

from acc_compare.report.i18n import Said, in_language, listed, say


def test_a_sentence_is_its_english_text_and_knows_its_chinese() -> None:
    text = say("happened.digest", tensor="output.0")
    assert text == "everything it read is equal bit by bit, output.0 is not"
    assert in_language(text, "zh") == "输入逐位相同，output.0 却不同"
    assert in_language(text, "en") == str(text)
    assert type(in_language(text, "en")) is str
    assert json.dumps(text) == json.dumps(str(text))


def test_values_are_said_in_the_language_too() -> None:
    text = say("happened.drew", agree=say("agree.to", size="1e-7"))
    assert text == "its inputs agree to 1e-7, the numbers it drew differ"
    assert in_language(text, "zh") == "它的输入在 1e-7 以内一致，取到的随机数却不同"


def test_lists() -> None:
    names = listed(["a", say("agree.equal")])
    assert names == "a, are equal"
    assert in_language(names, "zh") == "a、完全相等"
    assert listed([]) == ""


def test_what_the_catalogue_does_not_know_stays() -> None:
    assert in_language("Functional.gelu.0.forward", "zh") == "Functional.gelu.0.forward"


@pytest.mark.parametrize(
    ("english", "chinese"),
    [
        (
            "The runs differ. First suspect: Torch.x.0.forward, and 2 more suspects.",
            "两次运行不一致。首要可疑项：Torch.x.0.forward，另有 2 个可疑项。",
        ),
        (
            "The runs differ. First suspect: Torch.x.0.forward.",
            "两次运行不一致。首要可疑项：Torch.x.0.forward。",
        ),
        (
            "the bench side has 3 calls of the operator, this side 4",
            "标杆侧有 3 个该算子的调用，这一侧有 4 个",
        ),
        ("step 1, rank 2 is on the NPU side only", "第 1 步，rank 2 只在 NPU 侧有"),
    ],
)
def test_plain_text_of_earlier_stages_is_recognised(english: str, chinese: str) -> None:
    assert in_language(english, "zh") == chinese


def test_a_sentence_survives_the_way_to_another_process() -> None:
    text = say("measured", what=say("measured.written"), size="1e-3")
    back = pickle.loads(pickle.dumps(text))
    assert (back, type(back)) == (text, Said)
    assert in_language(back, "zh") == in_language(text, "zh")


@pytest.mark.parametrize(("key", "values"), [("no.such.message", {}), ("measured", {"what": "x"})])
def test_an_unknown_message_or_a_missing_value_is_an_error(key: str, values: dict[str, str]) -> None:
    with pytest.raises(KeyError):
        say(key, **values)
