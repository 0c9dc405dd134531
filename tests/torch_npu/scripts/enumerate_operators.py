"""Call every operator of torch_npu under a session, with an argument that none of them takes: it is counted as a call
before it fails.  Prints what was found as JSON; the argument is a folder that may be written."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
import torch_npu

from dump.config import DumpConfig
from dump.intercept import catalog
from dump.session import Session

names = catalog.npu_names()
registered = {schema.name for schema in torch._C._jit_get_all_schemas() if schema.name.startswith("npu::")}
before = {name: getattr(torch_npu, name) for name in names}
session = Session(DumpConfig(dump_path=Path(sys.argv[1]), level="L1"))
session.start()
kept = [name for name in names if getattr(torch_npu, name) is before[name]]
for name in names:
    try:
        getattr(torch_npu, name)(no_such_argument=1)
    except (RuntimeError, TypeError):
        continue
    raise SystemExit(f"{name} took no_such_argument")
assert session._recorder is not None
counted = [name for name in names if session._recorder.number(f"NPU.{name}") == 1]
session.close()
try:
    torch.npu_rms_norm()
    deprecated = "runs"
except RuntimeError as error:
    deprecated = str(error).splitlines()[0]
print(
    json.dumps(
        {
            "names": names,
            "registered": sorted(name.removeprefix("npu::") for name in registered),
            "counted": counted,
            "replaced": sorted(set(names) - set(kept)),
            "put back": all(getattr(torch_npu, name) is before[name] for name in names),
            "deprecated": deprecated,
            "wrapped on torch": [
                op.api for op in catalog.operators() if op.api.startswith("npu_") and op.prefix != "NPU"
            ],
        }
    )
)
