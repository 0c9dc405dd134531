"""A plain script, recorded unmodified in every mode and level by the real command line, then compared with itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]

SCRIPT = """
import hashlib, torch, torch.nn.functional as F
from torch import nn
torch.manual_seed(3)
model = nn.Sequential(
    nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Flatten(),
    nn.Linear(64, 16), nn.GELU(), nn.LayerNorm(16), nn.Dropout(0.1), nn.Linear(16, 5),
)
optimizer = torch.optim.AdamW(model.parameters())
for step in range(2):
    loss = F.cross_entropy(model(torch.randn(6, 1, 8, 8)), torch.randint(5, (6,)))
    optimizer.zero_grad()
    loss.backward()
    gradients = b"".join(p.grad.numpy().tobytes() for p in model.parameters())
    optimizer.step()
    weights = b"".join(p.detach().numpy().tobytes() for p in model.parameters())
    print(loss.item().hex(), hashlib.sha256(gradients).hexdigest(), hashlib.sha256(weights).hexdigest())
"""

ACC = "import sys; from acc_compare.cli import main; sys.exit(main())"
MODES = {
    "statistics": ("--task", "statistics"),
    "md5": ("--task", "statistics", "--summary-mode", "md5"),
    "tensor": ("--task", "tensor"),
}


def _run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The script's folder, and what it prints on its own: losses, gradients and weights to the bit."""
    folder = tmp_path_factory.mktemp("script")
    (folder / "train.py").write_text(SCRIPT, encoding="utf-8")
    ran = _run(folder, "train.py")
    assert ran.returncode == 0, ran.stderr
    return folder, ran.stdout


@pytest.mark.parametrize("level", ["L0", "L1", "mix"])
@pytest.mark.parametrize("mode", MODES)
def test_recording_changes_no_bit_and_a_dump_is_the_same_as_itself(
    plain: tuple[Path, str], mode: str, level: str
) -> None:
    folder, printed = plain
    dump = f"{mode}_{level}"
    recorded = _run(
        folder, "-c", ACC, "dump", *MODES[mode], "--level", level, "-s", "--step", "all", "-o", dump, "train.py"
    )
    assert recorded.returncode == 0, recorded.stderr
    assert recorded.stdout == printed
    compared = _run(folder, "-c", ACC, "compare", "-q", dump, dump, "-o", f"{dump}_result")
    assert compared.returncode == 0, compared.stdout + compared.stderr
    assert "none differs" in compared.stdout
