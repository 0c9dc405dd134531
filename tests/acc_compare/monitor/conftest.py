"""Monitored runs written by hand: two sides of gradients that differ by noise, and what is planted in one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

NAMES = tuple(f"layers.{number}.weight" for number in range(8))
Write = Callable[..., Path]


@pytest.fixture
def drawn() -> Callable[..., npt.NDArray[np.float64]]:
    return curves


@pytest.fixture
def names() -> tuple[str, ...]:
    return NAMES


def curves(*, noise: float, growth: float = 1.0, steps: int = 60, seed: int = 0) -> npt.NDArray[np.float64]:
    """(8, steps) norms that wander, off by `noise` times growth**step."""
    base = np.exp(np.random.default_rng(1).normal(0, 0.2, (len(NAMES), steps)))
    error = np.random.default_rng(seed).standard_normal(base.shape) * noise * growth ** np.arange(steps)
    exact: npt.NDArray[np.float64] = base * (1 + error)
    return exact


@pytest.fixture
def write_run(tmp_path: Path) -> Write:
    """Write (series, steps) norms as one rank's csv files; gives the run's root."""

    def write(
        side: str,
        norms: npt.NDArray[np.float64],
        *,
        kind: str = "grad_reduced",
        names: tuple[str, ...] = NAMES,
        rank: int = 0,
        per_file: int = 20,
        first: int = 0,
        stamp: str = "Nov22_13-26-22",
        dtype: str = "torch.float32",
    ) -> Path:
        folder = tmp_path / side / f"{stamp}-rank{rank}"
        folder.mkdir(parents=True, exist_ok=True)
        steps = norms.shape[1]
        for begin in range(0, steps, per_file):
            lines = ["vpp_stage,name,step,norm,nans,shape,dtype"]
            lines += [
                f'0,{name},{first + step},{norms[row, step]!r},{int(np.isnan(norms[row, step]))},"[16, 8]",{dtype}'
                for step in range(begin, min(begin + per_file, steps))
                for row, name in enumerate(names)
            ]
            text = "\n".join(lines).replace("np.float64(", "").replace(")", "") + "\n"
            (folder / f"{kind}_{first + begin}-{first + begin + per_file - 1}.csv").write_text(text)
        return tmp_path / side

    return write
