from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.localisation import drawing, edits, formulas, launches, peers, tables  # noqa: F401 (they register)
from benchmarks.localisation.events import Event
from benchmarks.localisation.faults import FAULTS, GROUPS
from benchmarks.localisation.healthy import HEALTHY
from benchmarks.localisation.judging import Named, Verdict
from benchmarks.localisation.kernels import CHANGES
from benchmarks.localisation.launches import find_change
from benchmarks.localisation.plant import COLLECTIVE
from benchmarks.localisation.recording import MODELS
from benchmarks.localisation.rows import Case, Kernel, Side, variant
from benchmarks.localisation.running import works
from benchmarks.localisation.scoring import Outcome, score
from dump.sim.faults import Fault

ROOT = Path(__file__).parents[2]
RUN = ROOT / "benchmarks" / "localisation" / "run.py"
CASES = (*FAULTS, *HEALTHY)


def test_the_table_is_as_large_as_promised() -> None:
    assert len(FAULTS) >= 40
    assert len(HEALTHY) >= 12
    assert len({case.model for case in CASES}) >= 7
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names)


def test_every_class_of_fault_has_a_row() -> None:
    assert {case.group for case in FAULTS} == set(GROUPS)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_row_can_be_run(case: Case) -> None:
    script = MODELS / f"{case.model}.py"
    text = script.read_text(encoding="utf-8")
    for side in (case.npu, case.bench):
        for kernel in side.kernels:
            assert kernel.operator == COLLECTIVE or kernel.change in CHANGES or find_change(kernel.change)
        for fault in side.simulated or ():
            Fault.parse(fault)
        for name, value in side.variables:
            assert name != "VARIANT" or value in text
    if case.answer == "marked":
        wanted = [value for side in (case.npu, case.bench) for name, value in side.variables if name == "VARIANT"]
        assert any(f"# planted: {value}\n" in text for value in wanted)
    assert case.npu != case.bench


def test_checksums_judge_only_what_can_be_equal(tmp_path: Path) -> None:
    modes = {(work.case.name, work.task) for work in works(tmp_path, CASES, ("statistics", "md5"), ("L1",))}
    assert ("gelu-tanh", "md5") in modes
    assert ("fused-attention-bf16", "md5") not in modes
    assert ("threads-decoder", "statistics") in modes
    assert ("threads-decoder", "md5") not in modes
    assert ("again-decoder", "md5") in modes


GELU = Event("fired", "aten::gelu", 0, 0, ("Module.act.GELU.forward.0", "Functional.gelu.2.forward"), "Module.act.0")
FIRED = Case("f", "decoder", "wrong formula", Side(kernels=(Kernel("aten::gelu", "bf16"),)))
MARKED = Case("m", "decoder", "structure", Side(variables=variant("extra")), answer="marked", kinds=("structure",))
KIND = Case("k", "decoder", "optimizer", Side(threads=2), answer="kind", kinds=("optimizer",))
HEALTHY_PAIR = Case("h", "decoder", "threads", Side(threads=2), answer=None)
RIGHT = Named("Functional.gelu.2.forward", "operator", 0, 0)
OTHER = Named("Functional.linear.4.forward", "operator", 0, 0)


@pytest.mark.parametrize(
    ("case", "suspects", "events", "place"),
    [
        (FIRED, [RIGHT], [GELU], 1),
        (FIRED, [OTHER, RIGHT], [GELU], 2),
        (FIRED, [OTHER], [GELU], 0),
        (FIRED, [], [GELU], 0),
        (FIRED, [Named(RIGHT.name, "operator", None, None)], [GELU], 1),
        (FIRED, [Named(RIGHT.name)], [GELU], 1),
        (FIRED, [Named("Module.act.0", "operator", 0, 0)], [GELU], 1),
        (FIRED, [Named("Module.act.GELU.forward.0", "operator", 0, 0)], [GELU], 0),
        (FIRED, [Named(RIGHT.name, "operator", 1, 0)], [GELU], 0),
        (FIRED, [Named(RIGHT.name, "operator", 0, 1)], [GELU], 0),
        (FIRED, [Named(RIGHT.name, "input", 0, 0)], [GELU], 0),
        (FIRED, [Named("Functional.gelu.2.backward", "operator", 0, 0)], [GELU], 0),
        (
            FIRED,
            [Named("Torch.cat.0.forward", "operator", 0, 0)],
            [Event("reads", "x", 0, 0, ("Torch.cat.0.forward",))],
            1,
        ),
        (MARKED, [Named(RIGHT.name, "structure", 0, 0)], [Event("marked", "extra", 0, 0, (RIGHT.name,))], 1),
        (KIND, [Named("Optimizer.SGD.0.forward", "optimizer", 0, 0)], [], 1),
        (KIND, [RIGHT], [], 0),
        (KIND, [Named(RIGHT.name)], [], 0),
    ],
)
def test_right_and_wrong_answers(case: Case, suspects: list[Named], events: list[Event], place: int) -> None:
    assert score(case, Verdict(tuple(suspects)), events, []) == (place, "")


