"""What does recording cost?  Ours and msprobe beside no tool, a step of each in turn, as ratios.

    python benchmarks/recording/run.py --peer PATH           PATH is a python that has mindstudio-probe 26.2.0
    python benchmarks/recording/run.py                       makes such an environment in .peer first
    python benchmarks/recording/run.py --no-peer --quick     ours alone, three rounds
    python benchmarks/recording/run.py --only llama-statistics --repeat 15
    python benchmarks/recording/run.py --device cuda         the decoder at width 2048 in bfloat16, on a GPU
    python benchmarks/recording/run.py --scale               the cost of 1,000 to 100,000 calls; 1,000 steps

Prints the tables and writes them to RESULTS.md (on a device RESULTS-cuda.md, with --scale RESULTS-scale.md; with
--only nowhere, unless --results says where).  Exits with 2 where something could not be run; figures that miss
what is wanted are named in the table.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path[0] = str(ROOT)

from benchmarks.parity import running  # noqa: E402
from benchmarks.parity.running import ParityError  # noqa: E402
from benchmarks.recording.measuring import BenchmarkError, Case, Tool, measure  # noqa: E402
from benchmarks.recording.results import Results, page, step_table  # noqa: E402

LEVELS = ("L0", "L1", "mix")
TASKS = ("statistics", "hash", "md5", "tensor")
NOT_OF_MSPROBE = ("hash",)
CALLS = (1_000, 3_000, 10_000, 30_000, 100_000)
LONG_STEPS = 1_000
_NO_DEVICE = (
    "No GPU was at hand: the decoder at width 2048 in bfloat16 has not been timed. On a machine that has one, run"
    " `python benchmarks/recording/run.py --device cuda`."
)


def cases(device: str) -> list[Case]:
    """Every case for a device, statistics first."""
    workloads = ("resnet50", "llama") if device == "cpu" else ("llama-2048",)
    tasks = TASKS if device == "cpu" else TASKS[:1]
    return [Case(name, level, task, device) for task in tasks for name in workloads for level in LEVELS]


def run_steps(
    results: Results, picked: Sequence[Case], tools: Sequence[Tool], *, keep: Callable[[Results], None]
) -> None:
    """`keep` gets the results after every case, so that a run that is stopped keeps what it has."""
    for case in picked:
        rounds = max(2, results.repeat // 3) if case.task == "tensor" else results.repeat
        able = [tool for tool in tools if tool.name != "msprobe" or case.task not in NOT_OF_MSPROBE]
        results.steps.append((case, measure(case, able, rounds)))
        print(f"{case.name}\n{step_table(results.steps[-1:])}", flush=True)
        keep(results)


def run_idle(results: Results, device: str, ours: Tool) -> None:
    """So little is looked for that it takes many rounds."""
    tools = [Tool("bare", ours.python), Tool("idle", ours.python)]
    for name, rounds in (("resnet50", 2), ("llama", 12)) if device == "cpu" else (("llama-2048", 12),):
        print(f"{name}, installed and not recording", flush=True)
        case = Case(name, "mix", "statistics", device)
        results.idle.append((case, measure(case, tools, rounds * results.repeat)))


def run_scale(results: Results, device: str, tools: Sequence[Tool], *, quick: bool) -> None:
    for count in CALLS[: 3 if quick else None]:
        print(f"{count:,} calls", flush=True)
        case = Case(f"chain:{count}", "L1", "statistics", device)
        results.calls.append((count, measure(case, tools, max(3, results.repeat // 3))))
    steps = LONG_STEPS // 10 if quick else LONG_STEPS
    print(f"{steps:,} steps", flush=True)
    ours = [tool for tool in tools if tool.name == "ours"]
    results.long = measure(Case("chain:100", "L1", "statistics", device), ours, steps)["ours"]


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    peer = parser.add_mutually_exclusive_group()
    peer.add_argument("--peer", type=Path, metavar="PYTHON", help="a python that has msprobe")
    peer.add_argument("--no-peer", action="store_true", help="time ours alone")
    parser.add_argument("--only", metavar="TEXT", help="only cases whose name has this: resnet50-statistics-L1, idle")
    parser.add_argument("--repeat", type=_count, default=9, metavar="N", help="rounds (9)")
    parser.add_argument("--quick", action="store_true", help="three rounds, and a tenth of --scale")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--scale", action="store_true", help="calls in a step and steps in a run, nothing else")
    parser.add_argument("--results", type=Path, metavar="FILE", help="write the tables here")
    return parser.parse_args(arguments)


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected at least 1, found {number}")
    return number


def _tools(options: argparse.Namespace) -> list[Tool]:
    python = Path(sys.executable)
    tools = [Tool("bare", python), Tool("ours", python)]
    if not options.no_peer:
        tools.append(Tool("msprobe", (options.peer or running.make_peer(ROOT / ".peer")).absolute()))
    return tools


def _versions(tools: Sequence[Tool]) -> dict[str, str]:
    found = {"ours": running.versions(running.ours(), ROOT)}
    for tool in tools:
        if tool.name == "msprobe":
            found["msprobe"] = running.versions(running.peer(tool.python), ROOT)
    if len({each["torch"].partition("+")[0] for each in found.values()}) > 1:
        raise BenchmarkError("expected one version of torch on both sides")
    packages = {name: each["package"] for name, each in found.items()}
    return {**packages, "torch": found["ours"]["torch"], "Python": found["ours"]["python"]}


def _has_cuda() -> bool:
    import torch

    return torch.cuda.is_available()


def evaluate(options: argparse.Namespace, keep: Callable[[Results], None]) -> Results:
    """Run what was asked for.  Raises BenchmarkError, ParityError."""
    tools = _tools(options)
    results = Results(_versions(tools), 3 if options.quick else options.repeat)
    if not _has_cuda():
        results.notes.append(_NO_DEVICE)
        if options.device == "cuda":
            return results
    if options.scale:
        run_scale(results, options.device, tools, quick=options.quick)
        return results
    only = options.only or ""
    run_steps(results, [case for case in cases(options.device) if only in case.name], tools, keep=keep)
    if only in "idle":
        run_idle(results, options.device, tools[1])
    return results


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    suffix = "-scale" if options.scale else "" if options.device == "cpu" else f"-{options.device}"
    default = None if options.only else Path(__file__).with_name(f"RESULTS{suffix}.md")
    target: Path | None = options.results or default

    def keep(results: Results) -> None:
        if target is not None:
            target.write_text(page(results), encoding="utf-8")

    try:
        results = evaluate(options, keep)
        keep(results)
    except (BenchmarkError, ParityError, OSError) as error:
        print(f"recording: error: {error}", file=sys.stderr)
        return 2
    print(page(results))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
