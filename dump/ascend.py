"""Versions of what an Ascend machine has installed, from the text files that its installers leave behind.

Reading them needs no NPU and starts none.  Nothing here raises: what cannot be read is not known.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

_VERSION = re.compile(r"^\s*version\s*=\s*(\S+)", re.IGNORECASE | re.MULTILINE)
_LONGEST = 64 << 10
_ROOT = Path("/usr/local/Ascend")
_HOMES = ("ASCEND_HOME_PATH", "ASCEND_TOOLKIT_HOME")  # set by CANN's set_env.sh
_CANN_FILES = ("*-linux/ascend_toolkit_install.info", "version.info", "compiler/version.info", "runtime/version.info")


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
