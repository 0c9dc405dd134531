"""`dump_enable` under `acc dump`: a running, unmodified script is switched on and off by whoever writes config.json."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# The script itself plays the person who writes the file while a step runs.
SCRIPT = """
import json, torch
torch.manual_seed(0)
model = torch.nn.Linear(3, 2)
optimizer = torch.optim.SGD(model.parameters(), 0.1)
texts = {1: {"dump_enable": True}, 2: {"dump_enable": True, "level": "L0"}, 3: {"dump_enable": False}}
texts[5] = {"dump_enable": 1}
for step in range(7):
    loss = model(torch.ones(4, 3)).square().sum()
    loss.backward()
    if step in texts:
        json.dump(texts[step], open("config.json", "w"))
    optimizer.step()
print(loss.item().hex())
"""


def _run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
def test_a_running_script_is_recorded_while_the_file_says_so(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(SCRIPT)
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"dump_enable": False}))
    plain = _run(tmp_path, "train.py")
    config.write_text(json.dumps({"dump_enable": False}))
    ran = _run(tmp_path, "-m", "dump", "-c", "config.json", "-o", "out", "--level", "mix", "train.py")
    assert (ran.returncode, ran.stdout) == (0, plain.stdout), ran.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["step2", "step3"]
    assert "step 2: config.json was changed; recording is on" in ran.stderr
    assert "step 4: config.json was changed; recording is off" in ran.stderr
    assert "'dump_enable': expected true or false, found a number (1). Recording is off" in ran.stderr
    (dump,) = (tmp_path / "out" / "step3").glob("*/dump.json")
    assert json.loads(dump.read_text())["level"] == "mix"  # the flag wins


def test_a_script_that_was_never_switched_on_says_why_there_is_no_dump(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("import torch\ntorch.ones(1)\n")
    (tmp_path / "config.json").write_text(json.dumps({"dump_enable": False}))
    ran = _run(tmp_path, "-m", "dump", "-c", "config.json", "-o", "out", "train.py")
    assert ran.returncode == 0
    assert "nothing was recorded: dump_enable is false in config.json" in ran.stderr
