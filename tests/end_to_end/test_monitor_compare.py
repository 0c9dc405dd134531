"""`acc monitor compare` and `show` from outside, on runs that were really trained."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from acc_compare.cli import main

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
ACC = [sys.executable, "-c", "import sys; from acc_compare.cli import main; sys.exit(main())"]

TRAIN = """
import os, sys
import torch
from torch import nn
from dump import TrainerMon


def train(what):
    os.environ["MONITOR_OUTPUT_DIR"] = what
    torch.set_num_threads(2 if what == "threads" else 1)
    torch.manual_seed(1 if what == "seed" else 0)
    model = nn.Sequential(nn.Linear(32, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 8))
    rates = [1.05e-3 if what == "rate" and layer is model[2] else 1e-3 for layer in (model[0], model[2], model[4])]
    groups = [{"params": list(model[place].parameters()), "lr": rate} for place, rate in zip((0, 2, 4), rates)]
    optimizer = torch.optim.AdamW(groups)
    monitor = TrainerMon("config.json")
    monitor.set_monitor(model, 1, optimizer)
    data = torch.Generator().manual_seed(7)
    for step in range(60):
        x = torch.randn(512, 32, generator=data)
        loss = nn.functional.cross_entropy(model(x), x[:, :8].argmax(1))
        optimizer.zero_grad()
        loss.backward()
        if what == "nan" and step == 37:
            model[2].bias.grad[5] = float("nan")
        optimizer.step()


for what in sys.argv[1:]:
    train(what)
"""
CONFIG = {"targets": {}, "wg_distribution": True, "param_distribution": True, "format": "csv",
          "ops": ["norm", "min", "max", "mean", "nans"], "step_count_per_record": 20}  # fmt: skip
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_WAIT_POLICY": "passive", "COLUMNS": "120"}


def acc(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [*ACC, "monitor", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, env=ENVIRONMENT)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one monitored run of each sort."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "train.py").write_text(TRAIN)
    (folder / "config.json").write_text(json.dumps(CONFIG))

    command = [sys.executable, "train.py", "plain", "threads", "rate", "nan", "seed"]
    subprocess.run(command, cwd=folder, check=True, env=ENVIRONMENT, capture_output=True)
    return folder


def advisor(folder: Path, out: str) -> dict[str, object]:
    (path,) = (folder / out / "monitor_compare").glob("advisor_*.json")
    document: dict[str, object] = json.loads(path.read_bytes())
    return document


def test_another_number_of_threads_is_alike(runs: Path) -> None:
    ran = acc("compare", "threads", "plain", "-o", "out_threads", cwd=runs)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.startswith("SAME: ")
    assert advisor(runs, "out_threads")["suspects"] == []


def test_a_run_beside_itself_is_equal_throughout(runs: Path) -> None:
    ran = acc("compare", "plain", "plain", "-o", "out_plain", cwd=runs)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.startswith("SAME: All series are equal throughout.")


@pytest.mark.parametrize(
    ("what", "kind", "step", "names"),
    [
        ("rate", "optimizer", 0, {"2.weight", "2.bias"}),
        ("nan", "nan_inf", 37, {"2.bias"}),
        ("seed", "input", 0, {"0.weight", "0.bias", "2.weight", "2.bias", "4.weight", "4.bias"}),
    ],
)
def test_what_was_planted_is_named(runs: Path, what: str, kind: str, step: int, names: set[str]) -> None:
    ran = acc("compare", what, "plain", "-o", f"out_{what}", cwd=runs)
    assert (ran.returncode, ran.stderr) == (1, ""), ran.stdout
    first = advisor(runs, f"out_{what}")["suspects"][0]  # type: ignore[index]
    assert (first["kind"], first["step"]) == (kind, step)
    assert {first["name"], *first["others"]} <= names
    page = next((runs / f"out_{what}" / "monitor_compare").glob("monitor_*.html")).read_text()
    assert "<svg" in page
    assert "<script" not in page


def test_with_gradients_alone_the_update_is_suspected(runs: Path) -> None:
    """The other rate shows in all gradients of step 1 at once: no parameter can be told from another."""
    ran = acc("compare", "rate", "plain", "--kind", "grad_reduced", "-o", "out_gradients", cwd=runs)
    assert ran.returncode == 1
    first = advisor(runs, "out_gradients")["suspects"][0]  # type: ignore[index]
    assert (first["kind"], first["step"]) == ("gradient", 1)
    assert "the update of the step before" in first["message"]
    assert "param_distribution" in first["advice"][0]


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("absent", "plain"), "absent: expected a folder"),
        (("plain", "plain", "--kind", "actv"), "--kind: neither side has 'actv'"),
        (("plain", "plain", "--steps", "9-1"), "--steps: expected a range"),
        (("plain", "plain", "--steps", "900-"), "--steps: expected a range"),
        (("plain", "plain", "--steps", "900-999"), "no kind, series and step in common"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_two(
    runs: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    word: str,
) -> None:
    monkeypatch.chdir(runs)
    assert main(["monitor", "compare", *arguments]) == 2
    told = capsys.readouterr().err
    assert word in told
    assert len(told.splitlines()) == 1


def test_neither_command_imports_torch(runs: Path) -> None:
    """Nor do results of before go: the second comparison within a second gets names of its own."""
    script = (
        "import sys; from acc_compare.cli import main; one = ['monitor', 'compare', 'plain', 'plain', '-q'];"
        "one += ['-o', 'twice'];"
        "main(one); main(one); main(['monitor', 'show', 'nan']); sys.exit('torch' in sys.modules)"
    )
    command = [sys.executable, "-c", script]
    ran = subprocess.run(command, cwd=runs, env=ENVIRONMENT, check=False, capture_output=True, text=True)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert len(list((runs / "twice" / "monitor_compare").glob("advisor_*.txt"))) == 2
    assert "step 59, grad_reduced: 6 of 6 series, 6 with NaN or Inf" in ran.stdout
