"""Jobs made larger than they were recorded, and the page that tells what comparing them took."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.scale.run import Measured, multiply, page


def _side(folder: Path, name: str) -> Path:
    for rank in range(2):
        place = folder / name / f"rank{rank}"
        place.mkdir(parents=True)
        call = {"from": f"{name} {rank}", "collectives": [{"ranks": [0, 1]}]}
        text = json.dumps({"world_size": 2, "data": {"call": call}}, separators=(",", ":"))
        (place / "dump.json").write_text(text)
    return folder / name


def test_one_rank_of_many_is_the_faulty_one_and_collectives_take_in_all(tmp_path: Path) -> None:
    size = multiply(_side(tmp_path, "npu"), _side(tmp_path, "bench"), tmp_path / "many", 5)
    dumps = {
        side: [json.loads((tmp_path / f"many/{side}/step0/rank{rank}/dump.json").read_text()) for rank in range(5)]
        for side in ("npu", "bench")
    }
    assert [dump["data"]["call"]["from"] for dump in dumps["npu"]] == ["npu 0", "npu 1", "npu 0", "npu 0", "npu 0"]
    every = [dump for side in dumps.values() for dump in side]
    assert {dump["world_size"] for dump in every} == {5}
    assert {tuple(dump["data"]["call"]["collectives"][0]["ranks"]) for dump in every} == {(0, 1, 2, 3, 4)}
    assert size == len((tmp_path / "many/bench/step0/rank4/dump.json").read_text())


def test_the_page_multiplies_what_was_measured() -> None:
    row = Measured(100, 50.0, 80_000_000, 10_000, 1000, 1, ("Functional.gelu.0.forward", 1))
    text = page([row], 0.0)
    assert "| 100 | 50 s | 500 ms | 80 MB | 10 kB | 1,000 | `Functional.gelu.0.forward`, rank 1 |" in text
    assert "a call takes 50.0 ms to compare\nand 1.0 kB on disk" in text
