"""`acc monitor`: watch an unmodified script, and turn csv files into TensorBoard events.

Importing this imports no torch, so that `--help` is quick.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
import typer.core

from ..environment.torch_loading import load_torch
from ..format.errors import ConfigError
from .command import CONTEXT, DumpCommand, guarded
from .driven import answering
from .starting import AsMsprobe, Deterministic, Device, Module, Seed, SimulatedNpu, Start, answers_as_msprobe, begun

GROUP_HELP = """Watch a training run: a few numbers of every gradient, weight, activation and moment, step by step.

A word that is no command below starts a script, as `run` does.

\b
Examples:
  acc monitor -c monitor_config.json train.py --lr 0.1     your script, unmodified
  acc monitor -c monitor_config.json -m pkg.train          a module
  torchrun --nproc-per-node 8 -m dump.monitor -c monitor_config.json train.py
  acc monitor csv2tb monitor_output                        for TensorBoard
  acc monitor compare npu_output gpu_output                where two runs part
  acc monitor show monitor_output --follow                 the worst parameters, live
"""

RUN_HELP = """Run a training script, unmodified, and watch it.

Files go to $MONITOR_OUTPUT_DIR (./monitor_output)/{time}-rank{n}/, a step at a time, so a killed run keeps every
finished step. Without -c every gradient is watched: norm, min, max, mean, nans and sketch.

\b
Examples:
  acc monitor -c monitor_config.json train.py --lr 0.1
  acc monitor -c monitor_config.json --grad-acc-steps 4 -m pkg.train
  acc monitor --device npu --seed 1234 train.py --gpu 0     a script written for CUDA, on an NPU
"""

CSV2TB_HELP = """Turn the csv files of monitored runs, ours or msprobe's, into TensorBoard event files.

\b
Examples:
  python -m dump.monitor csv2tb monitor_output
  python -m dump.monitor csv2tb monitor_output --kind grad_reduced --kind actv -o events
  tensorboard --logdir events
"""

DEFAULT_CONFIG: dict[str, Any] = {
    "targets": {},
    "wg_distribution": True,
    "ops": ["norm", "min", "max", "mean", "nans", "sketch"],
    "step_count_per_record": 1000,
}


class MonitorGroup(typer.core.TyperGroup):
    """A group whose command `run` need not be named."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = ["run", *args]
        return super().parse_args(ctx, args)


def make_app() -> typer.Typer:
    """The group `acc monitor`; further commands can be added to it."""
    app = typer.Typer(
        cls=MonitorGroup,
        help=GROUP_HELP,
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.command("run", cls=DumpCommand, help=RUN_HELP, context_settings=CONTEXT)(run)
    app.command("csv2tb", help=CSV2TB_HELP)(csv2tb)
    return app


def run(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(metavar="[SCRIPT] [ARGS]...", help="The script, and its own arguments."),
    ] = None,
    config: Annotated[Path | None, typer.Option("-c", "--config", help="A monitor_config.json, as msprobe's.")] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Where to. [default: $MONITOR_OUTPUT_DIR]")
    ] = None,
    grad_acc_steps: Annotated[
        int | None,
        typer.Option(min=1, help="Micro batches in a step; spares measuring the others. [default: found out]"),
    ] = None,
    seed: Seed = None,
    deterministic: Deterministic = False,
    device: Device = None,
    simulated_npu: SimulatedNpu = False,
    as_msprobe: AsMsprobe = False,
    module: Module = None,
) -> None:
    load_torch()
    from ..monitor.config import load_config, read_config

    settings = read_config(DEFAULT_CONFIG) if config is None else load_config(config)
    if not arguments and module is None:
        raise ConfigError("expected a script, found none. Such as: acc monitor -c monitor_config.json train.py")
    if output is not None:
        os.environ["MONITOR_OUTPUT_DIR"] = str(output)
    for sentence in settings.ignored:
        _say(f"note: {sentence}")
    from ..monitor.discovery import Discovery
    from . import launch

    target = launch.split_target(list(arguments or ()), module)
    if target is None:
        raise ConfigError(f"expected a script, found {(arguments or [''])[0]!r}. The script's path comes first.")
    answered = answering({}, None) if answers_as_msprobe(as_msprobe) else contextlib.nullcontext()
    with begun(Start(seed, deterministic, simulated_npu, device=device), _say), answered:
        found = Discovery(settings, grad_acc_steps=grad_acc_steps)
        status = launch.outcome(lambda: launch.run(target, found))
    found.tell()
    raise typer.Exit(status)


def _say(text: str) -> None:
    """On stderr: stdout is the script's."""
    print(f"acc monitor: {text}", file=sys.stderr, flush=True)


def csv2tb(
    monitor_output: Annotated[
        Path, typer.Argument(metavar="MONITOR_OUTPUT", help="The folder that holds the runs.", show_default=False)
    ],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="A new folder. [default: one in MONITOR_OUTPUT]")
    ] = None,
    kind: Annotated[list[str] | None, typer.Option(help="Only files of this kind; may be repeated.")] = None,
    time_start: Annotated[str | None, typer.Option(help="Only runs begun then or later: Dec03_21-34-40.")] = None,
    time_end: Annotated[str | None, typer.Option(help="Only runs begun then or earlier.")] = None,
    processes: Annotated[int, typer.Option(min=1, help="Ranks converted at a time.")] = 1,
) -> None:
    from ..monitor.csv2tb import csv2tensorboard_by_step

    target = csv2tensorboard_by_step(
        monitor_output,
        time_start,
        time_end,
        process_num=processes,
        data_type_list=kind,
        output_dirpath=output,
    )
    print(f"tensorboard --logdir {target}")


def main(arguments: Sequence[str] | None = None) -> int:
    """`python -m dump.monitor`."""
    return guarded(make_app(), arguments)
