"""One training step of a ResNet on the CPU, recorded by the tool that is asked for.

    python record.py DEBUGGER_MODULE CONFIG ARCH BATCH SIZE THREADS

DEBUGGER_MODULE is the module that `PrecisionDebugger` is imported from: `msprobe.pytorch` or `dump`.  With another
number of threads, kernels sum in another order: the two sides differ as two healthy machines do.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import torch
from torch.nn import functional as F

sys.path[0] = str(Path(__file__).resolve().parents[2])

from dump.workload import ResNet  # noqa: E402  (needs torch alone, so it runs in msprobe's environment too)

CLASSES = 1000


def main(module: str, config: str, arch: str, batch: int, size: int, threads: int) -> None:
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    debugger = importlib.import_module(module).PrecisionDebugger(config_path=config)
    model = ResNet(arch, CLASSES)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=1e-4)
    images, target = torch.randn(batch, 3, size, size), torch.randint(CLASSES, (batch,))
    debugger.start(model=model)
    F.cross_entropy(model(images), target).backward()
    optimizer.step()
    debugger.stop()
    debugger.step()


if __name__ == "__main__":
    name, file, arch, *numbers = sys.argv[1:]
    main(name, file, arch, *map(int, numbers))
