from __future__ import annotations

from pathlib import Path

import pytest

from dump.format.errors import DumpNotFound
from dump.format.layout import DumpLocation, find_dumps, rank_folder


def _put(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for step, leaf in ((10, "rank0"), (2, "rank10"), (2, "rank9"), (2, "proc77"), (2, "rank")):
        _put(tmp_path / "out" / f"step{step}" / leaf / "dump.json")
    _put(
        tmp_path / "out" / "step3" / "rank0" / "other.json",
        tmp_path / "out" / "stepping" / "rank0" / "dump.json",
    )
    return tmp_path / "out"


def test_a_root_gives_all_steps_and_ranks_in_numeric_order(root: Path) -> None:
    assert find_dumps(root) == (
        DumpLocation(root / "step2" / "rank", 2, None, None),
        DumpLocation(root / "step2" / "proc77", 2, None, 77),
        DumpLocation(root / "step2" / "rank9", 2, 9, None),
        DumpLocation(root / "step2" / "rank10", 2, 10, None),
        DumpLocation(root / "step10" / "rank0", 10, 0, None),
    )


@pytest.mark.parametrize(
    ("below", "expected"),
    [
        ("step10", ("step10/rank0", 10, 0)),
        ("step10/rank0", ("step10/rank0", 10, 0)),
        ("step10/rank0/dump.json", ("step10/rank0", 10, 0)),
        ("step3/rank0/other.json", ("step3/rank0/other.json", 3, 0)),
    ],
)
def test_every_level_can_be_named(root: Path, below: str, expected: tuple[str, int, int]) -> None:
    path, step, rank = expected
    assert find_dumps(root / below) == (DumpLocation(root / path, step, rank, None),)


def test_a_relative_path_still_knows_its_step(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root / "step10" / "rank0")
    assert find_dumps(Path(".")) == (DumpLocation(Path("."), 10, 0, None),)


def test_numbers_are_not_read_off_distant_folders(tmp_path: Path) -> None:
    _put(tmp_path / "rank5" / "a" / "b" / "c" / "dump.json")
    assert find_dumps(tmp_path / "rank5" / "a" / "b" / "c")[0].rank is None


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("missing", "no such file or folder"),
        ("empty", "the folder is empty"),
        ("step3", "holds no dump"),
        ("..", "but .*out does. Give that folder"),
        ("notes.txt", "a file of another kind"),
        ("watched", "holds a monitored run.*acc monitor compare"),
        ("watched/Nov29_16-27-51-rank0", "holds a monitored run"),
        ("a\0b", "cannot be looked at|no such file"),
    ],
)
def test_where_there_is_no_dump_the_message_says_what_to_do(root: Path, path: str, message: str) -> None:
    _put(root / "notes.txt")
    (root / "empty").mkdir()
    _put(root / "watched" / "Nov29_16-27-51-rank0" / "grad_reduced_0-0.csv")
    with pytest.raises(DumpNotFound, match=message) as caught:
        find_dumps(root / path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("rank", "leaf"), [(None, "proc41"), (0, "rank0"), (7, "rank7")])
def test_the_writers_folder_is_found_again(tmp_path: Path, rank: int | None, leaf: str) -> None:
    folder = rank_folder(tmp_path, step=4, rank=rank, pid=41)
    assert folder == tmp_path / "step4" / leaf
    _put(folder / "dump.json")
    assert find_dumps(tmp_path) == (DumpLocation(folder, 4, rank, 41 if rank is None else None),)
