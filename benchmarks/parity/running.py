"""Runs the training script under either recorder, and both tools' comparisons, each in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
TRAIN = Path(__file__).with_name("train.py")
MSPROBE_VERSION = "26.2.0"
TIME_LIMIT = 600.0
NOT_INSTALLED = "source tree"
"""The version of a package that an interpreter does not have installed."""

# What a user sets for one tool must not reach the other.
_DROPPED_FOR_PEER = ("PYTHONPATH",)


class ParityError(Exception):
    """Something that has to run did not."""


@dataclass(frozen=True, slots=True)
class Recording:
    """One way to record, the same for both tools.  `model` is train.py's; `top` are further top-level keys."""

    name: str
    level: str
    task: str = "statistics"
    section: Mapping[str, Any] = field(default_factory=dict)
    model: str = "both"
    steps: tuple[int, ...] = ()
    top: Mapping[str, Any] = field(default_factory=dict)

    def config(self, dump_path: Path) -> dict[str, Any]:
        section = {"scope": [], "list": [], "data_mode": ["all"], **self.section}
        return {
            "task": self.task,
            "dump_path": str(dump_path),
            "rank": [],
            "step": list(self.steps),
            "level": self.level,
            "extra_info": True,
            "async_dump": False,
            **self.top,
            self.task: section,
        }


@dataclass(frozen=True, slots=True)
class Recorder:
    """One of the two tools: the interpreter that has it, and the module that PrecisionDebugger comes from."""

    name: str
    python: Path
    module: str
    environment: Mapping[str, str]

    def record(self, recording: Recording, work: Path) -> Path:
        """The dump folder of one run of train.py.  Raises ParityError where the run fails."""
        dump = work / recording.name / self.name
        config = work / recording.name / f"{self.name}.json"
        config.parent.mkdir(parents=True, exist_ok=True)
        config.write_text(json.dumps(recording.config(dump), indent=2), encoding="utf-8")
        command = [str(self.python), str(TRAIN), self.module, str(config), recording.model]
        done = run(command, self.environment, cwd=work)
        if done.returncode:
            raise ParityError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout[-2000:]}")
        return dump


def ours() -> Recorder:
    """This project, in the interpreter that runs now."""
    path = os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), str(ROOT))))
    return Recorder("ours", Path(sys.executable), "dump", {**os.environ, "PYTHONPATH": path})


def peer(python: Path) -> Recorder:
    """msprobe, in the interpreter that has it."""
    environment = {key: value for key, value in os.environ.items() if key not in _DROPPED_FOR_PEER}
    return Recorder("msprobe", python, "msprobe.pytorch", environment)


def run(command: Sequence[str], environment: Mapping[str, str], *, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run to the end, stdout and stderr as one text.  Raises ParityError after ten minutes.

    Python looks for modules in `cwd` first, so it is a folder that holds none.
    """
    try:
        return subprocess.run(
            command,
            env=dict(environment),
            cwd=cwd,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=TIME_LIMIT,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ParityError(f"{' '.join(command)} did not end within {TIME_LIMIT:.0f} s") from error


def make_peer(folder: Path) -> Path:
    """The interpreter of a virtual environment with msprobe in it, made where there is none yet.

    Its torch is the one of constraints.txt.  Raises ParityError where pip fails.
    """
    python = folder / "bin" / "python"
    marker = folder / ".installed"
    if marker.is_file():
        return python
    print(f"making {folder} with mindstudio-probe {MSPROBE_VERSION} (some minutes)", flush=True)
    venv.create(folder, with_pip=True)
    torch = next(
        line.strip()
        for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
        if line.startswith("torch==")
    )
    wanted = [f"mindstudio-probe=={MSPROBE_VERSION}", torch]
    done = run([str(python), "-m", "pip", "install", "--quiet", *wanted], os.environ, cwd=folder)
    if done.returncode:
        raise ParityError(f"pip install {' '.join(wanted)} failed:\n{done.stdout[-2000:]}")
    marker.touch()
    return python


def versions(recorder: Recorder, work: Path) -> dict[str, str]:
    """The versions in a recorder's environment.  Raises ParityError where it cannot import what it needs."""
    package = {"ours": "acc-compare", "msprobe": "mindstudio-probe"}[recorder.name]
    code = (
        "import importlib.metadata as m, json, platform, torch\n"
        "def version(name):\n"
        "    try: return m.version(name)\n"
        f"    except m.PackageNotFoundError: return {NOT_INSTALLED!r}\n"
        f"print(json.dumps({{'package': version({package!r}), 'torch': torch.__version__,"
        " 'python': platform.python_version()}))"
    )
    done = run([str(recorder.python), "-c", code], recorder.environment, cwd=work)
    if done.returncode:
        raise ParityError(f"{recorder.python} cannot be used:\n{done.stdout[-1000:]}")
    found: dict[str, str] = json.loads(done.stdout.strip().splitlines()[-1])
    return found
