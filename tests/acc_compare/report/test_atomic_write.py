from __future__ import annotations

import errno

import pytest

from acc_compare.report.atomic_write import new_file
from dump.format.errors import OutputError


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_file_appears_whole_in_a_folder_made_for_it(tmp_path):
    path = tmp_path / "a" / "b" / "out.txt"
    with new_file(path) as draft:
        draft.write_text("all")
        assert not path.exists()
    assert path.read_text() == "all"
    assert names(path.parent) == ["out.txt"]


def test_an_existing_file_is_kept(tmp_path):
    path = tmp_path / "out.txt"
    path.write_text("old")
    with pytest.raises(OutputError, match="exists already"), new_file(path) as draft:
        draft.write_text("new")
    assert path.read_text() == "old"


def test_a_file_that_appears_meanwhile_is_kept(tmp_path):
    path = tmp_path / "out.txt"

    def lose_the_race():
        with new_file(path) as draft:
            draft.write_text("new")
            path.write_text("theirs")

    with pytest.raises(OutputError, match="exists already"):
        lose_the_race()
    assert path.read_text() == "theirs"
    assert names(tmp_path) == ["out.txt"]


def test_nothing_stays_behind_after_a_failure(tmp_path):

    def fail():
        with new_file(tmp_path / "out.txt") as draft:
            draft.write_text("half")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert names(tmp_path) == []


def test_a_folder_that_cannot_be_is_an_output_error(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(OutputError, match=r"cannot write .*choose another folder"),
        new_file(tmp_path / "file" / "x"),
    ):
        pass


@pytest.mark.parametrize(("code", "frees"), [(errno.ENOSPC, True), (errno.EROFS, False)])
def test_space_is_to_be_freed_where_there_is_none(tmp_path, code, frees):
    def fail():
        with new_file(tmp_path / "x"):
            raise OSError(code, "why")

    with pytest.raises(OutputError, match=r"why.*choose another folder") as told:
        fail()
    assert ("free some space" in str(told.value)) is frees
