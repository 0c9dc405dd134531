"""Modules that are loaded again while they are recorded: what was taken from them before goes on working."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = """
import importlib, sys
import torch, torch.nn.functional as F, own
from torch import nn
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(4, 4), nn.GELU(), nn.Linear(4, 2))
optimizer = torch.optim.SGD(model.parameters(), 0.1)
for name in ("", "own", "torch.functional", "torch.nn.functional", "torch.nn.init", "torch.utils.checkpoint",
             "torch.nn.modules.activation", "torch.optim.sgd", "torch.autograd.grad_mode"):
    try:
        name and importlib.reload(sys.modules[name])
    except RuntimeError as error:  # torch gives some of its functions their docstring once
        print(name, error)
    x = torch.einsum("ij,jk->ik", torch.ones(3, 4), nn.init.eye_(torch.empty(4, 4)))
    x = own.act(torch.utils.checkpoint.checkpoint(model[:2], F.relu(x), use_reentrant=False))
    loss = model[2](x).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    print(name, repr(loss.item()), torch.functional.norm is torch.norm, own.R is torch.relu)
"""
OWN = (
    "import torch\nfrom torch.nn.functional import hardswish\nR = torch.relu\ndef act(x, f=hardswish): return f(R(x))\n"
)


@pytest.mark.slow
@pytest.mark.parametrize("options", [("--level", "mix"), ("--task", "tensor", "--audit", "--remeasure")])
def test_a_run_that_loads_modules_again_is_the_same_run(tmp_path: Path, options: tuple[str, ...]) -> None:
    (tmp_path / "train.py").write_text(SCRIPT)
    (tmp_path / "own.py").write_text(OWN)
    alone, recorded = (
        subprocess.run(
            [sys.executable, *command, "train.py"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        for command in ((), ("-m", "dump", "--step", "all", "-o", "out", *options))
    )
    assert (alone.returncode, recorded.returncode) == (0, 0), recorded.stderr
    assert recorded.stdout == alone.stdout
