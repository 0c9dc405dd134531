"""Times workloads under several tools at once: a process each, one step of each in turn.

Whatever slows the machine down for a moment then meets all of them alike, and the ratio of each round holds where
the times do not.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
WORKER = Path(__file__).with_name("worker.py")


class BenchmarkError(Exception):
    """Something that has to run did not."""


@dataclass(frozen=True, slots=True)
class Tool:
    """`name` as worker.py knows it, and the interpreter that has it."""

    name: str
    python: Path


@dataclass(frozen=True, slots=True)
class Case:
    """One thing to time.  `task` is statistics, hash, md5 or tensor."""

    workload: str
    level: str
    task: str
    device: str = "cpu"

    @property
    def name(self) -> str:
        return f"{self.workload}-{self.task}-{self.level}"

    def config(self, dump_path: Path) -> dict[str, Any]:
        task = "tensor" if self.task == "tensor" else "statistics"
        section: dict[str, Any] = {"scope": [], "list": [], "data_mode": ["all"]}
        if task == "statistics":
            section["summary_mode"] = self.task
        top = {"dump_path": str(dump_path), "rank": [], "step": [], "level": self.level, "extra_info": True}
        return {"task": task, **top, "async_dump": False, task: section}


@dataclass(frozen=True, slots=True)
class Timing:
    """One tool in one case.  `seconds` and `rss` (bytes) are of each step in order; `peak` in bytes over them; `first`
    the seconds of the step before them, which warms up: imports, patches, the first files."""

    seconds: tuple[float, ...]
    rss: tuple[int, ...]
    peak: int
    nbytes: int
    files: int
    device: str
    threads: int
    first: float

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def over(self, bare: Timing) -> float:
        """The median over rounds of this tool's time over the bare one's."""
        return statistics.median(self._ratios(bare))

    def worst_over(self, bare: Timing) -> float:
        """The largest of these ratios."""
        return max(self._ratios(bare))

    def _ratios(self, bare: Timing) -> list[float]:
        return [ours / theirs for ours, theirs in zip(self.seconds, bare.seconds, strict=True)]


class Worker:
    """A process of worker.py.  Raises BenchmarkError where it dies."""

    def __init__(self, tool: Tool, case: Case, folder: Path) -> None:
        self.name = tool.name
        config = folder / f"{tool.name}.json"
        config.write_text(json.dumps(case.config(folder / tool.name)), encoding="utf-8")
        self._log = (folder / f"{tool.name}.log").open("w+", encoding="utf-8")
        self._process = subprocess.Popen(
            [str(tool.python), str(WORKER), tool.name, case.workload, case.device, str(config)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        self.start: dict[str, Any] = {}

    def ask(self, word: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()
        return self.answer()

    def answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            self._log.seek(0)
            raise BenchmarkError(f"{self.name} ended with {self._process.returncode}:\n{self._log.read()[-2000:]}")
        found: dict[str, Any] = json.loads(line)
        return found

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()
        self._log.close()


def measure(case: Case, tools: Sequence[Tool], repeat: int) -> Mapping[str, Timing]:
    """`repeat` steps of each tool in turn, after one that is not counted.  Raises BenchmarkError."""
    with tempfile.TemporaryDirectory(prefix="recording-") as name, ExitStack() as stack:
        workers = [stack.enter_context(_worker(tool, case, Path(name))) for tool in tools]
        rounds = [[worker.ask("step") for worker in workers] for _ in range(repeat)]
        peaks = [worker.ask("end")["peak"] for worker in workers]
        return {
            worker.name: Timing(
                seconds=tuple(each[index]["seconds"] for each in rounds),
                rss=tuple(int(each[index]["rss"]) for each in rounds),
                peak=peaks[index],
                nbytes=int(rounds[-1][index]["bytes"]),
                files=int(rounds[-1][index]["files"]),
                device=worker.start["device"],
                threads=worker.start["threads"],
                first=worker.start["first"],
            )
            for index, worker in enumerate(workers)
        }


@contextmanager
def _worker(tool: Tool, case: Case, folder: Path) -> Iterator[Worker]:
    worker = Worker(tool, case, folder)
    try:
        worker.start = worker.answer()
        yield worker
    finally:
        worker.close()
