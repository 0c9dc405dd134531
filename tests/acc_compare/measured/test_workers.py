from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from acc_compare.measured.workers import Team, file_distance
from dump.format.errors import AccError, TensorFileError

VALUES = {
    "plain": np.linspace(-1, 1, 5000, dtype=np.float32),
    "not finite": np.array([np.nan, np.inf, 1.0, -np.inf]),
    "integers": np.arange(7),
    "empty": np.empty((0, 3), dtype=np.float16),
    "complex": np.array([1 + 2j, 3.0]),
}


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    sides = tmp_path / "npu", tmp_path / "bench"
    for number, side in enumerate(sides):
        side.mkdir()
        for name, value in VALUES.items():
            np.save(side / f"{name}.npy", value * (1 + number) if value.size else value)
        np.save(side / "other shape.npy", np.zeros(3 + number))
    return sides


def test_helpers_find_what_this_process_finds(folders: tuple[Path, Path]) -> None:
    names = [(f"{name}.npy", f"{name}.npy") for name in (*VALUES, "other shape")]
    with Team(folders, 2) as team, ThreadPoolExecutor(4) as pool:
        found = list(pool.map(team.distance, names * 3))
    expected = [file_distance(folders, each) for each in names]
    assert [repr(each) for each in found] == [repr(each) for each in expected * 3]  # NaN is not equal to itself
    assert found[-1] is None


def test_a_file_that_cannot_be_read_is_told_in_the_words_of_reading_it(folders: tuple[Path, Path]) -> None:
    (folders[1] / "plain.npy").write_bytes(b"nothing")
    names = ("plain.npy", "plain.npy")
    with pytest.raises(TensorFileError) as alone:
        file_distance(folders, names)
    with Team(folders, 1) as team:
        with pytest.raises(TensorFileError) as helped:
            team.distance(names)
        assert str(helped.value) == str(alone.value)
        assert team.distance(("integers.npy", "integers.npy")) is not None  # and it goes on


def test_a_file_outside_the_dump_is_not_read(folders: tuple[Path, Path]) -> None:
    with Team(folders, 1) as team, pytest.raises(TensorFileError):
        team.distance(("../npu/plain.npy", "plain.npy"))


def test_a_helper_that_was_killed_is_told(folders: tuple[Path, Path]) -> None:
    with Team(folders, 1) as team:
        team.distance(("plain.npy", "plain.npy"))
        os.kill(team._members[0].pid, signal.SIGKILL)
        team._members[0].wait()
        with pytest.raises(AccError, match=r"^a helper process ended .*--jobs 1\.$"):
            team.distance(("plain.npy", "plain.npy"))


def test_helpers_end_with_their_team(folders: tuple[Path, Path]) -> None:
    with Team(folders, 2) as team:
        members = team._members
        assert all(member.poll() is None for member in members)
    assert [member.returncode for member in members] == [0, 0]


def test_another_package_of_that_name_in_the_callers_folder_is_not_run(
    folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "acc_compare").mkdir()
    (tmp_path / "acc_compare" / "__init__.py").write_text("raise SystemExit(3)")
    monkeypatch.chdir(tmp_path)
    relative = Path("npu"), Path("bench")
    with Team(relative, 1) as team:
        assert team.distance(("integers.npy", "integers.npy")) is not None
