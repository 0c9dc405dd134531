"""Runs in an interpreter that has msprobe: records scripts with it and compares, each job in a forked process.

    PEER_PYTHON peer_worker.py JOBS.json WORKERS

JOBS.json is a list of objects.  To record: `record` (the new dump folder), `script`, `task`, `side` (as in `rows`).
To compare: `compare` (the new folder of results), `npu` and `bench` (the folders of a step), `how` (`advisor`, 8.3.3,
or `first difference`, 26.2.0).  Every job leaves `done` in its folder if it ended well, and `log.txt`.

The scripts stay as they are: msprobe's debugger is started and stopped by torch's own global hooks.
"""

from __future__ import annotations

import gc
import json
import os
import socket
import sys
import traceback
import types
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path[0] = str(ROOT)

import torch  # noqa: E402
from torch.optim.optimizer import register_optimizer_step_post_hook  # noqa: E402

from benchmarks.localisation import plant, pool  # noqa: E402
from benchmarks.localisation.rows import Kernel, Side  # noqa: E402

TIME_LIMIT = 240.0
STEPS = 2


class Silent:
    """A tracer that notes nothing: what fired is known from our own recording of the same run."""

    def fired(self, what: str, effect: float | None = None, *, overwrote: bool = False) -> None: ...

    def await_reader(self, what: str, tensor: torch.Tensor, content: bytes | None) -> None: ...

    def is_inside(self) -> bool:
        return True


def run_job(job: dict[str, Any]) -> None:
    """In the child: one job, the output into its log."""
    folder = Path(job.get("record") or job["compare"])
    folder.mkdir(parents=True)
    log = os.open(folder / "log.txt", os.O_WRONLY | os.O_CREAT, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    status = 1
    try:
        if "record" in job:
            record(job, folder)
        else:
            compare(job, folder)
        status = 0
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else 0
    except BaseException:
        traceback.print_exc()
    finally:
        if status == 0:
            (folder / "done").touch()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def side_of(parts: dict[str, Any]) -> Side:
    kernels = tuple(
        Kernel(**{**kernel, "calls": kernel["calls"] and tuple(kernel["calls"])}) for kernel in parts["kernels"]
    )
    variables = tuple((name, value) for name, value in parts["variables"])
    return Side(variables, kernels, threads=parts["threads"], mkldnn=parts["mkldnn"], ranks=parts["ranks"])


def record(job: dict[str, Any], folder: Path) -> None:
    """Run the script, on each rank in a process of its own."""
    side = side_of(job["side"])
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(free_port()))
    if side.ranks == 1:
        record_rank(job, folder, side, 0)
        for place in (folder / "dump").glob("step*/*"):  # 26.2.0 analyses what it knows the rank of, and nothing else
            place.rename(place.with_name("rank0"))
        return
    os.environ.update(WORLD_SIZE=str(side.ranks))
    children = []
    for rank in range(side.ranks):
        child = os.fork()
        if child == 0:
            os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank))
            record_rank(job, folder, side, rank)
            sys.stdout.flush()
            os._exit(0)
        children.append(child)
    failed = [os.waitpid(child, 0)[1] for child in children]
    if any(failed):
        raise SystemExit(1)


def record_rank(job: dict[str, Any], folder: Path, side: Side, rank: int) -> None:
    """Record with wrong kernels in place, under msprobe's PrecisionDebugger."""
    from msprobe.pytorch import PrecisionDebugger

    section = {"scope": [], "list": [], "data_mode": ["all"]}
    task = job["task"]
    if task != "tensor":
        section["summary_mode"] = "md5" if task == "md5" else "statistics"
    name = "tensor" if task == "tensor" else "statistics"
    config = {"task": name, "dump_path": str(folder / "dump"), "rank": [], "step": list(range(STEPS)), "level": "L1"}
    path = folder / f"config{rank}.json"
    path.write_text(json.dumps({**config, name: section}), encoding="utf-8")
    os.environ.update(STEPS=str(STEPS), **dict(side.variables))
    torch.set_num_threads(side.threads)
    torch.backends.mkldnn.enabled = side.mkldnn
    plant.install(side.kernels, Silent(), rank=rank)
    follow_steps(PrecisionDebugger(config_path=str(path)))
    sys.path.insert(0, str(Path(job["script"]).parent))
    sys.argv = [job["script"]]
    run_as_main(Path(job["script"]))


def run_as_main(script: Path) -> None:
    """Run a script as python does.  Not by runpy: for frames of a frozen module, the search for source lines that
    8.3.3 makes at each call goes through all modules that are loaded, which takes minutes."""
    module = types.ModuleType("__main__")
    module.__file__ = str(script)
    sys.modules["__main__"] = module
    exec(compile(script.read_text(encoding="utf-8"), str(script), "exec"), module.__dict__)


def follow_steps(debugger: Any) -> None:
    """Record from the first outermost module call on; a step ends when every optimizer has stepped."""
    stepped = 0
    started = False

    def before_module(module: torch.nn.Module, inputs: Any) -> None:
        nonlocal started
        if not started:
            started = True
            debugger.start()

    def after_step(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        nonlocal stepped
        stepped += 1
        optimizers = sum(issubclass(type(each), torch.optim.Optimizer) for each in gc.get_objects())
        if stepped % optimizers == 0:
            debugger.stop()
            debugger.step()
            debugger.start()

    torch.nn.modules.module.register_module_forward_pre_hook(before_module)
    register_optimizer_step_post_hook(after_step)


def compare(job: dict[str, Any], folder: Path) -> None:
    """One step of two dumps, every rank of it."""
    from msprobe.msprobe import main

    npu, bench = Path(job["npu"]), Path(job["bench"])
    if job["how"] == "advisor":
        for place in sorted(npu.glob("rank*")):
            out = folder / place.name
            out.mkdir()
            pair = {"npu_path": str(place / "dump.json"), "bench_path": str(bench / place.name / "dump.json")}
            pair["stack_path"] = str(place / "stack.json")
            (folder / f"{place.name}.json").write_text(json.dumps({**pair, "is_print_compare_log": False}))
            sys.argv = ["msprobe", "-f", "pytorch", "compare", "-i", str(folder / f"{place.name}.json"), "-o", str(out)]
            main()
    else:
        sys.argv = ["msprobe", "compare", "-tp", str(npu), "-gp", str(bench), "-o", str(folder), "-da"]
        main()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> int:
    # Once, for all the processes forked from here; the first optimizer of a process would import torch._dynamo.
    import msprobe.pytorch  # noqa: F401
    import torch._dynamo  # noqa: F401

    jobs = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    done = 0

    def told(job: dict[str, Any], code: int) -> None:
        nonlocal done
        done += 1
        print(f"msprobe {done}/{len(jobs)}  {job.get('record') or job['compare']}", file=sys.stderr, flush=True)

    pool.run_each(jobs, run_job, told, workers=int(sys.argv[2]), limit=TIME_LIMIT)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
