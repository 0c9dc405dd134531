from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from acc_compare.load import mode_of, pair_locations
from acc_compare.report.i18n import text
from dump.format.errors import DumpNotFound, IncomparableError
from dump.format.schema import Dump, Header


def root(folder: Path, places: Sequence[str]) -> Path:
    for place in places:
        (folder / place).mkdir(parents=True)
        (folder / place / "dump.json").write_text("{}")
    return folder


def paired(
    tmp_path: Path, npu: Sequence[str], bench: Sequence[str]
) -> tuple[list[tuple[str, str, Any, Any]], tuple[str, ...]]:
    ours, theirs = root(tmp_path / "npu", npu), root(tmp_path / "bench", bench)
    pairs, notes = pair_locations(ours, theirs)
    return [
        (str(p.npu.path.relative_to(ours)), str(p.bench.path.relative_to(theirs)), p.step, p.rank) for p in pairs
    ], notes


def test_steps_and_ranks_find_their_own(tmp_path: Path) -> None:
    places = ["step0/rank0", "step0/rank1", "step2/rank0", "step2/rank1"]
    pairs, notes = paired(tmp_path, places, places)
    assert pairs == [(place, place, int(place[4]), int(place[-1])) for place in places]
    assert notes == ()


def test_one_dump_is_compared_with_one_dump_whatever_its_step(tmp_path: Path) -> None:
    pairs, _ = paired(tmp_path, ["step3/rank0"], ["step0/proc77"])
    assert pairs == [("step3/rank0", "step0/proc77", 3, 0)]


def test_processes_that_know_no_rank_go_by_the_order_of_their_ids(tmp_path: Path) -> None:
    pairs, _ = paired(tmp_path, ["step0/proc30", "step0/proc4"], ["step0/proc900", "step0/proc1000"])
    assert pairs == [("step0/proc4", "step0/proc900", 0, 0), ("step0/proc30", "step0/proc1000", 0, 1)]


def test_one_process_that_knows_no_rank_is_given_none(tmp_path: Path) -> None:
    pairs, _ = paired(tmp_path, ["step0/proc30", "step1/proc30"], ["step0/rank0", "step1/rank0"])
    assert [pair[2:] for pair in pairs] == [(0, None), (1, None)]


def test_a_step_of_one_side_is_a_note(tmp_path: Path) -> None:
    pairs, notes = paired(tmp_path, ["step0/rank0", "step1/rank0"], ["step1/rank0", "step5/proc13502"])
    assert [pair[0] for pair in pairs] == ["step1/rank0"]
    assert [text(note) for note in notes] == [
        "step 0, rank 0 is on the NPU side only",
        "step 5, process 13502 is on the bench side only",
    ]


@pytest.mark.parametrize(
    ("npu", "bench", "says"),
    [
        (["step0/rank0", "step0/rank1"], ["step0/rank0"], "holds 2 ranks"),
        (["step0/rank0", "step1/rank0"], ["step2/rank0", "step3/rank0"], "steps 0 to 1 against steps 2 to 3"),
        (["step0/rank0", "step1/rank0"], ["step2/rank0"], "steps 0 to 1 against step 2"),
    ],
)
def test_what_cannot_be_laid_side_by_side(tmp_path: Path, npu: list[str], bench: list[str], says: str) -> None:
    with pytest.raises(IncomparableError, match=says):
        paired(tmp_path, npu, bench)


def test_no_dump_at_all(tmp_path: Path) -> None:
    with pytest.raises(DumpNotFound):
        paired(tmp_path, ["step0/rank0"], [])


def dump(**header: Any) -> Dump:
    return Dump(Path("dump"), Header(**{"task": "statistics", "level": "L1", **header}), ())


@pytest.mark.parametrize(
    ("header", "mode"),
    [
        ({}, "statistics"),
        ({"sketch": 2}, "statistics"),
        ({"summary_mode": "md5", "hash": "md5"}, "md5"),
        ({"task": "tensor"}, "tensor"),
    ],
)
def test_the_mode_of_two_alike(header: dict[str, Any], mode: str) -> None:
    assert mode_of(dump(**header), dump(**header)) == mode


@pytest.mark.parametrize(
    ("npu", "bench", "says"),
    [
        ({}, {"task": "tensor"}, "was recorded as statistics, .* as task tensor"),
        ({"summary_mode": "md5", "hash": "md5"}, {}, "was recorded as MD5, .* as statistics"),
        (
            {"summary_mode": "md5", "hash": "md5"},
            {"summary_mode": "md5", "hash": "crc32"},
            "holds md5 digests, .* holds crc32",
        ),
        ({"sketch": 1}, {"sketch": 2}, "holds sketches of version 1, .* of version 2"),
    ],
)
def test_modes_that_differ(npu: dict[str, Any], bench: dict[str, Any], says: str) -> None:
    with pytest.raises(IncomparableError, match=says):
        mode_of(dump(**npu), dump(**bench))


@pytest.mark.parametrize("places", [["step0/rank0"], ["step0/rank0", "step1/rank0"]])
def test_a_folder_laid_against_itself_is_told(tmp_path: Path, places: list[str]) -> None:
    ours, theirs = root(tmp_path / "npu", places), root(tmp_path / "bench", places)
    assert pair_locations(ours, theirs)[1] == ()
    (tmp_path / "alias").symlink_to(ours)
    assert [note.key for note in pair_locations(ours, tmp_path / "alias")[1]] == ["note.itself"]
