"""`acc env`: what was found on this machine, for a person or as JSON.

Importing this imports no torch, so that `--help` is quick.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from ..environment.torch_loading import load_torch

if TYPE_CHECKING:
    from ..environment.versions import Environment

HELP = """Show what a recording on this machine would find: versions, devices, and every setting that changes results.

The NPU is absent, broken (torch_npu is installed but cannot start: CANN is missing or its environment is not set),
no-device, simulated, or ok. Dumps hold the same in their header, and acc compare lists the settings in which two
sides differ before it accuses an operator.

\b
Examples:
  acc env                     for a person
  acc env --json > env.json   for a program, or for a bug report
"""

_UNKNOWN = "not found"


def add_to(app: typer.Typer) -> None:
    """Make `acc env` a command of `app`."""
    app.command("env", help=HELP)(env)


def env(as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one object.")] = False) -> None:
    load_torch()
    from ..environment.versions import found

    environment = found()
    if as_json:
        print(json.dumps(asdict(environment), indent=2))
        return
    for name, text in lines(environment):
        print(f"{name:<28} {text}")


def lines(environment: Environment) -> list[tuple[str, str]]:
    """(what, its value) for each line of the page; settings follow the versions, variables come last."""
    from ..environment.versions import untested

    npu, remark = environment.npu, untested(environment.torch)
    told: list[tuple[str, str]] = [
        ("Python", f"{environment.python} on {environment.platform}"),
        ("torch", f"{environment.torch}, {remark}" if remark else environment.torch),
        ("torch_npu", environment.torch_npu or _UNKNOWN),
        ("CANN", environment.cann or _UNKNOWN),
        ("NPU driver", environment.driver or _UNKNOWN),
        ("NPU", f"{npu.state}: {npu.detail}"),
        ("CUDA", environment.cuda or "this torch is built without it"),
        ("cuDNN", environment.cudnn or _UNKNOWN),
        ("devices", ", ".join(environment.devices)),
        ("native core", environment.native),
    ]
    settings = dict(environment.numerics)
    variables = settings.pop("environment")
    told += [(name, _shown(value)) for name, value in settings.items()]
    assert isinstance(variables, dict)
    told += [(f"${name}", value) for name, value in variables.items()]
    return told


def _shown(value: object) -> str:
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value)
