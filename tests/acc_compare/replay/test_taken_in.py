"""What an earlier replay says of a suspect stands first among its evidence."""

from __future__ import annotations

import pytest

from acc_compare.messages import say
from acc_compare.model import ComparedShare, Finding, Suspect
from acc_compare.replay.results import KnownVerdict
from acc_compare.replay.taken_in import with_verdicts

NAME = "Functional.gelu.1.backward"
BEFORE = say("happened.drew")


def told(verdict: KnownVerdict) -> tuple[str, ...]:
    suspect = Suspect(NAME, "operator", 0, 1, "", "output.0", None, None, None, 1, BEFORE, evidence=(BEFORE,))
    finding = Finding("different", BEFORE, (suspect,), ComparedShare(1, 1, 0, 0))
    (found,) = with_verdicts(finding, [verdict]).suspects
    return tuple(message.key for message in found.evidence[:-1])


@pytest.mark.parametrize(
    ("verdict", "key"),
    [
        (KnownVerdict(NAME, "confirmed", 0, 1, "operator", 1e-3, 3400.0), "confirmed"),
        (KnownVerdict(NAME, "confirmed", 0, None, "elsewhere"), "unmeasured"),
        (KnownVerdict(NAME, "confirmed", 0, 1, "replay", 0.0, 0.5), "cleared"),
        (KnownVerdict(NAME, "cleared", None, None), "cleared"),
        (KnownVerdict(NAME, "cleared", 0, 1, bench_wrong=True), "cleared_bench"),
        (KnownVerdict(NAME, "inherited", 0, 1, "forward"), "inherited"),
        (KnownVerdict(NAME, "not_replayed", 0, 1), "not_replayed"),
    ],
)
def test_what_a_suspect_is_told(verdict: KnownVerdict, key: str) -> None:
    assert told(verdict) == (f"replay.says.{key}",)


@pytest.mark.parametrize(
    "verdict",
    [
        KnownVerdict("Functional.gelu.1.forward", "cleared", 0, 1),
        KnownVerdict(NAME, "cleared", 1, 1),
        KnownVerdict(NAME, "cleared", 0, 0),
    ],
)
def test_another_call_step_or_rank_says_nothing(verdict: KnownVerdict) -> None:
    assert told(verdict) == ()


def test_every_call_of_the_step_and_rank_is_taken_along() -> None:
    verdicts = [
        KnownVerdict("Functional.gelu.0.forward", "cleared", step=0, rank=0),
        KnownVerdict("Functional.gelu.1.forward", "confirmed", step=0, cause="operator", ulp=3e4),
        KnownVerdict("Functional.gelu.0.forward", "confirmed", step=1, rank=0, cause="operator"),
        KnownVerdict("Functional.gelu.0.forward", "confirmed", step=0, rank=1, cause="operator"),
    ]
    finding = Finding("same", say("list.comma"), (), ComparedShare(1, 1, 0, 0), step=0, rank=0)
    found = with_verdicts(finding, verdicts).made_again
    assert [(each.call, each.verdict) for each in found] == [
        ("Functional.gelu.0.forward", "cleared"),
        ("Functional.gelu.1.forward", "confirmed"),
    ]
    assert found[1].said.key == "replay.says.confirmed"
