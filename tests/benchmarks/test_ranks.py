"""The benchmark of jobs: what is right, and the page that says so."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.localisation import jobs
from benchmarks.localisation.judging import Named
from benchmarks.localisation.ranks import Answer, chosen, page, seeded, verdict_of
from benchmarks.localisation.scoring import Outcome

SUSPECT = Named("Functional.gelu.2.forward", "operator", step=1, rank=1)


def outcome(name: str, *, place: int = 0, healthy: bool = False) -> Outcome:
    return Outcome(name, "statistics", "L1", place, (SUSPECT,) if place else (), (), healthy=healthy)


@pytest.mark.parametrize(("verdict", "right"), [("same", True), ("incomplete", False), ("none", False)])
def test_a_healthy_pair_is_right_where_it_is_same(verdict: str, right: bool) -> None:
    assert Answer(outcome("again-ddp", healthy=True), verdict).is_right is right


def test_the_verdict_is_that_of_the_last_comparison(tmp_path: Path) -> None:
    assert verdict_of(tmp_path) == "none"
    for stamp, verdict in (("1", "same"), ("2", "different")):
        (tmp_path / f"advisor_{stamp}.json").write_text(json.dumps({"verdict": verdict}))
    assert verdict_of(tmp_path) == "different"


def test_the_page_has_every_pair_and_what_is_not_right() -> None:
    cases = chosen("^(again-ddp|ddp-gelu|noisy-ddp)$")
    assert [case.group for case in cases] == ["again", jobs.NOISY, jobs.GROUP]
    answers = [
        Answer(outcome("again-ddp", healthy=True), "same"),
        Answer(outcome("noisy-ddp", healthy=True), "incomplete"),
        Answer(outcome("ddp-gelu", place=1), "different"),
    ]
    text = page(cases, answers, "statistics-L1")
    assert "| the same job twice | 1 of 1 |" in text
    assert "| a fault in one rank, the same cut on both sides |  | 1 of 1 |" in text
    assert "- noisy-ddp incomplete none" in text
    assert "| ddp-gelu | yes | different | `Functional.gelu.2.forward`, step 1, rank 1 |" in text


def test_both_sides_have_the_weights_and_data_of_the_seed() -> None:
    (case,) = chosen("^ddp-gelu$")
    drawn = seeded(case, 7)
    assert drawn.npu.variables == (*case.npu.variables, ("SEED", "7"), ("DATA_SEED", "8"))
    assert drawn.bench.variables == (*case.bench.variables, ("SEED", "7"), ("DATA_SEED", "8"))
    assert (drawn.npu.kernels, drawn.name) == (case.npu.kernels, case.name)


def test_a_page_of_some_jobs_says_which() -> None:
    cases = chosen("^again-ddp$")
    answers = [Answer(outcome("again-ddp", healthy=True), "same")]
    assert "`^again-ddp$` were run" in page(cases, answers, "statistics-L1, seed 7", "^again-ddp$")
    assert "were run" not in page(cases, answers, "statistics-L1, seed 7")
