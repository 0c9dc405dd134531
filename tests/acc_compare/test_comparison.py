"""The comparison as a library."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import acc_compare
from acc_compare import Comparison, compare
from acc_compare.report.i18n import text
from dump.format.errors import ConfigError, DumpNotFound, IncomparableError, OutputError

GPU_DUMP = Path(__file__).parents[3] / "shared" / "data" / "resnet50_gpu_dump"


def record(
    make: Any,
    *,
    off: float = 0.0,
    mode: str = "statistics",
    nan: bool = False,
    parameter: float = 0.0,
    rows: int = 16,
) -> Any:
    """linear, gelu, relu; gelu and the weight are off by `off` and `parameter`, relu has so many `rows`."""
    run = make.Run(mode=mode)
    x, w = make.normal(16, 16), run.parameter(make.off(make.normal(16, 16, seed=1), parameter))
    h = x @ w
    a = make.off(np.tanh(h), off, seed=4)
    if nan:
        a[0, 0] = np.nan
    run.call("Functional.linear.0.forward", [x, w], [h])
    run.call("Functional.gelu.0.forward", [h], [a])
    run.call("Functional.relu.0.forward", [a], [np.maximum(a, 0)[:rows]])
    return run


def pair(make: Any, folder: Path, npu: dict[str, Any], bench: dict[str, Any] | None = None) -> tuple[Path, Path]:
    """Two dump roots; each side maps a place such as "step0/rank0" to what is recorded there."""
    roots = folder / "npu", folder / "bench"
    for root, side in zip(roots, (npu, bench or {place: {} for place in npu}), strict=True):
        for place, settings in side.items():
            record(make, **settings).write(root / place)
    return roots


def test_equal_dumps_are_the_same(make: Any, tmp_path: Path) -> None:
    found = compare(*pair(make, tmp_path, {"step0/rank0": {}}))
    assert isinstance(found, Comparison)
    assert (found.verdict, found.suspects) == ("same", ())
    assert found.findings == (found.overall,)


def test_the_operator_at_fault_is_the_suspect(make: Any, tmp_path: Path) -> None:
    found = compare(*map(str, pair(make, tmp_path, {"step0/rank0": {"off": 1e-2}})))
    assert found.verdict == "different"
    assert [(s.name, s.step, s.rank) for s in found.suspects] == [("Functional.gelu.0.forward", 0, 0)]


@pytest.mark.parametrize("mode", ["statistics", "tensor", "md5"])
def test_every_mode_names_it(make: Any, tmp_path: Path, mode: str) -> None:
    places = {"step0/rank0": {"off": 1e-2, "mode": mode}}
    found = compare(*pair(make, tmp_path, places, {"step0/rank0": {"mode": mode}}))
    assert [s.name for s in found.suspects] == ["Functional.gelu.0.forward"]
    assert found.overall.mode == mode


def test_a_frame_has_a_row_for_each_argument(make: Any, tmp_path: Path) -> None:
    found = compare(*pair(make, tmp_path, {"step0/rank0": {"off": 1e-2}}))
    frame = found.to_frame()
    assert list(frame["NPU Name"]) == [row.npu_name for row in found.overall.rows]
    at = frame.set_index("NPU Name")
    assert at.loc["Functional.gelu.0.forward.output.0", "Origin"] == "introduced"


def test_the_frame_of_many_holds_all_rows(make: Any, tmp_path: Path) -> None:
    found = compare(*pair(make, tmp_path, {"step0/rank0": {}, "step1/rank0": {}}))
    assert len(found.to_frame()) == sum(len(finding.rows) for finding in found.findings) == 14


@pytest.mark.parametrize("steps", [1, 2])
def test_it_writes_its_reports(make: Any, tmp_path: Path, steps: int) -> None:
    places = {f"step{n}/rank0": {"off": 1e-2} for n in range(steps)}
    paths = compare(*pair(make, tmp_path, places)).write(tmp_path / "out", timestamp="20260101000000", formats=("csv",))
    assert len(paths.tables) == steps
    assert paths.advisor_json == tmp_path / "out" / "accuracy_compare" / "advisor_20260101000000.json"
    told = json.loads(paths.advisor_json.read_bytes())
    assert told["verdict"] == "different"
    assert [suspect["name"] for suspect in told["suspects"]] == ["Functional.gelu.0.forward"]


def test_writing_refuses_what_it_cannot_do(make: Any, tmp_path: Path) -> None:
    found = compare(*pair(make, tmp_path, {"step0/rank0": {}}))
    with pytest.raises(ConfigError):
        found.write(tmp_path / "out", formats=("docx",))
    assert not (tmp_path / "out").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        found.write(tmp_path / "file")


def test_progress_is_told(make: Any, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    compare(
        *pair(make, tmp_path, {"step0/rank0": {}, "step1/rank0": {}}),
        progress=lambda what, done, total: told.append((what, done, total)),
    )
    read = [("dumps", number, 2) for number in range(3)]
    pair_told = [*read, ("calls", 1, 3), ("calls", 3, 3), ("judging", 0, 0), ("judging", 1, 1)]
    assert told == [("steps", 0, 2), *pair_told, ("steps", 1, 2), *pair_told, ("steps", 2, 2)]


def test_over_many_steps_an_operator_is_one_suspect(make: Any, tmp_path: Path) -> None:
    found = compare(*pair(make, tmp_path, {f"step{n}/rank{r}": {"off": 1e-2} for n in range(2) for r in range(2)}))
    (suspect,) = found.suspects
    assert (suspect.step, suspect.rank, suspect.calls) == (0, 0, 4)
    assert "Functional.gelu.0.forward (step 1, rank 1)" in [
        other if isinstance(other, str) else text(other) for other in suspect.others
    ]
    assert text(found.overall.summary).startswith("4 pairs of dumps. The runs differ.")
    assert found.overall.coverage.calls == 12


def test_over_many_steps_that_agree_all_calls_are_counted(make: Any, tmp_path: Path) -> None:
    found = compare(*pair(make, tmp_path, {"step0/rank0": {}, "step1/rank0": {}}))
    assert found.verdict == "same"
    assert text(found.overall.summary) == (
        "2 pairs of dumps. 6 calls compared, none differs by more than rounding explains."
    )


def test_what_could_be_seen_of_many_is_said_once(make: Any, tmp_path: Path) -> None:
    found = compare(*pair(make, tmp_path, {"step0/rank0": {}, "step1/rank0": {"off": 1e-7}}))
    parts = [finding.sensitivity for finding in found.findings]
    seen = found.overall.sensitivity
    assert seen is not None
    assert parts[0] != parts[1]
    assert (seen.everywhere, seen.weakest) == max((part.everywhere, part.weakest) for part in parts if part)
    assert seen.mostly == max(part.mostly for part in parts if part)
    assert seen.calls == sum(part.calls for part in parts if part)
    assert [note.key for note in found.overall.notes].count("note.sensitivity") == 1


def test_what_could_be_seen_is_not_said_where_one_of_many_differs(make: Any, tmp_path: Path) -> None:
    found = compare(*pair(make, tmp_path, {"step0/rank0": {}, "step1/rank0": {"off": 1e-2}}))
    assert [part.sensitivity is None for part in found.findings] == [False, True]
    assert found.overall.sensitivity is None


def test_what_could_not_be_compared_is_counted_over_all_pairs(make: Any, tmp_path: Path) -> None:
    rows = {"step0/rank0": {"rows": 15}, "step1/rank0": {"rows": 14}, "step2/rank0": {}}
    found = compare(*pair(make, tmp_path, rows))
    counted = [text(note) for note in found.overall.notes if note.key == "note.unmeasured"]
    assert counted == ["2 tensors could not be compared: of other shapes, or not measured."]
    assert "note.unmeasured" not in {note.key for note in found.findings[2].notes}


def test_a_step_of_one_side_is_noted(make: Any, tmp_path: Path) -> None:
    found = compare(*pair(make, tmp_path, {"step0/rank0": {}, "step1/rank0": {}}, {"step0/rank0": {}}))
    assert (found.verdict, found.overall.summary.key) == ("incomplete", "summary.missing")
    assert found.overall.notes[-1].key == "note.npu_only"
    assert found.findings == (found.overall,)


def test_a_step_of_one_side_hides_no_suspect(make: Any, tmp_path: Path) -> None:
    found = compare(*pair(make, tmp_path, {"step0/rank0": {"off": 1e-2}, "step1/rank0": {}}, {"step0/rank0": {}}))
    assert (found.verdict, found.overall.summary.key) == ("different", "summary.suspect")


def test_processes_without_a_rank_each_have_their_files(make: Any, tmp_path: Path) -> None:
    found = compare(
        *pair(
            make,
            tmp_path,
            {"step0/proc7": {}, "step0/proc8": {"off": 1e-2}},
            {"step0/proc70": {}, "step0/proc80": {}},
        )
    )
    assert [(finding.rank, finding.verdict) for finding in found.findings] == [(0, "same"), (1, "different")]
    assert len(found.write(tmp_path / "out", formats=("csv",)).tables) == 2


@pytest.mark.parametrize(
    ("first", "kinds"),
    [
        ({}, ["input"]),  # nothing in the step before explains it
        ({"off": 1e-2}, ["operator"]),  # the step before was wrong already
        ({"nan": True}, ["nan_inf"]),  # and after NaN nothing begins anew
    ],
)
def test_a_step_starts_from_the_one_before(make: Any, tmp_path: Path, first: dict[str, Any], kinds: list[str]) -> None:
    roots = pair(
        make,
        tmp_path,
        {"step0/rank0": first, "step2/rank0": {"parameter": 0.05}},
    )
    assert [suspect.kind for suspect in compare(*roots).suspects] == kinds


def test_without_a_recorded_optimizer_parameters_that_part_are_its_work(make: Any, tmp_path: Path) -> None:
    roots = pair(make, tmp_path, {"step0/rank0": {}, "step1/rank0": {"parameter": 0.05}})
    assert [suspect.kind for suspect in compare(*roots).suspects] == ["optimizer"]


def test_ranks_do_not_explain_each_other(make: Any, tmp_path: Path) -> None:
    places = {
        "step0/rank0": {"off": 1e-2},
        "step0/rank1": {},
        "step2/rank0": {},
        "step2/rank1": {"parameter": 0.05},
    }
    assert [suspect.kind for suspect in compare(*pair(make, tmp_path, places)).suspects] == ["operator", "input"]


@pytest.mark.parametrize(("off", "verdict"), [(1e-3, "same"), (0.3, "different")])
def test_a_second_bench_run_is_the_floor(make: Any, tmp_path: Path, off: float, verdict: str) -> None:
    npu, bench = pair(make, tmp_path, {"step0/rank0": {"off": off}})
    record(make, off=1e-3).write(tmp_path / "again" / "step0" / "rank0")
    assert compare(npu, bench).verdict == "different"
    found = compare(npu, bench, floor=tmp_path / "again")
    assert found.verdict == verdict
    assert set(found.to_frame()["Expected From"]) == {"floor", "prior", "N/A"}
    assert "floor" not in set(compare(npu, bench).to_frame()["Expected From"])


def test_a_floor_that_is_missing_or_of_another_mode(make: Any, tmp_path: Path) -> None:
    npu, bench = pair(make, tmp_path, {"step0/rank0": {}})
    with pytest.raises(DumpNotFound):
        compare(npu, bench, floor=tmp_path / "nowhere")
    record(make, mode="md5").write(tmp_path / "again" / "step0" / "rank0")
    with pytest.raises(IncomparableError):
        compare(npu, bench, floor=tmp_path / "again")


@pytest.mark.parametrize("mode", ["statistics", "tensor"])
@pytest.mark.parametrize(("npu_off", "bench_off", "side"), [(1e-2, 0.0, "npu"), (0.0, 1e-2, "bench")])
def test_a_reference_tells_which_side_is_further_off(
    make: Any, tmp_path: Path, mode: str, npu_off: float, bench_off: float, side: str
) -> None:
    sides = ({"step0/rank0": {"off": off, "mode": mode}} for off in (npu_off, bench_off))
    npu, bench = pair(make, tmp_path, *sides)
    record(make, mode=mode).write(tmp_path / "third" / "step0" / "rank0")
    found = compare(npu, bench, reference=tmp_path / "third")
    (suspect,) = found.suspects
    assert suspect.reference is not None
    assert (suspect.name, suspect.reference.side) == ("Functional.gelu.0.forward", side)
    off = getattr(suspect.reference, side)
    assert off == pytest.approx(1e-2, rel=0.5)
    assert f"evidence.reference_{side}" in [message.key for message in suspect.evidence]
    assert "note.reference" in [note.key for note in found.overall.notes]
    told = found.to_frame().set_index("NPU Name")["Further Off"]
    assert told["Functional.gelu.0.forward.output.0"] == side
    files = found.write(tmp_path / "out")
    assert json.loads(files.advisor_json.read_text())["suspects"][0]["reference"]["further_off"] == side
    assert "Further Off" not in compare(npu, bench).to_frame()


def test_a_reference_that_says_nothing(make: Any, tmp_path: Path) -> None:
    npu, bench = pair(make, tmp_path, {"step0/rank0": {"off": 1e-2}})
    with pytest.raises(DumpNotFound):
        compare(npu, bench, reference=tmp_path / "nowhere")
    other = make.Run()
    other.call("Torch.sin.0.forward", [x := make.normal(3)], [np.sin(x)])
    other.write(tmp_path / "other" / "step0" / "rank0")
    found = compare(npu, bench, reference=tmp_path / "other")
    assert "note.no_reference" in [note.key for note in found.overall.notes]
    assert [suspect.reference for suspect in found.suspects] == [None]


def test_digests_are_no_reference(make: Any, tmp_path: Path) -> None:
    npu, bench = pair(make, tmp_path, *({"step0/rank0": {"mode": "md5"}} for _ in range(2)))
    with pytest.raises(IncomparableError):
        compare(npu, bench, reference=bench)


def test_one_dump_that_was_cut_makes_all_incomplete(make: Any, tmp_path: Path) -> None:
    npu, bench = pair(make, tmp_path, {"step0/rank0": {}, "step1/rank0": {}})
    file = npu / "step1" / "rank0" / "dump.json"
    file.write_bytes(file.read_bytes()[:-100])
    found = compare(npu, bench)
    assert [finding.verdict for finding in found.findings] == ["same", "incomplete"]
    assert found.verdict == "incomplete"


def test_the_garbage_collector_is_left_as_it_was(make: Any, tmp_path: Path) -> None:
    import gc

    roots = pair(make, tmp_path, {"step0/rank0": {}})
    assert gc.isenabled()
    compare(*roots)
    assert gc.isenabled()
    with pytest.raises(DumpNotFound):
        compare(tmp_path / "nowhere", roots[1])
    assert gc.isenabled()


def test_public_names_are_lazy() -> None:
    code = "import sys, acc_compare; print('numpy' in sys.modules); acc_compare.compare; print('numpy' in sys.modules)"
    root = str(Path(__file__).parents[2])
    done = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": root}, capture_output=True, check=True)
    assert done.stdout.split() == [b"False", b"True"]
    importlib.import_module("acc_compare.comparison")
    assert callable(acc_compare.compare)  # a module of that name would have taken its place
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = acc_compare.nothing


@pytest.mark.skipif(not GPU_DUMP.is_dir(), reason="the shared dump is not here")
def test_a_real_dump_is_the_same_as_itself() -> None:
    found = compare(GPU_DUMP, GPU_DUMP)
    assert (found.verdict, found.suspects) == ("same", ())
    assert found.overall.coverage.calls == 760
    assert found.overall.coverage.unmatched_npu == 0
