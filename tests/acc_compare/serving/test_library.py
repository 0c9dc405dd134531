"""Runs below a folder, and whether they have grown."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from acc_compare.serving import library
from acc_compare.serving.library import runs
from dump.format.errors import DumpNotFound

SAMPLES = Path(__file__).resolve().parents[3] / "sample_dumps"


def copied(sample: str, to: Path) -> Path:
    shutil.copytree(SAMPLES / sample, to)
    return to


def test_runs_are_found_at_any_depth_and_named_by_their_path(tmp_path: Path) -> None:
    copied("healthy", tmp_path / "npu")
    copied("healthy", tmp_path / "old" / "monday" / "gpu")
    (tmp_path / "logs").mkdir()
    assert [run.name for run in runs(tmp_path)] == ["npu", "old/monday/gpu"]
    assert [len(run.locations) for run in runs(tmp_path)] == [1, 1]


def test_a_run_itself_is_one(tmp_path: Path) -> None:
    (run,) = runs(copied("healthy", tmp_path / "npu"))
    assert run.name == "npu"
    assert [at.path.name for at in run.locations] == ["rank0"]


def test_links_lead_nowhere(tmp_path: Path) -> None:
    copied("healthy", tmp_path / "outside")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "link").symlink_to(tmp_path / "outside")
    assert runs(tmp_path / "root") == []


def test_what_is_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DumpNotFound, match="no such folder"):
        runs(tmp_path / "nowhere")


def test_a_state_changes_when_a_dump_grows_and_only_then(tmp_path: Path) -> None:
    folder = copied("healthy", tmp_path / "npu")
    copied("healthy", tmp_path / "gpu")
    before = {run.name: run.state for run in runs(tmp_path)}
    assert before == {run.name: run.state for run in runs(tmp_path)}
    with (folder / "step0" / "rank0" / "dump.json").open("ab") as file:
        file.write(b"\n")
    after = {run.name: run.state for run in runs(tmp_path)}
    assert (after["npu"] != before["npu"], after["gpu"] == before["gpu"]) == (True, True)
    copied("healthy/step0", folder / "step1")
    (grown,) = (run for run in runs(tmp_path) if run.name == "npu")
    assert grown.state != after["npu"]
    assert len(grown.locations) == 2


def test_their_number_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "MOST_RUNS", 2)
    for number in range(4):
        copied("healthy", tmp_path / str(number))
    assert len(runs(tmp_path)) == 2
