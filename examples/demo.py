"""The main job, end to end, on any machine: a run with a fault against a run without, and the advisor's answer.

Records the built-in workload twice: on a simulated NPU (CPU kernels underneath) whose batch normalisation computes in
bfloat16 in one call, and on the CPU as the bench.  Then compares the two.  Nothing is opened; the advisor is printed.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

FAULT = "aten::native_batch_norm=bf16@7"
WORKLOAD = ("-a", "resnet18", "-b", "4", "--image-size", "64", "--gpu", "1", "--dummy")


def main() -> int:
    """Exit status 0 when the comparison ran and accused something, as it must."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--out", type=Path, default=Path("demo_output"), help="where to (./demo_output)")
    out: Path = parser.parse_args().out
    if out.exists():
        shutil.rmtree(out)
    recording = ("dump", "--task", "statistics", "-s", "--level", "mix", "-o")
    npu, bench = str(out / "npu_dump"), str(out / "bench_dump")
    simulated = ("--simulated-npu", "--simulated-fault", FAULT)
    for arguments in ((*recording, npu, *simulated, *WORKLOAD), (*recording, bench, *WORKLOAD, "--device", "cpu")):
        if _acc(*arguments) != 0:
            return 1
    print(f"\nThe fault that was planted on the simulated NPU: {FAULT}\n", flush=True)
    status = _acc("compare", npu, bench, "-o", str(out))
    return 0 if status == 1 else 1


def _acc(*arguments: str) -> int:
    print("$ acc " + " ".join(arguments), flush=True)
    script = "import sys; from acc_compare.cli import main; sys.exit(main())"
    return subprocess.run([sys.executable, "-c", script, *arguments], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
