"""What the advisor says to try next works when it is copied, with the script's own arguments added."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
ACC = [sys.executable, "-c", "import sys; from acc_compare.cli import main; sys.exit(main())"]
PYTHON = [sys.executable]


def run(command: str, folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """A line of the advisor in a shell's place: `acc` and `python` are this environment's."""
    first, *rest = shlex.split(command)
    start = {"acc": ACC, "python": PYTHON}.get(first, [first])
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [*start, *rest, *more], cwd=folder, capture_output=True, text=True, check=False, env=environment
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A user's folder: the samples' script, and the samples where the dumps say they are."""
    shutil.copy(ROOT / "sample_dumps" / "train.py", tmp_path)
    (tmp_path / "sample_dumps").symlink_to(ROOT / "sample_dumps")
    return tmp_path


def commands(sample: str, bench: str, folder: Path) -> list[str]:
    """The lines of the first suspect's advice that are commands, as the advisor's text shows them."""
    ran = run(f"acc compare sample_dumps/{sample} sample_dumps/{bench} -o out_{sample}", folder)
    assert ran.returncode == 1, ran.stderr
    page = ran.stdout.partition("  Try next")[2].partition("\n\n")[0]
    lines = [line.strip().removeprefix("- ") for line in page.splitlines()]
    return [line for line in lines if line.split(" ")[0] in ("acc", "python", "grep")]


@pytest.mark.slow
def test_recording_whole_tensors_and_comparing_them(folder: Path) -> None:
    npu, bench, compare, replay = commands("gelu_in_bfloat16", "bench_statistics", folder)
    with ThreadPoolExecutor(2) as both:
        sides = both.map(run, (npu, bench), (folder, folder), ("--device", "--device"), ("npu", "cpu"))
    for ran in sides:
        assert ran.returncode == 0, ran.stderr
    ran = run(compare, folder)
    # The fault is not planted again, so nothing is suspect; the four tensors of the one call were recorded.
    assert ran.returncode == 0, ran.stderr
    (advisor,) = (folder / "compare_result" / "accuracy_compare").glob("advisor_*.json")
    document = json.loads(advisor.read_bytes())
    assert (document["mode"], document["compared"]["calls"]) == ("tensor", 2)
    assert run(replay, folder, "--device", "cpu").returncode == 0


@pytest.mark.slow
def test_a_planted_fault_is_told_of_and_planted_again(tmp_path: Path) -> None:
    """The commands are those of the first time: they run as they are, and find the same."""
    shutil.copy(ROOT / "sample_dumps" / "train.py", tmp_path)
    simulated = "--simulated-npu --simulated-fault gelu=scale:1.5"
    for options, device in ((f"{simulated} -o npu", "npu"), ("-o bench", "cpu")):
        ran = run(f"acc dump --task statistics -s --seed 3 {options} train.py --device {device}", tmp_path)
        assert ran.returncode == 0, ran.stderr
    first = run("acc compare npu bench -o first", tmp_path)
    assert "planted in the simulated NPU: gelu=scale:1.5" in first.stdout
    lines = [line.strip().removeprefix("- ") for line in first.stdout.splitlines()]
    recorded = [line for line in lines if line.startswith("acc dump ")][:2]
    compare = next(line for line in lines if line.startswith("acc compare "))
    for line in (*recorded, compare):
        ran = run(line, tmp_path)
    assert ran.returncode == 1, ran.stderr
    assert "gelu.0" in ran.stdout


@pytest.mark.slow
def test_looking_at_the_elements(folder: Path) -> None:
    command, replay, repro = commands("real_data", "bench_tensor", folder)
    ran = run(command, folder)
    assert (ran.returncode, ran.stderr) == (1, "")
    assert "the last of the 128 columns of the tensor is off" in ran.stdout
    ran = run(replay, folder, "-o", "replayed")
    assert ran.returncode == 1, ran.stderr
    (told,) = (folder / "replayed" / "replay").glob("*.json")
    ran = run(f"acc compare sample_dumps/real_data sample_dumps/bench_tensor --replay {told}", folder)
    assert "confirmed by acc replay: wrong against float64" in ran.stdout
    assert run(repro, folder).returncode == 0
    (script,) = folder.glob("repro_*/repro.py")
    ran = run(f"python {script} cpu", folder)
    assert (ran.returncode, ran.stderr) == (0, "")  # the fault is not planted here
    assert "WRONG" in ran.stdout


def test_finding_the_optimizer(folder: Path) -> None:
    (command,) = commands("other_learning_rate", "bench_statistics", folder)
    ran = run(command, folder)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "torch.optim.AdamW" in ran.stdout
