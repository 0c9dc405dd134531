"""Cases drawn from a seed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.localisation import draws
from benchmarks.localisation.drawing import REGIMES, drawn, seeds_of
from benchmarks.localisation.kernels import OPERATORS, UPDATES, rounds, truncates
from benchmarks.localisation.launches import view


def test_a_seed_decides_everything() -> None:
    counts = {"aten::gelu": 4, "aten::_fused_adamw_": 2, "aten::mm": 9}
    assert [drawn(seed) for seed in range(20)] == [drawn(seed) for seed in range(20)]
    assert {drawn(seed).regime for seed in range(200)} == set(REGIMES)
    faults = [case for seed in range(50) if (case := drawn(seed).faulty(counts)) is not None]
    assert {case.npu.kernels[-1].operator for case in faults} == set(counts)
    for case in faults:
        kernel = case.npu.kernels[-1]
        assert kernel.calls is None or kernel.calls[0] < counts[kernel.operator]
    assert drawn(0).faulty({}) is None


def test_every_operator_has_a_kernel() -> None:
    for operator in (*OPERATORS, *UPDATES):
        name, _, overload = operator.removeprefix("aten::").partition(".")
        assert getattr(getattr(torch.ops.aten, name), overload or "default")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_rounding_is_of_the_size_of_the_type_and_truncation_shrinks(dtype: torch.dtype) -> None:
    unit = torch.finfo(dtype).eps / 2
    plain = torch.rand(4096, generator=torch.Generator().manual_seed(0)).add(0.5).to(dtype)
    once, cut = plain.clone(), plain.clone()
    rounds(once, 1.0, 3)
    truncates(cut, 1.0, 3)
    off = (view(once).astype("f8") - view(plain).astype("f8")) / view(plain).astype("f8")
    assert 0.3 * unit < float(np.sqrt(np.mean(off**2))) < 3 * unit
    assert float(view(cut).astype("f8").mean()) < float(view(plain).astype("f8").mean())


def test_seeds() -> None:
    assert seeds_of("3,10-12") == [3, 10, 11, 12]
    fresh = seeds_of("new:5")
    assert len(fresh) == 5
    assert min(fresh) >= 1000
    with pytest.raises(ValueError, match="invalid"):
        seeds_of("a")


@pytest.mark.slow
def test_a_healthy_pair_and_a_fault_are_recorded_and_scored(tmp_path: Path) -> None:
    """The real thing, in processes of its own."""
    command = [sys.executable, draws.__file__, "--seeds", "26", "--out", str(tmp_path), "--workers", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "fault over noise" in done.stdout
    counted = [json.loads(path.read_bytes()) for path in tmp_path.glob("dumps/*/*/kernels.json")]
    assert any(sum(counts.values()) > 100 for counts in counted)
    assert len(list(tmp_path.glob("compared/*/*/accuracy_compare/advisor_*.json"))) == 2