def test_a_case_that_tests_nothing_is_said_to() -> None:
    other = Event("marked", "another", 0, 0, (RIGHT.name,))
    assert score(FIRED, Verdict((RIGHT,)), [], []) == (0, "the fault never fired in a recorded call")
    assert score(MARKED, Verdict((RIGHT,)), [other], [other])[1] == "the fault never fired in a recorded call"
    assert score(FIRED, Verdict(error="no dump"), [GELU], []) == (0, "no dump")


def outcome(place: int = 0, suspects: tuple[Named, ...] = (), *, healthy: bool = False, unsound: str = "") -> Outcome:
    return Outcome("case", "statistics", "L1", place, suspects, ("x",), unsound=unsound, healthy=healthy)


@pytest.mark.parametrize(
    ("found", "first", "three"),
    [
        (outcome(1, (RIGHT,)), True, True),
        (outcome(3, (OTHER, OTHER, RIGHT)), False, True),
        (outcome(4, (OTHER,) * 4), False, False),
        (outcome(0, (OTHER,)), False, False),
        (outcome(healthy=True), True, True),
        (outcome(0, (OTHER,), healthy=True), False, False),
        (outcome(1, (RIGHT,), unsound="no"), False, False),
    ],
)
def test_first_and_in_three(found: Outcome, first: bool, three: bool) -> None:
    assert (found.is_first, found.is_in_three) == (first, three)


def test_scores_and_failures_are_told() -> None:
    outcomes = [outcome(1, (RIGHT,)), outcome(2, (OTHER, RIGHT)), outcome(0, (OTHER,), healthy=True)]
    line = tables.scores(outcomes).splitlines()[1].split("  ")
    assert [cell.strip() for cell in line if cell.strip()] == [
        "statistics", "L1", "2", "1 (50 %)", "2 (100 %)", "1", "1", "0"
    ]  # fmt: skip
    text = tables.failures(outcomes)
    assert text.startswith("2 of 3 outcomes")
    assert "place 2: case" in text
    assert "ACCUSED: case" in text


@pytest.mark.slow
def test_a_fault_is_planted_recorded_and_judged(tmp_path: Path) -> None:
    """The real thing, in processes of its own: one fault, one healthy pair."""
    command = [
        sys.executable,
        str(RUN),
        "--only",
        "^(elu-without-minus-one|again-adversaries)$",
        "--out",
        str(tmp_path),
    ]
    done = subprocess.run(
        [*command, "--tasks", "statistics", "--levels", "L1"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 of 2 outcomes" in done.stdout
    (events,) = tmp_path.glob("dumps/adversaries-*/statistics-L1/truth.jsonl")
    fired = [json.loads(line) for line in events.read_text(encoding="utf-8").splitlines()]
    assert {event["names"][0] for event in fired} == {f"Functional.elu.{number}.forward" for number in range(3)}
    assert all(event["effect"] > 1e-3 for event in fired)


def test_a_pattern_that_matches_nothing_is_refused(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(RUN), "--only", "no such case", "--out", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "no case, task or level is left" in done.stderr


def test_no_way_to_be_wrong_is_left_unused() -> None:
    kernels = [kernel for case in CASES for side in (case.npu, case.bench) for kernel in side.kernels]
    used = {kernel.change for kernel in kernels} | set(peers.AS_KERNEL.values()) | {"noise", "scale"}
    used |= {*drawing.EDITS, drawing.OF_UPDATES}
    assert set(launches.CHANGES) - used == set()
