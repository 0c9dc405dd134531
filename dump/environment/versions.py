"""What this process runs on: for `acc env`, and in short for the header of every dump.

The versions of what an Ascend machine has installed come from the text files that its installers leave behind: reading
them needs no NPU and starts none, and what cannot be read is not known.
"""

from __future__ import annotations

import contextlib
import functools
import os
import platform
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from .. import native
from . import device, numerics

_VERSION = re.compile(r"^\s*version\s*=\s*(\S+)", re.IGNORECASE | re.MULTILINE)
_LONGEST = 64 << 10
TESTED = ((2, 1), (2, 14))
"""The oldest and the newest minor release of torch that the tests were run with (docs/compatibility.md)."""

_ROOT = Path("/usr/local/Ascend")
_HOMES = ("ASCEND_HOME_PATH", "ASCEND_TOOLKIT_HOME")  # set by CANN's set_env.sh
_CANN_FILES = ("*-linux/ascend_toolkit_install.info", "version.info", "compiler/version.info", "runtime/version.info")


@dataclass(frozen=True, slots=True)
class Environment:
    """Versions are None where the thing is not installed or its version cannot be read.

    `npu` is the state that `device.detect_npu` tells apart, `devices` what can be used here: "npu:0 Ascend910B2".
    `native` says whether the native core is in use, and why not.  `numerics` holds the settings that change results
    (`numerics.in_force`).
    """

    python: str
    platform: str
    torch: str
    npu: device.Detected
    torch_npu: str | None
    cann: str | None
    driver: str | None
    cuda: str | None
    cudnn: str | None
    devices: tuple[str, ...]
    native: str
    numerics: dict[str, object]


def found() -> Environment:
    """Look at this process and this machine; imports torch_npu where it is installed."""
    npu = device.detect_npu()
    return Environment(
        python=platform.python_version(),
        platform=platform.platform(),
        torch=torch.__version__,
        npu=npu,
        torch_npu=torch_npu_version(),
        cann=cann_version(),
        driver=driver_version(),
        cuda=torch.version.cuda,
        cudnn=_cudnn_version(),
        devices=device.usable(npu),
        native=native.state,
        numerics=numerics.in_force(),
    )


def _cudnn_version() -> str | None:
    cudnn: Any = torch.backends.cudnn
    return str(cudnn.version()) if cudnn.is_available() else None


@functools.cache
def _versions() -> dict[str, object]:
    versions = {
        "torch_npu": torch_npu_version(),
        "cann": cann_version(),
        "driver": driver_version(),
        "cuda": torch.version.cuda,
    }
    return {name: version for name, version in versions.items() if version is not None}


_asked: list[str] = []


def asked_for(option: str | None) -> None:
    """Remember for headers what `--device` said; None where the script is left alone again."""
    _asked[:] = [] if option is None else [option]


_run: dict[str, object] = {}


@contextlib.contextmanager
def running(**facts: object) -> Iterator[None]:
    """Headers say within how the run was started: `command`, `seed` and what else is not None or empty."""
    before = dict(_run)
    _run.update({name: value for name, value in facts.items() if value not in (None, False, [])})
    try:
        yield
    finally:
        _run.clear()
        _run.update(before)


def as_children_say() -> dict[str, object]:
    """How this run was started, as the headers of processes say that its script starts: these are ranks of the
    script's own making, unless a launcher has started this one."""
    is_launched = "TORCHELASTIC_RUN_ID" in os.environ
    return dict(_run) if is_launched else {**_run, "started_by": "script"}


def is_child(said: Mapping[str, object]) -> None:
    """Headers of this process say from now on what its parent had for them (`as_children_say`)."""
    _run.update(said)


_interface: list[str] = []


def is_called_as_another() -> bool:
    """Was `called_as` told?"""
    return bool(_interface)


def called_as(interface: str) -> None:
    """Remember for headers whose interface the script calls, where it is not our own; "" where it is."""
    _interface[:] = [interface] if interface else []


def header() -> dict[str, object]:
    """What the header of a dump says from its first line on: the state of the NPU, the versions that are known,
    `asked_for`, the device that a script written for CUDA was sent to, `called_as`, and how the run was started."""
    sent: dict[str, object] = {"asked_for": _asked[0]} if _asked else {}
    called: dict[str, object] = {"called_as": _interface[0]} if _interface else {}
    return {"npu": device.detect_npu().state, **sent, **called, **_run, **_versions()}


def torch_npu_version() -> str | None:
    """The version of torch_npu that is installed, without importing it."""
    try:
        return metadata.version("torch-npu")
    except metadata.PackageNotFoundError:
        return None


def cann_version(root: Path = _ROOT) -> str | None:
    """The version of the CANN toolkit in use: of the one in the environment, else of the newest under `root`."""
    named = [Path(os.environ[variable]) for variable in _HOMES if os.environ.get(variable)]
    homes = [*named, root / "ascend-toolkit" / "latest", root / "latest"]
    return _first(path for home in homes for pattern in _CANN_FILES for path in _matching(home, pattern))


def driver_version(root: Path = _ROOT) -> str | None:
    """The version of the NPU's driver."""
    return _first([root / "driver" / "version.info"])


def _matching(folder: Path, pattern: str) -> list[Path]:
    try:
        return sorted(folder.glob(pattern))
    except OSError:
        return []


def _first(paths: Iterable[Path]) -> str | None:
    return next((version for path in paths if (version := _version_in(path)) is not None), None)


def _version_in(path: Path) -> str | None:
    """What stands after `version=` in a file of an installer (`Version=` in the driver's)."""
    try:
        with path.open("rb") as file:
            text = file.read(_LONGEST).decode("utf-8", "replace")
    except OSError:
        return None
    match = _VERSION.search(text)
    return match[1] if match else None


def untested(version: str) -> str:
    """A remark on a version of torch that the tests were not run with; "" where there is none to make."""
    release = tuple(int(part) for part in version.partition("+")[0].split(".")[:2] if part.isdigit())
    oldest, newest = TESTED
    if release > newest:
        return f"newer than any that was tested ({newest[0]}.{newest[1]}): what cannot be recorded is said"
    return f"older than any that was tested ({oldest[0]}.{oldest[1]})" if release < oldest else ""
