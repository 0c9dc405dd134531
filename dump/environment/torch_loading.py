"""Importing torch where a torch_npu is installed that cannot start.

`import torch` loads every package that registered itself under `torch.backends`, and raises when one of them does:
with torch_npu and without CANN there is no torch at all.  Here torch is imported without them, and then they are
loaded as torch would have done, all but torch_npu, which `device.detect_npu` loads with care.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from importlib import import_module
from importlib.metadata import entry_points

AUTOLOAD = "TORCH_DEVICE_BACKEND_AUTOLOAD"


def load_torch() -> None:
    """Import torch; the environment is left as it was found.  Raises what torch itself raises without torch_npu."""
    if "torch" in sys.modules:
        return
    before = os.environ.get(AUTOLOAD)
    os.environ[AUTOLOAD] = "0"
    try:
        import_module("torch")
    finally:
        os.environ.pop(AUTOLOAD, None)
        if before is not None:
            os.environ[AUTOLOAD] = before
    if before != "0":
        _load_other_backends()


def _load_other_backends() -> None:
    for entry in entry_points(group="torch.backends"):
        if entry.module.partition(".")[0] != "torch_npu":
            with suppress(ModuleNotFoundError):  # an entry that was left behind by a package that is gone
                entry.load()()
