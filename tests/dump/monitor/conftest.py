"""Train a few lines of torch under a TrainerMon in a temporary folder, and read the csv files back."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from dump.monitor.output import find_runs
from dump.monitor.trainer import TrainerMon

Row = dict[str, str]


class Monitored:
    """What was written below a folder: rows by kind."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def folder(self) -> Path:
        return find_runs(self.root)[-1].path

    def rows(self, kind: str) -> list[Row]:
        found: list[Row] = []
        for path in sorted(
            self.folder.glob(f"{kind}_[0-9]*.csv"), key=lambda path: int(path.stem.split("_")[-1].split("-")[0])
        ):
            with path.open(encoding="utf-8", newline="") as file:
                found += csv.DictReader(file)
        return found

    def column(self, kind: str, name: str, op: str = "norm") -> list[float]:
        """One number of one name, step after step."""
        return [float(row[op]) for row in self.rows(kind) if row["name"] == name]


@pytest.fixture
def output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Monitored:
    root = tmp_path / "monitor_output"
    monkeypatch.setenv("MONITOR_OUTPUT_DIR", str(root))
    return Monitored(root)


@pytest.fixture
def config_file(tmp_path: Path) -> Callable[..., Path]:
    """`config_file(wg_distribution=True)` writes a monitor_config.json."""

    def write(**content: Any) -> Path:
        path = tmp_path / "monitor_config.json"
        path.write_text(json.dumps({"step_count_per_record": 100, **content}), encoding="utf-8")
        return path

    return write


@pytest.fixture
def monitor(config_file: Callable[..., Path], output: Monitored) -> Any:
    """`monitor(model, optimizer, grad_acc_steps=1, **config)` gives a TrainerMon that is closed afterwards."""
    made: list[TrainerMon] = []

    def start(model: torch.nn.Module, optimizer: Any, grad_acc_steps: int = 1, **content: Any) -> TrainerMon:
        mon = TrainerMon(config_file(**content), params_have_main_grad=False)
        made.append(mon)
        mon.set_monitor(model, grad_acc_steps, optimizer)
        return mon

    yield start
    for mon in made:
        mon.close()
