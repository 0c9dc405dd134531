"""One process that runs a workload a step at a time, when it is told to: with no tool, with ours or with msprobe.

    python worker.py TOOL WORKLOAD DEVICE CONFIG

TOOL is `bare`, `ours`, `msprobe` or `idle` (ours, patched and not recording).  Reads words from stdin: `step` runs
one, `end` ends.  Answers each with one line of JSON.  Runs in either tool's interpreter: beside torch it needs
`dump.workload` alone, and the tool.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.recording.workloads import WORKLOADS, Workload, chain

MODULES = {"ours": "dump", "idle": "dump", "msprobe": "msprobe.pytorch"}


class Timed:
    """A workload under one tool.  `run` times a step: from before the tool's start to its record on disk."""

    def __init__(self, tool: str, workload: Workload, device: str, config: Path) -> None:
        self._tool, self._workload, self._device = tool, workload, device
        self._dump = Path(json.loads(config.read_text(encoding="utf-8"))["dump_path"])
        self._debugger: Any = None
        if tool in MODULES:
            self._debugger = importlib.import_module(MODULES[tool]).PrecisionDebugger(config_path=str(config))
        if tool == "idle":  # patches come with the first start; from then on nothing is recorded
            self._debugger.start(workload.model)
            self._debugger.stop()

    def run(self) -> dict[str, float]:
        records = self._tool in ("ours", "msprobe")
        self._wait()
        begun = time.perf_counter()
        if records:
            self._debugger.start(self._workload.model)
        loss = self._workload.step()
        if records:
            self._debugger.stop()
            self._debugger.step()
        self._wait()
        seconds = time.perf_counter() - begun
        nbytes, files = self._clear()
        return {"seconds": seconds, "bytes": nbytes, "files": files, "rss": _resident(), "loss": float(loss)}

    def peak(self) -> int:
        """Peak memory in bytes: of the device where there is one, else of the process."""
        if self._device.startswith("cuda"):
            return int(torch.cuda.max_memory_allocated())
        return _status("VmHWM")

    def _wait(self) -> None:
        if self._device.startswith("cuda"):
            torch.cuda.synchronize()

    def _clear(self) -> tuple[int, int]:
        """(bytes, files) of the step that was recorded, which is removed."""
        found = [path for path in self._dump.glob("step*/**/*") if path.is_file()] if self._dump.is_dir() else []
        nbytes = sum({(s.st_dev, s.st_ino): s.st_size for s in map(os.stat, found)}.values())
        for folder in self._dump.glob("step*"):
            shutil.rmtree(folder)
        return nbytes, len(found)


def _status(key: str) -> int:
    """A size of this process in bytes, from Linux; 0 elsewhere."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(key)), 0)


def _resident() -> int:
    return _status("VmRSS")


def _reset_peak(device: str) -> None:
    """Forget what imports and the first step took."""
    gc.collect()
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return


def main(tool: str, name: str, device: str, config: str) -> None:
    answers = os.fdopen(os.dup(1), "w")  # a tool's own prints go elsewhere
    os.dup2(2, 1)
    head, _, number = name.partition(":")
    workload = chain(device, int(number)) if head == "chain" else WORKLOADS[head](device)
    timed = Timed(tool, workload, device, Path(config))
    first = timed.run()["seconds"]
    _reset_peak(device)
    start = {"device": _device_name(device), "threads": torch.get_num_threads(), "first": first}
    print(json.dumps(start), file=answers, flush=True)
    for line in sys.stdin:
        if line.strip() == "end":
            break
        print(json.dumps(timed.run()), file=answers, flush=True)
    print(json.dumps({"peak": timed.peak()}), file=answers, flush=True)


def _device_name(device: str) -> str:
    return torch.cuda.get_device_name() if device.startswith("cuda") else "cpu"


if __name__ == "__main__":
    main(*sys.argv[1:])
