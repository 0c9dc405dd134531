"""One process: train a workload bare and monitored in turn, and print the seconds of each step as JSON: by the clock,
and of the processor.

    python timed.py {dump|msprobe.pytorch} WORKLOAD ROUNDS STEPS CONFIG

Rounds alternate, bare first, so that a machine that grows warm or busy does so for both.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from benchmarks.monitor.workloads import WORKLOADS


def main(module: str, workload: str, rounds: int, steps: int, config: str) -> None:
    trainer_mon = importlib.import_module(module).TrainerMon
    bare, watched = WORKLOADS[workload](), WORKLOADS[workload]()
    monitor = trainer_mon(config, params_have_main_grad=False)
    monitor.set_monitor(watched.model, grad_acc_steps=1, optimizer=watched.optimizer)
    seconds: dict[str, list[tuple[float, float]]] = {"bare": [], "monitored": []}
    for number in range(rounds + 1):
        for name, work in (("bare", bare), ("monitored", watched)):
            for _ in range(steps):
                began, used = time.perf_counter(), time.process_time()
                work.step()
                if number:  # the first round warms up
                    seconds[name].append((time.perf_counter() - began, time.process_time() - used))
    if hasattr(monitor, "close"):  # msprobe's goes on until the process ends
        monitor.close()
    print(json.dumps(seconds))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5])
