from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from acc_compare import compare, many, runners
from dump.format.errors import ConfigError, IncomparableError

PLACES = [f"step{step}/rank{rank}" for step in (0, 1) for rank in (0, 1)]


def roots(make: Any, folder: Path, faulty: tuple[str, ...] = (), worlds: tuple[int, int] = (2, 2)) -> tuple[Path, Path]:
    """Two dump roots of two steps and ranks; gelu is off in the places `faulty`."""
    for side, world in zip(("npu", "bench"), worlds, strict=True):
        for place in PLACES:
            run = make.Run(world_size=world)
            x = make.normal(16, 16)
            off = 1e-2 if side == "npu" and place in faulty else 0.0
            a = make.off(np.tanh(x), off, seed=4)
            run.call("Functional.gelu.0.forward", [x], [a])
            run.call("Functional.relu.0.forward", [a], [np.maximum(a, 0)])
            run.write(folder / side / place)
    return folder / "npu", folder / "bench"


@pytest.mark.slow
def test_processes_find_what_one_finds(make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sides = roots(make, tmp_path, ("step0/rank1",))
    alone = compare(*sides)
    monkeypatch.setattr(many, "WORTH_A_PROCESS", 0)
    told: list[tuple[str, int, int]] = []
    found = compare(*sides, jobs=2, progress=lambda *each: told.append(each))
    assert found == alone
    assert told == [("steps", 2, 4), ("steps", 4, 4)]
    (sides[0] / "step1" / "rank1" / "dump.json").write_bytes(b"[]")
    with pytest.raises(Exception, match="expected a JSON object"):
        compare(*sides, jobs=2)


def test_short_dumps_need_no_processes(make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runners, "ProcessPoolExecutor", None)  # would fail if it were made
    assert compare(*roots(make, tmp_path), jobs=8).verdict == "same"


def test_rows_are_kept_on_demand(make: Any, tmp_path: Path) -> None:
    sides = roots(make, tmp_path, ("step0/rank1",))
    kept, bare = compare(*sides), compare(*sides, keep_rows=False)
    assert [len(finding.rows) for finding in kept.findings] == [4] * 4
    assert [len(finding.rows) for finding in bare.findings] == [0] * 4
    assert bare.suspects == kept.suspects
    assert [finding.worst_excess for finding in bare.findings] == [finding.worst_excess for finding in kept.findings]
    one = compare(sides[0] / "step0" / "rank0", sides[1] / "step0" / "rank0", keep_rows=False)
    assert len(one.findings[0].rows) == 4


def test_the_worst_excess_is_that_of_the_rows(make: Any, tmp_path: Path) -> None:
    found = compare(*roots(make, tmp_path, ("step0/rank1",)))
    excesses = [[row.excess for row in finding.rows if row.excess is not None] for finding in found.findings]
    assert [finding.worst_excess for finding in found.findings] == [max(each) for each in excesses]
    worst = {(finding.step, finding.rank): finding.worst_excess or 0 for finding in found.findings}
    assert worst[0, 1] > 10 > worst[0, 0]


def test_other_worlds_are_refused_where_ranks_are_paired(make: Any, tmp_path: Path) -> None:
    npu, bench = roots(make, tmp_path, worlds=(2, 4))
    with pytest.raises(IncomparableError, match=r"one of 2 ranks.* one of 4.*same number of ranks"):
        compare(npu, bench)
    assert compare(npu / "step0" / "rank0", bench / "step0" / "rank0").verdict == "same"  # asked for by name


def test_no_jobs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        compare(tmp_path, tmp_path, jobs=0)


@pytest.mark.parametrize(
    ("held", "accused"), [("what was written", []), ("other values", ["Functional.batch_norm.0.forward"])]
)
def test_running_statistics_begin_a_step_as_far_apart_as_the_one_before_wrote_them(
    make: Any, tmp_path: Path, held: str, accused: list[str]
) -> None:
    """A mean near zero is off by 0.15 of itself where what it is of is off by 0.005, as bfloat16 is."""
    for side in ("npu", "bench"):
        off = 0.15 if side == "npu" else 0.0
        for step in (0, 1):
            run = make.Run()
            x = make.normal(8, 32, 8, 8, seed=step)
            y = make.off(x, 5e-3 if side == "npu" else 0.0, seed=7)
            kept = make.normal(32, seed=3) * np.float32(2e-3)
            if step:
                kept = make.off(kept, off * (1 if held == "what was written" else 3), seed=5)
            written = make.off(make.normal(32, seed=3) * np.float32(2e-3), off, seed=5)
            for value in (y, kept, written):
                run.mark(value, dtype="torch.bfloat16")
            run.call("Functional.conv2d.0.forward", [x], [y])
            run.call("Functional.batch_norm.0.forward", [y, kept], [y / np.float32(2)], written={"input.1": written})
            run.write(tmp_path / side / f"step{step}" / "rank")
    found = compare(tmp_path / "npu", tmp_path / "bench")
    assert [suspect.name for suspect in found.suspects] == accused


def _replicas(make: Any, folder: Path, odd: float) -> Path:
    """A step of two ranks that reduce the gradient of a weight; the second holds one that is off by a share `odd`."""
    for rank in (0, 1):
        run = make.Run(world_size=2)
        x, name = make.normal(8, 16), "Distributed.ddp_all_reduce.0.forward"
        run.call("Functional.gelu.0.forward", [x], [np.maximum(x, 0)], owner="Module.a.A.forward.0")
        weight = run.parameter(make.normal(8, seed=1) * np.float32(1 + odd * rank))
        run.call(name, kwargs={"param": {"w": weight}})
        run.bodies[name]["output"] = [{"w": run._leaf(make.normal(8, seed=2))}]
        run.bodies[name]["collectives"] = [{"kind": "ddp_all_reduce", "group": "0", "ranks": [0, 1], "order": 0}]
        run.write(folder / "step0" / f"rank{rank}")
    return folder


@pytest.mark.parametrize(("npu", "bench", "verdict"), [(0, 0, "same"), (1e-4, 0, "incomplete"), (1e-4, 1e-4, "same")])
def test_replicas_that_differ_on_one_side_alone_are_not_the_same(
    make: Any, tmp_path: Path, npu: float, bench: float, verdict: str
) -> None:
    found = compare(_replicas(make, tmp_path / "npu", npu), _replicas(make, tmp_path / "bench", bench))
    assert found.verdict == verdict
    if verdict == "incomplete":
        assert found.findings[0].summary.key == "summary.replicas"


@pytest.mark.parametrize(("first", "parted"), [(5, [3e-4, 3e-4]), (0, [0.0, 1.0])])
def test_what_had_parted_as_the_recording_began_is_apart_in_all_its_steps(
    make: Any, tmp_path: Path, first: int, parted: list[float]
) -> None:
    for side, apart in (("npu", 3e-4), ("bench", 0.0)):
        for step in (first, first + 1):
            run = make.Run()
            x, w = make.normal(16, 16, seed=1), run.parameter(make.off(make.normal(16, 16, seed=2), apart))
            run.call("Functional.linear.0.forward", [x, w], [x @ w.T])
            run.write(tmp_path / side / f"step{step}" / "rank0")
    found = compare(tmp_path / "npu", tmp_path / "bench").findings
    assert [finding.parted for finding in found] == pytest.approx(parted, rel=0.5)
