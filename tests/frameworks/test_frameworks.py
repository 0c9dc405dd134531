"""Frameworks as they are installed, called by scripts that know msprobe's names: recorded, and the same bits.

`make test-frameworks` installs them; here alone each test is skipped that lacks its framework.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from dump.format.layout import find_dumps
from dump.format.reader import read_dump

ROOT = Path(__file__).parents[2]
SCRIPTS = Path(__file__).with_name("scripts")
LINEAR = "Functional.linear."


@dataclass(frozen=True, slots=True)
class Case:
    """A script, what it needs, its variables, the steps that it records, and what each step's calls begin with."""

    script: str
    needs: tuple[str, ...]
    steps: int
    calls: tuple[str, ...]
    variables: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        return "-".join([self.script, *(value for _, value in self.variables)])


MEGATRON = ("Module.module.decoder.layers.0", "Distributed.", "Optimizer.AdamW")
CASES = (
    Case("transformers_trainer", ("transformers", "accelerate"), 2, (LINEAR, "Module.model.layers.0", "Optimizer.")),
    Case("accelerate_loop", ("transformers", "accelerate"), 4, (LINEAR, "Module.transformer.h.0")),
    Case("lightning_fit", ("lightning",), 2, (LINEAR, "Module.body.0", "Optimizer.SGD")),
    Case("torchtitan_step", ("torchtitan", "triton"), 2, (LINEAR, "Module.layers.0", "Optimizer.OptimizersContainer")),
    Case("megatron_step", ("megatron.core",), 2, MEGATRON),
    Case("megatron_step", ("megatron.core",), 2, MEGATRON, (("MEGATRON", "distributed"),)),
    Case("megatron_step", ("megatron.core",), 2, MEGATRON, (("MEGATRON", "bf16"),)),
    Case("megatron_step", ("megatron.core",), 2, MEGATRON, (("MEGATRON", "bf16 distributed"),)),
    *(Case("deepspeed_zero", ("deepspeed",), 2, ("Module.0.Linear",), (("STAGE", str(stage)),)) for stage in range(4)),
)
WATCHED = [case for case in CASES if case.script in ("megatron_step", "deepspeed_zero")]


def _is_here(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def _need(case: Case) -> None:
    missing = [name for name in case.needs if not _is_here(name)]
    if missing:
        pytest.skip(f"{missing[0]} is not installed: make test-frameworks")


def _run(case: Case, folder: Path, *command: str, bare: bool = False, level: str = "mix") -> str:
    """Run the script in `folder`; the digest that it prints."""
    folder.mkdir()
    settings = {"task": "statistics", "dump_path": "dump", "level": level, "step": [], "rank": [], "seed": 1}
    (folder / "config.json").write_text(json.dumps(settings))
    env = {name: value for name, value in os.environ.items() if not name.startswith("ACC_")}
    env.update(case.variables, PYTHONPATH=str(ROOT), OMP_NUM_THREADS="1")
    arguments = [*command, str(SCRIPTS / f"{case.script}.py"), "config.json", *(["bare"] if bare else [])]
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=env, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.split()[-1]


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_framework_records_and_computes_the_same_bits(case: Case, tmp_path: Path) -> None:
    _need(case)
    bare = _run(case, tmp_path / "bare", bare=True)
    assert _run(case, tmp_path / "recorded", "-m", "dump", "--as-msprobe") == bare
    found = find_dumps(tmp_path / "recorded" / "dump")
    assert [location.step for location in found] == list(range(case.steps))
    for location in found:
        dump = read_dump(location.path)
        assert dump.incomplete is None
        assert dict(dump.header.environment or {})["called_as"].startswith("msprobe ")
        names = [call.name for call in dump.calls]
        for beginning in case.calls:
            assert any(name.startswith(beginning) for name in names), beginning


@pytest.mark.slow
@pytest.mark.parametrize("case", WATCHED, ids=str)
def test_their_optimizers_are_watched(case: Case, tmp_path: Path) -> None:
    _need(case)
    bare = _run(case, tmp_path / "bare", bare=True)
    config = {"targets": {}, "wg_distribution": True, "mv_distribution": True, "ops": ["norm", "nans"]}
    folder = tmp_path / "watched"
    watched = _run(case, folder, "-c", _WITH_MONITOR.format(config=config), level="L0")
    assert watched == bare
    (run,) = (folder / "monitor_output").iterdir()
    written = {path.name for path in run.glob("*.csv")}
    assert {f"grad_reduced_{step}-{step}.csv" for step in range(2)} <= written
    assert {"exp_avg_1-1.csv", "exp_avg_sq_1-1.csv"} <= written
    for kind in ("grad_reduced", "exp_avg"):
        rows = (run / f"{kind}_1-1.csv").read_text().splitlines()[1:]
        assert rows
        assert all(float(row.split(",")[3]) > 0 for row in rows if "norm" not in row)


_WITH_MONITOR = """
import json, os, runpy, sys
open("monitor_config.json", "w").write(json.dumps({config}))
from dump.as_msprobe import answer
answer(at_once=True)
sys.argv = sys.argv[1:]
sys.path.insert(0, os.path.dirname(sys.argv[0]))
runpy.run_path(sys.argv[0], run_name="__main__")
"""
