"""`SingleSave`, and `SingleComparator` on what it saved."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import openpyxl
import pytest
import torch

from acc_compare.as_msprobe import SingleComparator
from dump import PrecisionDebugger
from dump.as_msprobe.saving import SingleSave
from dump.format.errors import DumpNotFound
from dump.format.reader import read_dump


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    yield
    SingleSave._instance = None


def _save(folder: Path, factor: float = 1.0) -> None:
    SingleSave._instance = None
    saver = SingleSave(str(folder))
    assert SingleSave("elsewhere") is saver
    for step in range(2):
        for micro in range(2):
            saver.save({"log_probs": torch.arange(4.0) * factor + step + micro})
        saver.save({"many": [torch.ones(2, dtype=torch.bfloat16), torch.zeros(0)], "named": {"a": torch.tensor(3)}})
        saver.step()


def test_every_tensor_has_a_file_and_its_statistics(tmp_path: Path) -> None:
    _save(tmp_path)
    folder = tmp_path / "data" / "log_probs" / "step1" / "rank0" / "micro_step1"
    assert np.load(folder / "log_probs.npy").tolist() == [2.0, 3.0, 4.0, 5.0]
    told = json.loads((folder / "log_probs.json").read_text())["data"]
    assert told == {"max": 5.0, "min": 2.0, "mean": 3.5, "norm": pytest.approx(54**0.5), "shape": [4]}
    many = tmp_path / "data" / "many" / "step0" / "rank0" / "micro_step0"
    assert sorted(path.name for path in many.iterdir()) == ["many.0.npy", "many.1.npy", "many.json"]
    assert json.loads((many / "many.json").read_text())["data"][1]["max"] is None


def test_what_cannot_be_saved_is_told_and_the_run_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saver = SingleSave(str(tmp_path))
    saver.save([1])  # type: ignore[arg-type]
    saver.save({"../out": torch.ones(1), "text": "t", "list": ["t"]})
    saver.save_config({"lr": 0.1})
    assert json.loads((tmp_path / "configurations.json").read_text()) == {"lr": 0.1}
    assert len(capsys.readouterr().err.splitlines()) == 4
    assert not (tmp_path.parent / "out").exists()


def test_a_recording_does_not_see_it(tmp_path: Path) -> None:
    PrecisionDebugger(dump_path=str(tmp_path / "dump"), level="L1")
    PrecisionDebugger.start()
    value = torch.ones(2)
    SingleSave(str(tmp_path / "saved")).save({"value": value})
    PrecisionDebugger.step()
    (folder,) = (tmp_path / "dump" / "step0").iterdir()
    assert [call.name for call in read_dump(folder).calls] == ["Torch.ones.0.forward"]
    assert (tmp_path / "saved" / "data" / "value").is_dir()


def test_two_runs_are_compared_tensor_by_tensor(tmp_path: Path) -> None:
    _save(tmp_path / "a")
    _save(tmp_path / "b", factor=1.0005)
    SingleComparator.compare(tmp_path / "a", tmp_path / "b", tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["log_probs.xlsx", "many.xlsx", "named.xlsx"]
    rows = list(openpyxl.load_workbook(tmp_path / "out" / "log_probs.xlsx").active.iter_rows(values_only=True))
    assert rows[0] == SingleComparator.result_header
    assert [row[:4] for row in rows[1:]] == [(s, 0, m, 0) for s in range(2) for m in range(2)]
    assert rows[1][6:8] == (25, 1)
    assert rows[1][8] == pytest.approx(0.0015, rel=1e-3)
    assert rows[1][10:] == (100, 100)
    with pytest.raises(DumpNotFound, match="SingleSave"):
        SingleComparator.compare(tmp_path / "nothing", tmp_path / "b", tmp_path / "more")
