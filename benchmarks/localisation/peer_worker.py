"""Runs in an interpreter that has msprobe: records scripts with it and compares, each job in a forked process.

    PEER_PYTHON peer_worker.py JOBS.json

JOBS.json is a list of objects.  To record: `record` (the new dump folder), `script`, `task`, `side` (as in `rows`).
To compare: `compare` (the new folder of results), `npu` and `bench` (dump folders of a step), `how` (`advisor`, 8.3.3,
or `first difference`, 26.2.0).  Every job leaves `done` in its folder if it ended well, and `log.txt`.

The scripts stay as they are: msprobe's debugger is started and stopped by torch's own global hooks.
"""

from __future__ import annotations

import gc
import json
import os
import runpy
import sys
import traceback
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
    """Run the script with wrong kernels in place, under msprobe's PrecisionDebugger."""
    from msprobe.pytorch import PrecisionDebugger

    side = side_of(job["side"])
    section = {"scope": [], "list": [], "data_mode": ["all"]}
    task = job["task"]
    if task != "tensor":
        section["summary_mode"] = "md5" if task == "md5" else "statistics"
    name = "tensor" if task == "tensor" else "statistics"
    config = {"task": name, "dump_path": str(folder / "dump"), "rank": [], "step": list(range(STEPS)), "level": "L1"}
    (folder / "config.json").write_text(json.dumps({**config, name: section}), encoding="utf-8")
    os.environ.update(STEPS=str(STEPS), **dict(side.variables))
    torch.set_num_threads(side.threads)
    torch.backends.mkldnn.enabled = side.mkldnn
    plant.install(side.kernels, Silent())
    follow_steps(PrecisionDebugger(config_path=str(folder / "config.json")))
    sys.path.insert(0, str(Path(job["script"]).parent))
    sys.argv = [job["script"]]
    runpy.run_path(job["script"], run_name="__main__")


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
        if stepped % sum(isinstance(each, torch.optim.Optimizer) for each in gc.get_objects()) == 0:
            debugger.stop()
            debugger.step()
            debugger.start()

    torch.nn.modules.module.register_module_forward_pre_hook(before_module)
    register_optimizer_step_post_hook(after_step)


def compare(job: dict[str, Any], folder: Path) -> None:
    from msprobe.msprobe import main

    npu, bench = Path(job["npu"]), Path(job["bench"])
    if job["how"] == "advisor":
        pair = {"is_print_compare_log": False}
        for side, root in (("npu", npu), ("bench", bench)):
            pair[f"{side}_path"] = str(next(root.glob("*/dump.json")))
        pair["stack_path"] = str(next(npu.glob("*/stack.json")))
        (folder / "pair.json").write_text(json.dumps(pair), encoding="utf-8")
        sys.argv = ["msprobe", "-f", "pytorch", "compare", "-i", str(folder / "pair.json"), "-o", str(folder)]
    else:
        sys.argv = ["msprobe", "compare", "-tp", str(npu), "-gp", str(bench), "-o", str(folder), "-da"]
    main()


def main() -> int:
    import msprobe.pytorch  # noqa: F401 (once, for all the processes forked from here)

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
