"""msprobe's acc_check and `acc replay` on the same recorded calls of a simulated NPU with planted faults.

    python -m benchmarks.replay.peer OUT PYTHON

PYTHON has msprobe and the same torch.  A small net is recorded once a fault; both make its calls again with the fault
in force and hold them against the CPU.  acc_check gets the same tensors as `.pt`.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from acc_compare.replay.run import replay
from acc_compare.replay.wanted import Wanted
from dump import sim
from dump.config import DumpConfig
from dump.format.layout import TENSOR_FOLDER
from dump.format.tensors import read_tensor
from dump.session import Session

FAULTS = (
    "",
    "aten::gelu=scale:1.0001",
    "aten::gelu=scale:1.01",
    "aten::gelu=nan:3",
    "aten::gelu_backward=bf16",
    "aten::addmm=zero_tail:1",
    "aten::addmm=bf16",
    "aten::_softmax=add:0.001",
    "aten::native_layer_norm=scale:1.001",
    "aten::native_layer_norm_backward=scale:1.001",
    "aten::mm=scale:1.00001",
)
_FORMAT: Literal["safetensors"] = "safetensors"
_SUFFIX = f".{_FORMAT}"


def trained() -> Callable[[], None]:
    """A step of a small net on the simulated NPU."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(32, 64), nn.GELU(), nn.LayerNorm(64), nn.Linear(64, 10)).to("npu")
    rows, labels = torch.randn(16, 32).to("npu"), (torch.arange(16) % 10).to("npu")
    return lambda: F.cross_entropy(torch.softmax(net(rows), -1), labels).backward()


def recorded(folder: Path) -> Path:
    act = trained()
    session = Session(DumpConfig(task="tensor", file_format=_FORMAT, dump_path=folder, extra_info=False))
    session.start([])
    try:
        act()
    finally:
        session.close()
        session.remove()
    return session.written[0].folder


def for_acc_check(dump: Path, folder: Path) -> Path:
    """The dump with its tensors as torch saves them."""
    tensors = folder / "dump_tensor_data"
    tensors.mkdir(parents=True)
    content = json.loads((dump / "dump.json").read_text(encoding="utf-8"))
    for record in _records(content["data"]):
        name = record["data_name"]
        record["data_name"] = name.removesuffix(_SUFFIX) + ".pt"
        tensor = torch.from_numpy(np.array(read_tensor(dump / TENSOR_FOLDER, name)))
        follows = bool(record.get("requires_grad")) and tensor.is_floating_point()
        torch.save(tensor.requires_grad_(follows), tensors / record["data_name"])
    content["dump_data_dir"] = str(tensors)
    (folder / "dump.json").write_text(json.dumps(content), encoding="utf-8")
    return folder / "dump.json"


def _records(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict) and str(node.get("data_name", "")).endswith(_SUFFIX):
        yield node
    elif isinstance(node, (dict, list)):
        for item in node.values() if isinstance(node, dict) else node:
            yield from _records(item)


def told_by_acc_check(python: str, fault: str, dump: Path, out: Path) -> list[str]:
    """The calls whose result it calls an error or a warning."""
    script = Path(__file__).with_name("peer_acc_check.py")
    root = Path(__file__).parents[2]
    own = Path(torch.__file__).parents[1]
    subprocess.run([python, script, root, own, fault, dump, out], check=True, capture_output=True)
    (result,) = out.glob("accuracy_checking_result_*.csv")
    with result.open(encoding="utf-8-sig", newline="") as lines:
        rows = [row for row in csv.reader(lines) if row][1:]
    return [
        f"{name}.{direction}"
        for name, *found in (row[:3] for row in rows)
        for direction, status in zip(("forward", "backward"), found, strict=True)
        if status in ("error", "warning")
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("python")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    sim.enable()
    for number, fault in enumerate(FAULTS):
        folder = chosen.out / str(number)
        with sim.npu(faults=[fault] if fault else []):
            dump = recorded(folder)
            ours = [call.name for call in replay(dump, Wanted()).of("confirmed")]
        theirs = told_by_acc_check(chosen.python, fault, for_acc_check(dump, folder / "peer"), folder / "told")
        print(f"{fault or 'no fault'}: acc replay {', '.join(ours) or 'none'}; acc_check {', '.join(theirs) or 'none'}")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
