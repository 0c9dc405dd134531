"""Does `acc monitor compare` tell faults from noise?  Runs of 60 steps, drawn from seeds.

    python benchmarks/monitor_compare/drawn.py --seeds 0-29                 development: any seed below 1,000
    python benchmarks/monitor_compare/drawn.py --seeds 734101-734130 --write    publish: seeds drawn on the day

A seed is a model, an optimizer and a precision (float32 or bfloat16 under autocast).  The bench is compared with a run
whose kernels all round otherwise, in good health, and with such runs that have a fault.  Each comparison is made with
all tables, with the reduced gradients alone and with the parameters alone.  FOLDER keeps the runs; what is there is not
trained again.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
if __name__ == "__main__":
    sys.path[0] = str(ROOT)

from acc_compare.monitor.comparison import compare_monitored  # noqa: E402
from acc_compare.monitor.model import MonitorFinding  # noqa: E402
from benchmarks.localisation.drawing import seeds_of  # noqa: E402
from benchmarks.monitor_compare.drawn_runs import (  # noqa: E402
    FAULTS,
    FAULTY_FROM,
    OPTIMIZERS,
    PRECISIONS,
    STEPS,
    Plan,
    build,
    expected_step,
    faulty_parameter,
    plan_of,
    run,
)

VIEWS: dict[str, tuple[str, ...]] = {
    "all tables": (),
    "gradients": ("grad_reduced",),
    "parameters": ("param_origin", "param_updated"),
}
AT_ONCE = 1
"""Steps after the fault's first within which it counts as named at once."""


@dataclass(frozen=True, slots=True)
class Told:
    """What one comparison said of the run of a plan.  `step` and `name` are the first origin's, None where there is
    none."""

    plan: Plan
    view: str
    step: int | None
    name: str
    kind: str
    parameter: str
    loudest: float

    @property
    def is_early(self) -> bool:
        """Was something accused before there was anything?"""
        return self.step is not None and (not self.plan.fault or self.step < expected_step(self.plan))

    @property
    def is_found(self) -> bool:
        return self.step is not None and not self.is_early

    @property
    def late(self) -> int:
        return (self.step or 0) - expected_step(self.plan)

    @property
    def is_named(self) -> bool:
        """Is it the parameter that was hit?"""
        return self.is_found and self.name == self.parameter


def record(plan: Plan, folder: Path) -> None:
    """Train `plan`'s run into `folder` in a process of its own, unless it is there.  Raises SystemExit."""
    if folder.is_dir():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    process = multiprocessing.get_context("fork").Process(target=_run, args=(plan, folder))
    process.start()
    process.join()
    if process.exitcode:
        shutil.rmtree(folder, ignore_errors=True)
        raise SystemExit(f"{plan}: ended with {process.exitcode}")


def _run(plan: Plan, folder: Path) -> None:
    code = 1
    try:
        os.environ["MONITOR_OUTPUT_DIR"] = str(folder)
        run(plan, folder)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def plans(seed: int) -> list[Plan]:
    """The seed's run in good health, and with each fault."""
    return [plan_of(seed, noisy=True, fault=fault) for fault in ("", *FAULTS)]


def told(plan: Plan, view: str, finding: MonitorFinding, parameter: str) -> Told:
    first = finding.origins[0] if finding.origins else None
    if first is None:
        return Told(plan, view, None, "", "", parameter, finding.loudest)
    return Told(plan, view, first.step, first.name, first.kind, parameter, finding.loudest)


def measure(seeds: Sequence[int], work: Path) -> list[Told]:
    import torch
    import torch._dynamo  # once, for all that are forked from here

    torch.set_num_threads(1)
    found = []
    for seed in seeds:
        bench = work / f"{seed}-bench"
        record(plan_of(seed), bench)
        for plan in plans(seed):
            npu = work / f"{seed}-{(plan.fault or 'healthy').replace(' ', '_').replace('_%', '')}"
            record(plan, npu)
            parameter = faulty_parameter(plan, build(plan))
            for view, kinds in VIEWS.items():
                found.append(told(plan, view, compare_monitored(npu, bench, kinds=kinds), parameter))
        print(
            f"seed {seed}: {plan_of(seed).model}, {plan_of(seed).optimizer}, {plan_of(seed).precision}", file=sys.stderr
        )
    return found


