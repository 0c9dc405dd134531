"""Nobody healthy is accused, and faults are seen: over torch's own list of operators."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from acc_compare.judge.noise import FALSE_ACCUSATIONS
from benchmarks.operators.expected import reason_for

ROOT = Path(__file__).parents[2]


def run(tmp_path: Path, *options: str) -> tuple[list[dict[str, Any]], str]:
    """In a process of its own: torch's list of operators changes settings of the process that imports it."""
    out = tmp_path / "figures.json"
    script = ROOT / "benchmarks" / "operators" / "run.py"
    ran = subprocess.run(
        [sys.executable, str(script), "--json", str(out), *options],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert ran.returncode in (0, 1), ran.stderr
    return json.loads(out.read_text(encoding="utf-8")), ran.stdout


def check(figures: list[dict[str, Any]], said: str) -> None:
    assert [line for found in figures for line in found["accused"]] == [], said
    assert [line for found in figures for line in found["missed"]] == [], said


@pytest.mark.slow
def test_a_sample_of_operators(tmp_path: Path) -> None:
    figures, said = run(tmp_path, "--sampled")
    check(figures, said)
    assert sum(found["cases"] for found in figures) > 200
    assert sum(found["seen"] for found in figures) > 15


@pytest.mark.slow
def test_every_operator(tmp_path: Path) -> None:
    figures, said = run(tmp_path)
    print(said)
    assert {found["dtype"] for found in figures} == {"float32", "bfloat16", "float16", "int64", "bool"}
    calls, faults = (sum(found[key] for found in figures) for key in ("cases", "faults"))
    assert calls > 20_000
    assert max(found["operators"] for found in figures) > 1_000
    assert faults > 2_000
    # The stated rate of false accusations, and one fault in a hundred.
    accused, known, missed = (
        [line for found in figures for line in found[key]] for key in ("accused", "known", "missed")
    )
    assert len(accused) <= FALSE_ACCUSATIONS * calls, said
    assert len(known) <= 120, "\n".join(known)
    assert len(missed) <= faults / 100, said


def test_what_is_known_to_go_wrong_is_told_by_operator_and_direction() -> None:
    assert reason_for("Functional.hinge_embedding_loss", backward=False)
    assert reason_for("Torch.corrcoef", backward=True)
    assert reason_for("Torch.corrcoef", backward=False) is None
    assert reason_for("Torch.add", backward=True) is None
