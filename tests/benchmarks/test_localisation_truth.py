from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Recorded in a process of its own, since the tracer stays in place.
RECORD = """
import sys
from pathlib import Path
from benchmarks.localisation.events import read_events
from benchmarks.localisation.recording import EVENTS, Recording, record
from benchmarks.localisation.rows import Kernel, Side
out = Path(sys.argv[1])
kernels = tuple(Kernel(f"aten::{operator}", "scale", 1.5, (0,)) for operator in sys.argv[2:])
print(record(Recording(out, "adversaries", Side(kernels=kernels), "statistics", "mix")), file=sys.stderr)
for event in read_events(out / EVENTS):
    print(event.sort, event.what, event.step, event.name, event.alias)
"""


@pytest.mark.slow
def test_a_fault_is_traced_to_the_call_and_to_a_module_that_is_that_call(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    operators = ("addmm", "elu", "mm", "native_batch_norm_backward")
    command = [sys.executable, "-c", RECORD, str(tmp_path / "run"), *operators]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [line.strip() for line in done.stdout.splitlines()] == [
        "fired aten::addmm 0 Functional.linear.0.forward Module.generator.first.Linear.forward.0",
        "fired aten::elu 0 Functional.elu.0.forward",  # the module that holds it holds others
        "fired aten::mm 0 Functional.linear.7.backward Module.judge.last.Linear.backward.1",
        "fired aten::native_batch_norm_backward 0 Functional.batch_norm.0.backward",
    ], done.stderr


# A model that checkpoints: its attention runs a second time while backward is on.
AGAIN = """
import sys
from pathlib import Path
from benchmarks.localisation.events import read_events
from benchmarks.localisation.recording import EVENTS, Recording, record
from benchmarks.localisation.rows import Kernel, Side
out = Path(sys.argv[1])
kernel = Kernel("aten::_scaled_dot_product_flash_attention_for_cpu", "scale", 1.5, tuple(range(40)))
side = Side(variables=(("DRAW", "29"), ("PRECISION", "bfloat16")), kernels=(kernel,))
print(record(Recording(out, "drawn", side, "statistics", "L1")), file=sys.stderr)
for event in read_events(out / EVENTS):
    print(event.step, event.name)
"""


@pytest.mark.slow
def test_what_checkpointing_runs_again_is_the_call_that_runs_and_of_the_step_that_runs(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", AGAIN, str(tmp_path / "run")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    fired = [line.split() for line in done.stdout.splitlines()]
    assert {name.rsplit(".", 2)[0] for _, name in fired} == {"Functional.scaled_dot_product_attention"}, fired
    assert {name.rpartition(".")[2] for _, name in fired} == {"forward"}, fired
    steps = [int(step) for step, _ in fired]
    assert steps == sorted(steps), fired
    assert set(steps) == {0, 1}, fired
