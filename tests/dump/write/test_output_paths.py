from __future__ import annotations

from pathlib import Path

import pytest

from dump.format.errors import OutputError
from dump.write.output_paths import claim_root, refuse_used


def _dump(root: Path, place: str) -> None:
    folder = root / place
    folder.mkdir(parents=True)
    (folder / "dump.json").write_text("{}")


@pytest.mark.parametrize(
    ("place", "rank", "steps", "is_taken"),
    [
        ("step0/rank1", 1, [0], True),
        ("step0/rank1", 1, [], True),
        ("step0/rank1", 0, [0], False),
        ("step3/rank1", 1, [0, 2], False),
        ("step0/proc77", None, [0], True),  # whose process that was nobody knows
        ("step0/proc77", 1, [0], False),
        ("stepx/rank1", 1, [0], False),
    ],
)
def test_a_dump_of_a_wanted_step_is_in_the_way(
    tmp_path: Path, place: str, rank: int | None, steps: list[int], is_taken: bool
) -> None:
    _dump(tmp_path, place)
    if not is_taken:
        claim_root(tmp_path, rank=rank, steps=steps)
        return
    with pytest.raises(OutputError, match="holds a dump already"):
        claim_root(tmp_path, rank=rank, steps=steps)


def test_a_root_is_made(tmp_path: Path) -> None:
    claim_root(tmp_path / "a" / "b", rank=0, steps=[0])
    assert (tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be made"):
        claim_root(tmp_path / "file" / "b", rank=0, steps=[0])


def test_a_folder_is_refused_for_a_dump_alone(tmp_path: Path) -> None:
    refuse_used(tmp_path)
    _dump(tmp_path, "used")
    with pytest.raises(OutputError, match="used: holds a dump already"):
        refuse_used(tmp_path / "used")
