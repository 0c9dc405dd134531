"""How many kernels does recording launch on a device, beside what the step launches itself?

    python benchmarks/recording/launches.py                    on the simulated NPU, which counts them
    python benchmarks/recording/launches.py --device cuda      on a GPU, as torch's profiler counts them
    python benchmarks/recording/launches.py --peer PYTHON      msprobe beside it, from a python that has it

On a device a step is as long as its launches, each of some microseconds on the host.  One step of the small decoder and
of a ResNet-18, level L1, task statistics: launches of the recorded step less those of the bare one, and how many that
is for a recorded call.  Counts do not depend on the machine.  Writes RESULTS-launches.md (on a GPU
RESULTS-launches-cuda.md); exits with 2 where something could not be run.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path[0] = str(ROOT)

import torch  # noqa: E402

from benchmarks.pages import table  # noqa: E402
from benchmarks.recording.worker import MODULES  # noqa: E402

WORKLOADS = ("llama", "resnet18")
HEADS = ("workload", "tool", "calls", "launches of the step", "launches of recording", "a call")
_LAUNCHING = ("LaunchKernel", "cudaMemcpyAsync", "cudaMemsetAsync")


def count(tool: str, name: str, device: str) -> dict[str, int]:
    """Launches of a bare step and of a recorded one, the second that either is, and the calls in its record."""
    step, model = _workload(name, device)
    step()
    bare = _launches(step, device)
    with tempfile.TemporaryDirectory() as folder:
        path, target = Path(folder) / "config.json", Path(folder) / "out"
        config = {"task": "statistics", "level": "L1", "dump_path": str(target), "rank": [], "step": []}
        config["statistics"] = {"scope": [], "list": [], "data_mode": ["all"], "summary_mode": "statistics"}
        path.write_text(json.dumps(config), encoding="utf-8")
        debugger: Any = importlib.import_module(MODULES[tool]).PrecisionDebugger(config_path=str(path))

        def record() -> None:
            debugger.start(model)
            step()
            debugger.stop()
            debugger.step()

        record()
        recorded = _launches(record, device)
        written = json.loads(next(target.glob("step1/*/dump.json")).read_text(encoding="utf-8"))
        return {"bare": bare, "recorded": recorded, "calls": len(written["data"])}


def _workload(name: str, device: str) -> tuple[Any, Any]:
    from benchmarks.recording.workloads import WORKLOADS as MODELS

    if device == "npu":
        import dump.sim

        dump.sim.enable()
    if name == "llama":
        made = MODELS["llama"](device)
        return made.step, made.model
    from dump.workload import ResNet

    torch.manual_seed(0)
    model = ResNet("resnet18", 1000).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    images, target = torch.rand(2, 3, 64, 64).to(device), torch.randint(1000, (2,)).to(device)

    def step() -> None:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(images), target).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step, model


def _launches(act: Any, device: str) -> int:
    if device == "npu":
        import dump.sim

        before = sum(dump.sim.op_counts().values())
        act()
        return sum(dump.sim.op_counts().values()) - before
    kinds = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=kinds) as profile:
        act()
        torch.cuda.synchronize()
    return sum(event.count for event in profile.key_averages() if any(word in event.key for word in _LAUNCHING))


def rows(pythons: dict[str, str], device: str) -> list[list[str]]:
    """A row for each workload and tool, each in a process of its own.  Raises OSError, CalledProcessError."""
    found = []
    for name in WORKLOADS:
        for tool, python in pythons.items():
            command = [python, __file__, "--device", device, "--count", tool, name]
            environment = {**os.environ, "PYTHONPATH": str(ROOT)}
            made = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
            seen = json.loads(made.stdout.splitlines()[-1])
            extra = seen["recorded"] - seen["bare"]
            figures = (seen["calls"], seen["bare"], extra)
            found.append([name, tool, *(f"{figure:,}" for figure in figures), f"{extra / seen['calls']:.2f}"])
    return found


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("npu", "cuda"), default="npu")
    parser.add_argument("--peer", metavar="PYTHON", help="a python that has msprobe")
    parser.add_argument("--count", nargs=2, metavar=("TOOL", "WORKLOAD"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.count:
        print(json.dumps(count(*options.count, options.device)))
        return 0
    pythons = {"ours": sys.executable, **({"msprobe": options.peer} if options.peer else {})}
    try:
        lines = rows(pythons, options.device)
    except subprocess.CalledProcessError as error:
        print(f"launches: error: {error.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
        return 2
    where = "the simulated NPU" if options.device == "npu" else torch.cuda.get_device_name()
    parts = [
        "# What recording launches on a device",
        "Written by `python benchmarks/recording/launches.py`, whose head says what is counted; do not edit.",
        f"On {where}, torch {torch.__version__}. A step, level L1, task statistics.",
        table(HEADS, lines),
    ]
    page = "\n\n".join(parts) + "\n"
    suffix = "" if options.device == "npu" else f"-{options.device}"
    Path(__file__).with_name(f"RESULTS-launches{suffix}.md").write_text(page, encoding="utf-8")
    print(page)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
