from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import dump.sim
from benchmarks.recording.measuring import BenchmarkError, Case, Timing, Tool, measure
from benchmarks.recording.results import Results, page
from benchmarks.recording.run import cases, main
from dump.config import load_config

PYTHON = Path(sys.executable)
ROOT = Path(__file__).resolve().parents[2]


def timing(*seconds: float, threads: int = 2) -> Timing:
    return Timing(seconds, (1 << 28,) * len(seconds), 1 << 30, 3 << 20, 4, "cpu", threads, first=4 * seconds[0])


@pytest.mark.slow
def test_every_tool_takes_its_turn_and_only_the_recorded_steps_reach_the_disk() -> None:
    found = measure(Case("chain:20", "L1", "statistics"), [Tool(name, PYTHON) for name in ("ours", "idle")], 2)
    assert {name: (len(each.seconds), each.files) for name, each in found.items()} == {
        "ours": (2, 3),
        "idle": (2, 0),
    }
    assert found["ours"].nbytes > 1000
    assert all(each.peak > 1 << 20 and min(each.seconds) > 0 for each in found.values())


@pytest.mark.skipif(not hasattr(dump.sim, "kernels"), reason="this torch has no simulated device")
def test_a_recorded_call_on_a_device_launches_few_kernels() -> None:
    command = [sys.executable, str(ROOT / "benchmarks/recording/launches.py"), "--count", "ours", "resnet18"]
    made = subprocess.run(command, capture_output=True, text=True, check=True)
    seen = json.loads(made.stdout.splitlines()[-1])
    assert seen["bare"] < seen["recorded"] < seen["bare"] + 15 * seen["calls"]


def test_a_worker_that_dies_is_told_with_its_last_words() -> None:
    with pytest.raises(BenchmarkError, match=r"bare ended with 1:[\s\S]*KeyError: 'nothing'"):
        measure(Case("nothing", "L1", "statistics"), [Tool("bare", PYTHON)], 1)


def test_ratios_are_those_of_the_rounds() -> None:
    # The machine was five times as slow in the second round: the ratio of the medians would be 1.2.
    ours, bare = timing(2.0, 10.0, 2.4), timing(1.0, 5.0, 2.0)
    assert (ours.over(bare), timing(2.0, 15.0, 2.4).worst_over(bare)) == (2.0, 3.0)


@pytest.mark.parametrize("case", cases("cpu"), ids=lambda case: case.name)
def test_settings_are_such_that_both_tools_take_them(case: Case, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(case.config(tmp_path)), encoding="utf-8")
    config = load_config(path)
    assert not config.ignored
    assert (config.level, config.task == "tensor", config.summary_mode == "md5") == (
        case.level,
        case.task == "tensor",
        case.task == "md5",
    )


def test_the_page_says_what_was_reached_and_what_was_missed() -> None:
    bare = timing(1.0)
    results = Results({"torch": "2.13.0"}, 1, notes=["No GPU was at hand."])
    for seconds in (1.19, 1.21):
        results.steps.append((Case("resnet50", "L1", "statistics"), {"bare": bare, "ours": timing(seconds)}))
    one_thread = {"bare": timing(1.0, threads=1), "ours": timing(1.1, threads=1)}
    results.steps.append((Case("resnet50", "L1", "statistics"), one_thread))
    results.idle.append((Case("llama", "mix", "statistics"), {"bare": bare, "idle": timing(1.02)}))
    results.calls.append((1000, {"bare": bare, "ours": timing(1.05)}))
    results.long = timing(*(0.1,) * 20)
    text = page(results)
    for part in (
        "| 1.19 | 1.19 | 1.19 |  | 1.2: reached",
        "1.2: missed",
        "| 1.0200 | missed |",
        "| 1,000 | 1.000 | 50.0 |",
        "No GPU was at hand.",
    ):
        assert part in text
    assert text.count("256.0") == 10


def test_a_wrong_number_of_rounds_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--repeat", "0"])
    assert stop.value.code == 2
    assert "expected at least 1, found 0" in capsys.readouterr().err
