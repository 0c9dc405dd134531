"""Recordings of the localisation benchmark, compared both ways round."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from both_ways import same_both_ways

from acc_compare import compare
from benchmarks.localisation.faults import FAULTS
from benchmarks.localisation.healthy import HEALTHY
from benchmarks.localisation.recording import DUMP
from benchmarks.localisation.rows import Task
from benchmarks.localisation.running import Work

ROOT = Path(__file__).parents[2]
CHOSEN = (
    "gelu-tanh",
    "linear-bf16-once",
    "linear-off-1e-4",
    "linear-tf32",
    "batch-norm-eps",
    "layer-norm-backward-bf16",
    "bias-gradient-halved",
    "max-pool-backward-shift",
    "mask_off_by_one",
    "conv-bias-doubled",
    "threads-decoder",
    "bf16-autocast-decoder",
    "float64-bench-convnet",
    "sum-order-linear",
    "harmless-extra-calls",
)
"""Of two models, from each class of fault some, and pairs that are healthy in different ways."""
CASES = {case.name: case for case in (*FAULTS, *HEALTHY) if case.name in CHOSEN}

# In a process of its own: recordings are made in forks of it.
RECORD = """
import sys
from pathlib import Path
from benchmarks.localisation.faults import FAULTS
from benchmarks.localisation.healthy import HEALTHY
from benchmarks.localisation.running import record_all, works
cases = [case for case in (*FAULTS, *HEALTHY) if case.name in sys.argv[2:]]
problems = record_all(works(Path(sys.argv[1]), cases, ("statistics", "tensor"), ("L1",)), workers=2, keep=False)
sys.exit("; ".join(problems.values()) or 0)
"""


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the recordings of all chosen cases."""
    out = tmp_path_factory.mktemp("mirrored")
    command = [sys.executable, "-c", RECORD, str(out), *CASES]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return out


def test_every_chosen_case_is_there() -> None:
    assert CASES.keys() == set(CHOSEN)


@pytest.mark.slow
@pytest.mark.parametrize("task", ["statistics", "tensor"])
@pytest.mark.parametrize("name", CHOSEN)
def test_a_pair_both_ways_round(recorded: Path, name: str, task: Task) -> None:
    npu, bench = (part.folder / DUMP for part in Work(recorded, CASES[name], task, "L1").recordings)
    forth, back = compare(npu, bench), compare(bench, npu)
    assert forth.verdict == ("same" if CASES[name].is_healthy else "different")
    same_both_ways(forth.overall, back.overall)
    for one, other in zip(forth.findings, back.findings, strict=True):
        same_both_ways(one, other)