def rows(found: Sequence[Told]) -> str:
    """Who was accused in good health, and which fault was named when."""
    lines = ["| precision | optimizer | healthy pairs | accused: all tables | gradients | parameters |"]
    lines.append("|---|---|---|---|---|---|")
    for precision in PRECISIONS:
        for optimizer in OPTIMIZERS:
            of = [f for f in found if (f.plan.precision, f.plan.optimizer, f.plan.fault) == (precision, optimizer, "")]
            if not of:
                continue
            accused = [str(sum(f.is_early for f in of if f.view == view)) for view in VIEWS]
            lines.append(f"| {precision} | {optimizer} | {len(of) // len(VIEWS)} | {' | '.join(accused)} |")
    lines += ["", "| fault | precision | optimizer | pairs | all tables | gradients | parameters |"]
    lines.append("|---|---|---|---|---|---|---|")
    for fault in FAULTS:
        for precision in PRECISIONS:
            for optimizer in OPTIMIZERS:
                key = (fault, precision, optimizer)
                of = [f for f in found if (f.plan.fault, f.plan.precision, f.plan.optimizer) == key]
                if not of:
                    continue
                cells = [_cell([f for f in of if f.view == view]) for view in VIEWS]
                lines.append(f"| {' | '.join(key)} | {len(of) // len(VIEWS)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(of: Sequence[Told]) -> str:
    right = [f for f in of if f.is_found]
    if not right:
        return "0" + _early(of)
    at_once = sum(f.late <= AT_ONCE for f in right)
    named = sum(f.is_named for f in right)
    latest = sorted(f.step or 0 for f in right)
    steps = f"step {latest[0]}" if latest[0] == latest[-1] else f"steps {latest[0]} to {latest[-1]}"
    return f"{len(right)}, {at_once} at once, {named} by name, {steps}{_early(of)}"


def _early(of: Sequence[Told]) -> str:
    early = sum(f.is_early for f in of)
    return f"; {early} too early" if early else ""


def failures(found: Sequence[Told]) -> str:
    """Healthy runs accused, and faults that were not found."""
    lines = []
    for f in found:
        what = "accused" if f.is_early else "not found" if f.plan.fault and not f.is_found else ""
        if what:
            p = f.plan
            lines.append(
                f"{p.seed:6} {p.model:8} {p.optimizer:9} {p.precision:8} {p.width:3} {p.rate:.0e}"
                f" {p.fault or 'healthy':18} {f.view:11} {what} {f.kind} {f.step} {f.name} (loudest {f.loudest:.0e})"
            )
    return "\n".join(lines)


def page(options: argparse.Namespace, seeds: Sequence[int], found: Sequence[Told]) -> str:
    return f"""# Monitored runs drawn from seeds: faults and noise

Made by `python benchmarks/monitor_compare/drawn.py --seeds {options.seeds} --write` on {date.today().isoformat()}:
seeds {seeds[0]} to {seeds[-1]}, {len(seeds)} of them. Development uses seeds below 1,000.

Runs of {STEPS} steps. The other side's kernels all round once more, by 0.3 to 1 unit of roundoff. A gradient is off by
a factor, or a weight frozen, in one layer from step {FAULTY_FROM} on; a beta (Adafactor: the exponent of its decay;
SGD: the momentum) and the learning rate are off from the start. A cell says how many were named, how many of them at
the first step that can show it or the one after, how many by the parameter that was hit, and at which steps.

{rows(found)}
"""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0-29", help="3,10-12, or new:N for N seeds drawn now")
    parser.add_argument("--work", type=Path, default=ROOT / ".monitor_compare", help="where the runs are kept")
    parser.add_argument("--write", action="store_true", help=f"write {HERE / 'DRAWN.md'}")
    options = parser.parse_args(arguments)
    seeds = seeds_of(options.seeds)
    found = measure(seeds, options.work.absolute())
    print(failures(found))
    print(rows(found))
    if options.write:
        (HERE / "DRAWN.md").write_text(page(options, seeds, found), encoding="utf-8")
    return int(any(f.is_early for f in found if not f.plan.fault))


if __name__ == "__main__":
    raise SystemExit(main())
