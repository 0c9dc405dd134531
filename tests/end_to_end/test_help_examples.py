"""Every `--help` has examples, and every example that can run here does, as it stands, in a folder that has what it
names."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from acc_compare.cli import make_app

SCRIPT = """
import torch
from torch import nn

torch.manual_seed(0)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.Sequential(*(nn.Sequential(nn.Linear(8, 8), nn.GELU(), nn.LayerNorm(8)) for _ in range(3)))

    def forward(self, x):
        return self.blocks(x)


model = Model()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for _ in range(2):
    optimizer.zero_grad()
    model(torch.ones(2, 8)).square().mean().backward()
    optimizer.step()
"""
MAPPING = "modules:\n  blocks: blocks\n"
ELSEWHERE = (
    *("torchrun", "--device npu", "python ", "tensorboard ", "NAME", "npu_tensors", "-as-msprobe", "--follow"),
    *("--kind", "--grad-acc-steps", "node"),
)
"""Examples with one of these need an NPU, several processes or nodes, msprobe's scripts, micro batches or files of a
kind that the script here has not, do not end, or are patterns."""

ACC = [sys.executable, "-m", "acc_compare"]


def commands(command: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    yield path, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, f"{path} {name}".strip())


def examples(help_text: str) -> list[str]:
    """Lines of commands, without what is said beside them."""
    lines = re.findall(r"^ +((?:acc|python|torchrun|tensorboard) .*)$", help_text, re.MULTILINE)
    return [re.split(r"\s{3,}", line)[0] for line in lines]


KNOWN = dict(commands(typer.main.get_command(make_app())))
RUN = [
    line
    for path, command in KNOWN.items()
    for line in examples(command.help)
    if path and not any(part in line for part in ELSEWHERE)
]


@pytest.mark.parametrize("path", sorted(KNOWN))
def test_every_help_has_an_example(path: str) -> None:
    name = f"acc {path.removesuffix(' run')}".strip()
    assert any(line.startswith((name, "python")) for line in examples(KNOWN[path].help))


def run(words: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that examples name."""
    root = tmp_path_factory.mktemp("desk")
    (root / "train.py").write_text(SCRIPT)
    (root / "pkg").mkdir()
    shutil.copy(root / "train.py", root / "pkg" / "train.py")
    (root / "config.json").write_text("{}")
    (root / "monitor_config.json").write_text('{"targets": {}, "format": "csv", "wg_distribution": true}')
    (root / "map.yaml").write_text(MAPPING)
    recorded = run(
        [*ACC, "dump", "--task", "tensor", "--level", "mix", "-s", "--step", "0,1", "-o", "npu_dump", "train.py"], root
    )
    assert recorded.returncode == 0, recorded.stderr
    for folder in (root / "npu_dump").glob("step*/proc*"):
        folder.rename(folder.with_name("rank0"))
    for name in ("gpu_dump", "gpu_dump_again", "gpu_float32", "dumps/npu"):
        shutil.copytree(root / "npu_dump", root / name)
    watched = run([*ACC, "monitor", "-o", "monitor_output", "train.py"], root)
    assert watched.returncode == 0, watched.stderr
    for name in ("npu_output", "gpu_output", "gpu_output_again"):
        shutil.copytree(root / "monitor_output", root / name)
    compared = run([*ACC, "compare", "npu_dump", "gpu_dump", "--no-html"], root)
    assert compared.returncode == 0, compared.stderr
    (advisor,) = (root / "compare_result" / "accuracy_compare").glob("advisor_*.json")
    samples = Path(__file__).resolve().parents[2] / "sample_dumps"
    run([*ACC, "compare", str(samples / "gelu_in_bfloat16"), str(samples / "bench_statistics"), "-o", "other"], root)
    (suspects,) = (root / "other").rglob("advisor_*.json")
    shutil.copy(suspects, root / "advisor_20260101120000.json")
    shutil.copy(advisor, advisor.with_name("advisor_20260102030405.json"))
    return root


@pytest.mark.slow
@pytest.mark.parametrize("line", RUN)
def test_an_example_runs(desk: Path, tmp_path: Path, line: str) -> None:
    words = [*ACC, *shlex.split(line.partition(" > ")[0])[1:]]
    if words[3] == "serve":
        with subprocess.Popen(words, cwd=desk, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            address = process.stdout.readline()
            process.terminate()
        assert address.startswith("http://127.0.0.1:")
        return
    if words[3] in ("dump", "check"):  # they write where another has written
        for name in ("train.py", "config.json"):
            shutil.copy(desk / name, tmp_path)
        for name in ("pkg", "gpu_dump"):
            shutil.copytree(desk / name, tmp_path / name)
    done = run(words, tmp_path if words[3] in ("dump", "check") else desk)
    assert "Traceback" not in done.stderr, done.stderr
    assert "error:" not in done.stderr, done.stderr
    assert done.returncode in (0, 1), (done.returncode, done.stdout, done.stderr)
