"""Run by `peer.py` with the Python that has msprobe: its acc_check on the simulated NPU, as if torch_npu were there.

PYTHON peer_acc_check.py ROOT SITE FAULT DUMP_JSON OUT
"""

from __future__ import annotations

import importlib
import importlib.machinery
import sys
import types
from typing import Any

import torch


def stand_in() -> None:
    """What acc_check imports of torch_npu, over the device `npu` that is there."""
    device: Any = torch.npu  # type: ignore[attr-defined]
    device.set_compile_mode = lambda **_: None
    device.config = types.SimpleNamespace(allow_internal_format=False)
    package: Any = types.ModuleType("torch_npu")
    package.__spec__ = importlib.machinery.ModuleSpec("torch_npu", None)
    package.__path__ = []
    package.__version__ = torch.__version__
    package.npu = device
    mixed: Any = types.ModuleType("torch_npu.npu.amp")
    mixed.autocast = lambda **options: torch.autocast("npu", **options)
    sys.modules.update({"torch_npu": package, "torch_npu.npu": device, "torch_npu.npu.amp": mixed})


def main() -> None:
    root, site, fault, dump, out = sys.argv[1:]
    sys.path.insert(0, root)
    sys.path.append(site)  # what the simulated device imports; torch is this Python's own
    from dump import sim

    torch.set_num_threads(1)
    sim.enable()
    stand_in()
    checker = importlib.import_module("msprobe.pytorch.api_accuracy_checker.acc_check.acc_check")
    sys.argv = ["acc_check", "-api_info", dump, "-o", out, "-d", "0"]
    with sim.npu(faults=[fault] if fault else []):
        checker._acc_check()


if __name__ == "__main__":
    main()
