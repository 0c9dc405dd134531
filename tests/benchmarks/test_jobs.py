"""Jobs of several ranks under real process groups: healthy ones are the same, a fault in one rank is named there."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch

from benchmarks.localisation import jobs, running
from benchmarks.localisation.ranks import Answer, verdict_of
from benchmarks.localisation.rows import Case, Task

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not torch.distributed.is_available(), reason="torch without torch.distributed"),
]


IN_TESTS = ("ddp", "fsdp2", "tp")
"""Jobs take half a minute each; the benchmark runs the others."""


def _cases(job: jobs.Job) -> list[Case]:
    return [
        case
        for case in (*jobs.HEALTHY, *jobs.FAULTS)
        if case.npu.variables[0] == ("JOB", job.job) and case.model == job.model and case.group != jobs.OTHERWISE
    ]


OTHERWISE_IN_TESTS = (
    "fsdp2-2-against-ddp-2",
    "tp-2-against-tp-1",
    "fsdp2-tp-4-against-tp-2",
    "megatron-tp-dp-4-against-megatron-tp-1",
    "three-ways-8-against-1x1x1-1",
)
"""The benchmark runs the other pairs of jobs that are cut otherwise."""


@pytest.mark.parametrize("name", OTHERWISE_IN_TESTS)
def test_jobs_cut_otherwise_are_judged_as_they_are(tmp_path: Path, name: str) -> None:
    _all_right(tmp_path, [case for case in (*jobs.HEALTHY, *jobs.FAULTS) if case.name.startswith(f"{name}-")])


@pytest.mark.parametrize("job", [job for job in jobs.JOBS if job.name in IN_TESTS], ids=lambda job: job.name)
def test_a_job_is_judged_as_it_is(tmp_path: Path, job: jobs.Job) -> None:
    _all_right(tmp_path, _cases(job))


def test_a_wrong_call_of_one_micro_batch_is_named_where_the_other_side_has_none(tmp_path: Path) -> None:
    name = "1f1b-2-against-whole-1"
    _all_right(tmp_path, [case for case in (*jobs.HEALTHY, *jobs.FAULTS) if case.name.startswith(f"{name}-")])


def test_a_pipeline_is_judged_by_its_elements(tmp_path: Path) -> None:
    name = "1f1b-2-against-micro-1"
    _all_right(tmp_path, [case for case in (*jobs.HEALTHY, *jobs.FAULTS) if case.name.startswith(f"{name}-")], "tensor")


def _all_right(folder: Path, cases: list[Case], task: Task = "statistics") -> None:
    assert [each.outcome.case for each in _answers(folder, cases, task) if not each.is_right] == []


def _answers(folder: Path, cases: list[Case], task: Task) -> list[Answer]:
    todo = running.works(folder, cases, (task,), ("L1",))
    assert len(todo) >= 3
    with warnings.catch_warnings():  # of kernels put in the place of others, in the processes forked from here
        warnings.simplefilter("ignore")
        problems = running.record_all(todo, workers=1, keep=False)
    running.compare_all(todo, problems, workers=1, again=False)
    return [Answer(running.outcome(work, problems), verdict_of(work.compared)) for work in todo]
