"""What healthy pairs of runs show, and which planted learning rates are found: the grounds of the noise model.

    python benchmarks/monitor_compare/healthy.py [--steps 160] [--work FOLDER] [--output HEALTHY.md]

Trains an MLP, a transformer (gelu, layer norm) and a CNN (relu, batch norm) with AdamW and SGD; each again with another
number of threads, without mkldnn and in float64, and with one parameter's learning rate changed by a tenth and by a
hundredth.  FOLDER keeps the runs, and what is there is not trained again.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path[0] = str(ROOT)

from acc_compare.monitor.comparison import compare_monitored  # noqa: E402
from acc_compare.monitor.distances import measure  # noqa: E402
from acc_compare.monitor.noise import GRADIENTS, GradientsSeen, expect, gradients_seen  # noqa: E402
from acc_compare.monitor.runs import open_run  # noqa: E402
from acc_compare.monitor.tables import pair_tables, read_table  # noqa: E402

MODELS, OPTIMIZERS = ("mlp", "transformer", "cnn"), ("adamw", "sgd")
HEALTHY = {"threads": "2 threads", "kernels": "without mkldnn", "float64": "float64"}
PLANTED = {"tenth": 1.1, "hundredth": 1.01}
TABLES = ("grad_unreduced", "grad_reduced", "param_origin", "param_updated")


def train(model: str, optimizer: str, variant: str, steps: int, folder: Path) -> None:
    if folder.is_dir():
        return
    script = Path(__file__).with_name("train_pair.py")
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "OMP_WAIT_POLICY": "passive",
        "MONITOR_OUTPUT_DIR": str(folder),
    }
    subprocess.run([sys.executable, script, model, optimizer, variant, str(steps)], check=True, env=environment)


def used(npu: Path, bench: Path) -> dict[str, float]:
    """The largest part of the limit that a table uses anywhere: above 1, and the pair is called different."""
    ours, theirs = open_run(npu).ranks[0], open_run(bench).ranks[0]
    gradients = GradientsSeen()
    found = {}
    for kind in TABLES:
        pair = pair_tables(read_table(ours, kind), read_table(theirs, kind))
        distances = measure(pair)
        expected = expect(pair, distances, gradients=gradients)
        if kind in GRADIENTS:
            gradients = gradients_seen(pair, expected, gradients)
        found[kind] = float(np.nanmax(expected.excess))
    return found


def rows(steps: int, work: Path) -> tuple[list[list[str]], list[list[str]]]:
    healthy, planted = [], []
    for model in MODELS:
        for optimizer in OPTIMIZERS:
            bench = work / f"{model}-{optimizer}-plain"
            train(model, optimizer, "plain", steps, bench)
            for variant in (*HEALTHY, *PLANTED):
                npu = work / f"{model}-{optimizer}-{variant}"
                train(model, optimizer, variant, steps, npu)
                found = compare_monitored(npu, bench)
                if variant in HEALTHY:
                    parts = used(npu, bench)
                    parted = "" if found.parted is None else str(found.parted)
                    told = [found.verdict, *(f"{parts[kind]:.2f}" for kind in TABLES), f"{found.loudest:.0e}", parted]
                    healthy.append([model, optimizer, HEALTHY[variant], *told])
                else:
                    alone = compare_monitored(npu, bench, kinds=["grad_reduced"])
                    first = [
                        f"{o.kind}, step {o.step}, {o.name}" if o else "not found"
                        for o in (next(iter(side.origins), None) for side in (found, alone))
                    ]
                    planted.append([model, optimizer, f"times {PLANTED[variant]:g}", *first])
    return healthy, planted


def table(heads: list[str], lines: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in (heads, ["---"] * len(heads), *lines))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--steps", type=int, default=160)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("HEALTHY.md"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        healthy, planted = rows(options.steps, options.work or Path(name))
    wrong = sum(line[3] != "same" for line in healthy)
    heads = ["model", "optimizer", "other side", "verdict", *TABLES, "nine of ten within", "parted from step"]
    page = (
        f"# Healthy pairs, and planted learning rates\n\nWritten by `python benchmarks/monitor_compare/healthy.py`; do"
        f" not edit. {options.steps} steps, {platform.machine()}.\n\n## Healthy pairs: {len(healthy) - wrong} of"
        f" {len(healthy)} called alike\n\nThe numbers of the four tables are the largest part of the limit that was"
        f" used; above 1 a pair is called different.\n\n{table(heads, healthy)}\n\n## One parameter's learning rate\n\n"
        f"The first suspect, with parameters watched and with reduced gradients alone.\n\n"
        f"{table(['model', 'optimizer', 'rate', 'gradients and parameters', 'gradients alone'], planted)}\n"
    )
    options.output.write_text(page, encoding="utf-8")
    print(page)
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
