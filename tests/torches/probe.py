"""What a recording under this torch says of itself: printed as one line of JSON.

python probe.py FOLDER
"""

from __future__ import annotations

import json
import platform
import sys
from pathlib import Path

import numpy as np
import torch

import dump.sim
from dump import torch_internals
from dump.config import DumpConfig
from dump.session import Session


def main() -> None:
    session = Session(DumpConfig(dump_path=Path(sys.argv[1]) / "dump", extra_info=False, level="mix"))
    session.start()
    model = torch.nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    model(torch.ones(1, 2)).relu().sum().backward()
    optimizer.step()
    session.close()
    (written,) = session.written
    for name in torch_internals.INTERNALS:
        torch_internals.available(name)
    found = {
        "torch": torch.__version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "calls": written.calls,
        "left_out": session.left_out,
        "simulated": dump.sim.device_kind(),
        "without": sorted({each.without for each in torch_internals.missing()}),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
