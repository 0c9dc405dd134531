"""One run of one script under `acc dump`, in processes of its own, forked from one that has imported torch."""

from __future__ import annotations

import multiprocessing
import os
import socket
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path

from benchmarks.localisation.rows import Level, Side, Task

MODELS = Path(__file__).with_name("models")
STEPS = 2
TIME_LIMIT = 120.0
DUMP, EVENTS, LOG, DONE, COUNTS = "dump", "truth.jsonl", "log.txt", "done", "kernels.json"


@dataclass(frozen=True, slots=True)
class Recording:
    """A run to record into `folder`: the dump, the log, and what was planted when it ran."""

    folder: Path
    model: str
    side: Side
    task: Task
    level: Level

    @property
    def script(self) -> Path:
        return MODELS / f"{self.model}.py"

    def flags(self) -> list[str]:
        """The arguments of `acc dump`, the script last."""
        task = ["--summary-mode", "md5"] if self.task == "md5" else ["--task", self.task]
        flags = [*task, "--level", self.level, "--step", f"0-{STEPS - 1}", "-o", str(self.folder / DUMP)]
        if self.side.simulated is not None:
            flags.append("--simulated-npu")
            for fault in self.side.simulated:
                flags += ["--simulated-fault", fault]
        return [*flags, *self.side.flags, str(self.script)]


def record(recording: Recording) -> str:
    """Record; what went wrong, or nothing.  Called in a process that may fork: it starts one for each rank."""
    recording.folder.mkdir(parents=True, exist_ok=True)
    context = multiprocessing.get_context("fork")
    port = _free_port()
    ranks = [context.Process(target=_run, args=(recording, rank, port)) for rank in range(recording.side.ranks)]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(TIME_LIMIT)
        if process.is_alive():
            process.kill()
            process.join()
    codes = [process.exitcode for process in ranks]
    if any(codes):
        tail = (recording.folder / LOG).read_text(encoding="utf-8", errors="replace")[-600:]
        return f"acc dump {' '.join(recording.flags())} ended with {codes}: {tail}"
    (recording.folder / DONE).touch()
    return ""


def _run(recording: Recording, rank: int, port: int) -> None:
    """In the child: plant, record, and end the process with the exit code of `acc dump`."""
    log = os.open(recording.folder / LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    code = 1
    try:
        code = _record_here(recording, rank, port)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _record_here(recording: Recording, rank: int, port: int) -> int:
    import torch

    from benchmarks.localisation import plant
    from benchmarks.localisation.kernels import Counted
    from benchmarks.localisation.truth import Tracer, trace_simulated
    from dump import cli

    side = recording.side
    os.environ.update(STEPS=str(STEPS), **dict(side.variables))
    if side.simulated is not None:
        os.environ["DEVICE"] = "npu"
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    if side.ranks > 1:
        os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(side.ranks))
    torch.set_num_threads(side.threads)
    torch.backends.mkldnn.enabled = side.mkldnn
    tracer = Tracer(recording.folder / EVENTS, rank=rank, script=recording.script)
    tracer.install()
    counted = Counted(recording.folder / COUNTS) if recording.model == "drawn" else None
    plant.install(side.kernels, tracer, rank=rank, counted=counted)
    if side.simulated:
        trace_simulated(tracer)
    code = cli.main(recording.flags())
    if counted is not None:
        counted.write()
    return code


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
