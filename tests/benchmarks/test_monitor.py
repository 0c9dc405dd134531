"""The benchmark of TrainerMon: how it measures and what its page says, with one small run of it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from benchmarks.monitor import timed
from benchmarks.monitor.run import CONFIG, LIMIT, SIZES, Timing, _medians, main, measure, page
from benchmarks.monitor.workloads import WORKLOADS, Workload
from benchmarks.parity import running
from dump.monitor.config import load_config

VERSIONS = {
    "ours": {"package": "0.1.0", "torch": "2.13.0", "python": "3.11"},
    "msprobe": {"package": "26.2.0", "torch": "2.13.0", "python": "3.11"},
}


def timing(monitored: float, *, tool: str = "ours", ops: str = "norm, min, max, nans") -> Timing:
    return Timing("resnet50", tool, 1.0, monitored, 1.01, ops)


def test_medians_are_of_the_clock_and_of_the_processor() -> None:
    assert _medians([[1.0, 2.0], [9.0, 3.0], [2.0, 30.0]]) == (2.0, 3.0)


def test_the_ratio_is_that_of_the_clock() -> None:
    assert timing(1.5).ratio == 1.5


def test_the_settings_are_those_that_users_have(tmp_path: Path) -> None:
    path = tmp_path / "monitor_config.json"
    path.write_text(json.dumps(CONFIG), encoding="utf-8")
    config = load_config(path)
    assert not config.ignored
    assert config.watches_everything
    assert config.ops[:4] == ("norm", "min", "max", "nans")


def test_the_page_has_a_row_for_each_timing_and_its_limit() -> None:
    text = page([timing(1.04), timing(1.6, tool="msprobe"), timing(1.2, ops="sketch")], VERSIONS)
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert rows[1:] == [
        "| resnet50 | norm, min, max, nans | ours | 1000.0 ms | 1040.0 ms | 1.040 | 1.010 |",
        "| resnet50 | norm, min, max, nans | msprobe | 1000.0 ms | 1600.0 ms | 1.600 | 1.010 |",
        "| resnet50 | sketch | ours | 1000.0 ms | 1200.0 ms | 1.200 | 1.010 |",
    ]
    assert {row.count("|") for row in rows} == {8}
    assert f"nans: {LIMIT}." in text
    assert "msprobe: 26.2.0, torch 2.13.0, Python 3.11" in text


def test_bare_and_monitored_steps_alternate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made: list[int] = []
    steps: list[int] = []

    def small() -> Workload:
        number = len(made)
        made.append(number)
        model = nn.Linear(3, 2)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

        def step() -> None:
            steps.append(number)
            optimizer.zero_grad()
            model(torch.ones(4, 3)).sum().backward()
            optimizer.step()

        return Workload(model, optimizer, step)

    monkeypatch.setitem(WORKLOADS, "small", small)
    monkeypatch.setenv("MONITOR_OUTPUT_DIR", str(tmp_path / "out"))
    config = tmp_path / "monitor_config.json"
    config.write_text(json.dumps(CONFIG), encoding="utf-8")
    timed.main("dump", "small", 2, 3, str(config))
    seconds = json.loads(capsys.readouterr().out)
    assert steps == [0, 0, 0, 1, 1, 1] * 3
    assert {name: len(pairs) for name, pairs in seconds.items()} == {"bare": 6, "monitored": 6}
    assert len(list((tmp_path / "out").glob("*/grad_reduced_*.csv"))) == 9


def test_a_workload_that_dies_is_told_with_its_last_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SIZES, "nothing", (1, 1))
    with pytest.raises(running.ParityError, match=r"ended with 1:[\s\S]*KeyError: 'nothing'"):
        measure(running.ours(), "nothing", CONFIG["ops"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("python", "reason"),
    [("nowhere", "No such file or directory"), (sys.executable, "has no mindstudio-probe")],
    ids=["no python", "a python without it"],
)
def test_a_missing_peer_is_told_in_one_line(
    python: str, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "RESULTS.md"
    assert main(["--peer-python", python, "--results", str(results)]) == 2
    said = capsys.readouterr().err
    assert said.startswith("bench-monitor: error: ")
    assert reason in said
    assert said.count("\n") == 1
    assert not results.exists()
