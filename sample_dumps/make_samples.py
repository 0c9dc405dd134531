"""Make the sample dumps anew, and the table in README.md.

    python sample_dumps/make_samples.py

Each sample is a dump of `train.py` recorded on a simulated NPU, to be compared with the bench of its mode, recorded on
the CPU.  Paths of this machine are taken out of what is recorded.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
_BEGIN, _END = "<!-- samples: begin -->\n", "<!-- samples: end -->\n"


@dataclass(frozen=True)
class Sample:
    """A dump of the simulated NPU: how it was recorded and what `acc compare` must say of it against `bench`.

    `suspect` is the name of the first suspect and `kind` its kind; both are empty where the verdict is `same`.
    """

    name: str
    story: str
    bench: str = "bench_statistics"
    npu: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()
    verdict: str = "different"
    kind: str = ""
    suspect: str = ""


BENCHES = {
    "bench_statistics": ("--task", "statistics", "-s"),
    "bench_tensor": ("--task", "tensor", "-s", "--list", "gelu", "--list", "softmax", "--data-mode", "forward"),
    "bench_md5": ("--task", "statistics", "--summary-mode", "md5", "-s"),
}
SAMPLES = (
    Sample(
        "healthy",
        "no fault: the simulated NPU agrees with the CPU",
        verdict="same",
    ),
    Sample(
        "gelu_in_bfloat16",
        "the second gelu computes in bfloat16 and rounds its result back",
        faults=("aten::gelu=bf16@1",),
        kind="operator",
        suspect="Functional.gelu.1.forward",
    ),
    Sample(
        "softmax_backward_scaled",
        "every backward of softmax is a tenth of a percent too large",
        faults=("aten::_softmax_backward_data=scale:1.001",),
        kind="operator",
        suspect="Functional.softmax.1.backward",
    ),
    Sample(
        "nan_in_layer_norm",
        "the third layer_norm writes one NaN",
        faults=("aten::native_layer_norm=nan:3@2",),
        kind="nan_inf",
        suspect="Functional.layer_norm.2.forward",
    ),
    Sample(
        "other_seed",
        "the NPU side was started with another seed",
        npu=("--seed", "1"),
        kind="input",
        suspect="Functional.embedding.0.forward",
    ),
    Sample(
        "other_learning_rate",
        "the NPU side has a learning rate ten percent higher",
        npu=("--lr", "1.1e-3"),
        kind="optimizer",
        suspect="Optimizer.AdamW.0.forward",
    ),
    Sample(
        "real_data",
        "whole tensors of gelu and softmax; the second gelu loses the last column",
        bench="bench_tensor",
        faults=("aten::gelu=zero_tail:1@1",),
        kind="operator",
        suspect="Functional.gelu.1.forward",
    ),
    Sample(
        "md5",
        "digests alone; the first softmax is off by one part in a thousand",
        bench="bench_md5",
        faults=("aten::_softmax=scale:1.001@0",),
        kind="operator",
        suspect="Functional.softmax.0.forward",
    ),
)


def main() -> None:
    for bench, options in BENCHES.items():
        _record(HERE / bench, [*options], ["--device", "cpu"])
    for sample in SAMPLES:
        faults = [part for fault in sample.faults for part in ("--simulated-fault", fault)]
        simulated = ["--simulated-npu", *faults]
        _record(HERE / sample.name, [*BENCHES[sample.bench], *simulated], ["--device", "npu", *sample.npu])
    _write_table()


def _record(folder: Path, options: list[str], arguments: list[str]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    command = [sys.executable, "-m", "dump", *options, "-o", str(folder), "train.py", *arguments]
    subprocess.run(command, cwd=HERE, check=True)
    for rank in folder.glob("step*/proc*"):
        rank = rank.rename(rank.with_name("rank0"))
        for name in ("dump.json", "stack.json"):
            _without_machine(rank / name)


def _without_machine(path: Path) -> None:
    """Take this machine's folders out of a file: packages become `site-packages/...`, this folder `./`."""
    if not path.is_file():
        return
    text = path.read_text(encoding="utf-8")
    libraries = {sysconfig.get_path(key) for key in ("purelib", "platlib")}
    for library in libraries:
        text = text.replace(json.dumps(library)[1:-1], "site-packages")
    standard = sysconfig.get_path("stdlib")
    text = text.replace(json.dumps(standard)[1:-1], "python3")
    path.write_text(text.replace(json.dumps(str(HERE.absolute()))[1:-1], "."), encoding="utf-8")


def table() -> str:
    """The samples as a Markdown table."""
    lines = [
        "| sample | compare with | what is wrong on the NPU side | `acc compare` says | first suspect |",
        "|---|---|---|---|---|",
    ]
    for sample in SAMPLES:
        verdict = f"`{sample.verdict}`" + (f", kind `{sample.kind}`" if sample.kind else "")
        suspect = f"`{sample.suspect}`" if sample.suspect else "none"
        lines.append(f"| `{sample.name}` | `{sample.bench}` | {sample.story} | {verdict} | {suspect} |")
    return "\n".join(lines) + "\n"


def _write_table() -> None:
    readme = HERE / "README.md"
    text = readme.read_text(encoding="utf-8")
    before, rest = text.split(_BEGIN)
    after = rest.split(_END)[1]
    readme.write_text(before + _BEGIN + table() + _END + after, encoding="utf-8")


if __name__ == "__main__":
    main()
