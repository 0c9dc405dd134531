"""Run a script on the real torch_npu over the stub CANN libraries: `on_stub.py [--faulty aten::gelu] SCRIPT ARGS`.

Under `acc dump --device npu`, which has imported torch_npu and transfer_to_npu: the device is lent the CPU's kernels.
"""

from __future__ import annotations

import runpy
import sys

import stub_kernels

if __name__ == "__main__":
    arguments = sys.argv[1:]
    faulty = None
    if arguments[0] == "--faulty":
        faulty, arguments = arguments[1], arguments[2:]
    stub_kernels.install(faulty=faulty)
    sys.argv = arguments
    runpy.run_path(arguments[0], run_name="__main__")
