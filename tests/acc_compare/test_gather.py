"""Dumps of several nodes in one folder: whole, once, and with what is missing said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from acc_compare import compare
from acc_compare.cli import main
from acc_compare.gather import gather
from dump.format.errors import AccError, DumpNotFound, IncomparableError, OutputError


def node(make: Any, folder: Path, *places: str, world: int = 4, off: float = 0.0) -> Path:
    """What one node wrote: a dump at each place, with a file in a folder of its own."""
    for place in places:
        run = make.Run(world_size=world)
        x = make.normal(16, 16)
        run.call("Functional.gelu.0.forward", [x], [make.off(np.tanh(x), off, seed=4)])
        run.write(folder / place)
        (folder / place / "dump_tensor_data").mkdir()
        (folder / place / "dump_tensor_data" / "a.npy").write_bytes(place.encode())
    return folder


def test_the_ranks_of_all_nodes_are_one_job(make: Any, tmp_path: Path) -> None:
    places = [[f"step{step}/rank{rank}" for step in (0, 1) for rank in ranks] for ranks in ((0, 1), (2, 3))]
    nodes = [node(make, tmp_path / f"node{number}", *held) for number, held in enumerate(places)]
    found = gather(nodes, tmp_path / "all")
    assert found.dumps == 8
    held = [(step.step, step.ranks, step.missing) for step in found.steps]
    assert held == [(step, (0, 1, 2, 3), ()) for step in (0, 1)]
    assert (tmp_path / "all/step1/rank3/dump_tensor_data/a.npy").read_bytes() == b"step1/rank3"
    assert compare(tmp_path / "all", tmp_path / "all").verdict == "same"


def test_what_is_there_is_left_and_what_is_missing_is_told(make: Any, tmp_path: Path) -> None:
    first = node(make, tmp_path / "one", "step0/rank0", "step0/rank1")
    out = tmp_path / "all"
    assert gather([first], out).steps[0].missing == (2, 3)
    (out / "step0" / ".rank2.unfinished").mkdir()  # left by a gathering that was killed
    (out / "step0" / ".rank2.unfinished" / "dump.json").write_text("{")
    before = (out / "step0/rank0/dump.json").stat().st_mtime_ns
    found = gather([first, node(make, tmp_path / "two", "step0/rank2", "step0/rank3")], out)
    assert (found.dumps, found.steps[0].missing) == (2, ())
    assert (out / "step0/rank0/dump.json").stat().st_mtime_ns == before
    assert not (out / "step0" / ".rank2.unfinished").exists()
    assert gather([out], out).dumps == 0


@pytest.mark.parametrize(
    ("place", "more", "words"),
    [
        ("step0/rank0", {"off": 0.1}, "two records of the same rank and step"),
        ("step0/rank1", {"world": 8}, "a job of 4 and of one of 8"),
    ],
)
def test_ranks_that_do_not_belong_together_are_refused(
    make: Any, tmp_path: Path, place: str, more: dict[str, Any], words: str
) -> None:
    nodes = [node(make, tmp_path / "one", "step0/rank0"), node(make, tmp_path / "two", place, **more)]
    with pytest.raises(IncomparableError, match=words):
        gather(nodes, tmp_path / "all")


def test_another_record_than_the_one_that_is_there_is_refused(make: Any, tmp_path: Path) -> None:
    gather([node(make, tmp_path / "one", "step0/rank0")], tmp_path / "all")
    with pytest.raises(IncomparableError, match="another record"):
        gather([node(make, tmp_path / "two", "step0/rank0", off=0.1)], tmp_path / "all")


def test_links_are_not_followed_out_of_a_dump(make: Any, tmp_path: Path) -> None:
    first = node(make, tmp_path / "one", "step0/rank0")
    (tmp_path / "secret").write_text("secret")
    (first / "step0/rank0/link").symlink_to(tmp_path / "secret")
    gather([first], tmp_path / "all")
    assert sorted(file.name for file in (tmp_path / "all/step0/rank0").iterdir()) == sorted(
        {file.name for file in (first / "step0/rank0").iterdir()} - {"link"}
    )


@pytest.mark.parametrize(
    ("source", "out", "error"), [("nothing", "all", DumpNotFound), ("one", "memory://all", OutputError)]
)
def test_what_cannot_be_done_is_told(make: Any, tmp_path: Path, source: str, out: str, error: type[AccError]) -> None:
    node(make, tmp_path / "one", "step0/rank0")
    with pytest.raises(error):
        gather([tmp_path / source], Path(out) if ":" in out else tmp_path / out)


@pytest.mark.parametrize(
    ("ranks", "code", "told"), [((0, 1, 2, 3), 0, "ranks 0-3\n"), ((0, 2), 1, "ranks 0, 2; missing: ranks 1, 3\n")]
)
def test_the_command_tells_what_it_has(
    make: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], ranks: tuple[int, ...], code: int, told: str
) -> None:
    nodes = [str(node(make, tmp_path / f"node{rank}", f"step0/rank{rank}")) for rank in ranks]
    assert main(["gather", *nodes, "-o", str(tmp_path / "all")]) == code
    assert capsys.readouterr().out.endswith(told)
