"""`acc monitor` from outside: unmodified scripts, several ranks, a killed run, wrong input."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dump.monitor.output import find_runs

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
CONFIG = {"wg_distribution": True, "xy_distribution": True, "ops": ["norm", "max", "nans"], "step_count_per_record": 50}

PLAIN = """
import sys, torch
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2))
optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
for step in range(3):
    optimizer.zero_grad()
    for _ in range(2):
        model(torch.randn(5, 4)).square().mean().backward()
    optimizer.step()
print(sys.argv[1:], [parameter.double().sum().item() for parameter in model.parameters()])
"""

# Torch itself hangs when a process that has used all three in turn ends, hence the hard exit.
RANKS = """
import os, torch, torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
dist.init_process_group("gloo")
for way in ("ddp", "fsdp1", "fsdp2"):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.Tanh(), torch.nn.Linear(5, 3))
    if way == "ddp":
        model = torch.nn.parallel.DistributedDataParallel(model)
    elif way == "fsdp1":
        model = FullyShardedDataParallel(model, use_orig_params=True, device_id=torch.device("cpu"))
    else:
        mesh = init_device_mesh("cpu", (2,))
        for part in (model[0], model[2], model):
            fully_shard(part, mesh=mesh)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    data = torch.Generator().manual_seed(dist.get_rank() + 1)
    optimizer.zero_grad()
    model(torch.randn(4, 6, generator=data)).square().mean().backward()
    work = dist.all_reduce(torch.ones(2) * (dist.get_rank() + 1), async_op=True)
    work.wait()
    optimizer.step()
os._exit(0)
"""


def _environment(root: Path) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if key not in ("RANK", "WORLD_SIZE")}
    return {**kept, "PYTHONPATH": str(ROOT), "MONITOR_OUTPUT_DIR": str(root), "OMP_NUM_THREADS": "1"}


def _acc(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "import sys; from acc_compare.cli import main; sys.exit(main())", *arguments],
        cwd=folder,
        env=_environment(folder / "out"),
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )


def _rows(folder: Path, kind: str) -> list[dict[str, str]]:
    with (folder / f"{kind}_0-49.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "monitor_config.json"
    path.write_text(json.dumps(CONFIG))
    return path


def test_an_unmodified_script(tmp_path: Path, config: Path) -> None:
    (tmp_path / "train.py").write_text(PLAIN)
    alone = subprocess.run(
        [sys.executable, "train.py", "--lr", "1"], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=240
    )
    done = _acc(tmp_path, "monitor", "-c", str(config), "train.py", "--lr", "1")
    assert (done.returncode, done.stdout) == (0, alone.stdout)
    (run,) = find_runs(tmp_path / "out")
    assert f"acc monitor: 3 steps; {run.path}" in done.stderr
    assert {row["name"] for row in _rows(run.path, "grad_unreduced")} == {"0.weight", "0.bias", "2.weight", "2.bias"}
    reduced = [row for row in _rows(run.path, "grad_reduced") if row["name"] == "0.weight"]
    assert [row["step"] for row in reduced] == ["0", "1", "2"]
    unreduced = [row for row in _rows(run.path, "grad_unreduced") if row["name"] == "0.weight"]
    assert [row["norm"] for row in unreduced] == [row["norm"] for row in reduced]
    assert {row["micro_step"] for row in _rows(run.path, "actv")} == {"0", "1"}


def test_a_script_that_leaves_the_working_folder(tmp_path: Path, config: Path) -> None:
    leaving = "import os; os.mkdir('one'); os.chdir('one')\n"
    again = PLAIN.replace("        model(torch", "        os.chdir('/'); model(torch")
    (tmp_path / "train.py").write_text(leaving + again)
    run = subprocess.run(
        [sys.executable, "-m", "dump.monitor", "-c", str(config), "train.py"],
        cwd=tmp_path,
        env=_environment(Path("out")),
        capture_output=True,
        text=True,
        check=True,
        timeout=240,
    )
    (found,) = find_runs(tmp_path / "out")
    assert run.stderr == f"acc monitor: 3 steps; {found.path}\n"


LAZY_AND_SAVED = """
import hashlib, io, torch
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.LazyLinear(4), torch.nn.Tanh(), torch.nn.Linear(4, 2))
if __import__("sys").argv[1] == "first":
    model(torch.randn(2, 6))
optimizer = torch.optim.SGD(model.parameters(), 0.1)
for step in range(2):
    optimizer.zero_grad()
    model(torch.randn(5, 6)).square().mean().backward()
    optimizer.step()
    file = io.BytesIO()
    torch.save(model, file)
    print(hashlib.md5(file.getvalue()).hexdigest())
"""


@pytest.mark.parametrize("dummy", ["first", "none"])
def test_lazy_modules_and_models_that_are_saved_while_watched(tmp_path: Path, config: Path, dummy: str) -> None:
    (tmp_path / "train.py").write_text(LAZY_AND_SAVED)
    alone = subprocess.run(
        [sys.executable, "train.py", dummy], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=240
    )
    done = _acc(tmp_path, "monitor", "-c", str(config), "train.py", dummy)
    assert (done.returncode, done.stdout) == (0, alone.stdout)
    (run,) = find_runs(tmp_path / "out")
    steps = {row["step"] for row in _rows(run.path, "grad_unreduced") if row["name"] == "0.weight"}
    assert steps == {"0", "1"}


OF_SIZES_AND_COMPILED = """
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
def train(device, compiled=False):
    with torch.device(device):
        model = torch.nn.Linear(3, 2)
        optimizer = torch.optim.AdamW(model.parameters())
        step = torch.compile(optimizer.step, backend="eager") if compiled else optimizer.step
        for _ in range(2):
            model(torch.ones(4, 3)).square().mean().backward()
            step()
train("meta")
with FakeTensorMode():
    train("cpu")
print(torch.nn.Module.__call__.__qualname__)
train("cpu")
train("cpu", compiled=True)
"""


def test_models_of_sizes_alone_are_left_out_and_a_compiled_step_is_watched(tmp_path: Path, config: Path) -> None:
    (tmp_path / "train.py").write_text(OF_SIZES_AND_COMPILED)
    alone = subprocess.run([sys.executable, "train.py"], cwd=tmp_path, capture_output=True, text=True, check=True)
    done = _acc(tmp_path, "monitor", "-c", str(config), "train.py")
    assert (done.returncode, done.stdout) == (0, alone.stdout)
    assert "acc monitor: error" not in done.stderr
    assert "Dynamo does not know" not in done.stderr
    (run,) = find_runs(tmp_path / "out")
    rows = [row for row in _rows(run.path, "grad_reduced") if row["name"].startswith("weight")]
    assert len(rows) == 4
    assert all(float(row["norm"]) > 0 for row in rows)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-c", "monitor_config.json"], "expected a script, found none"),
        (["-c", "missing.json", "train.py"], "missing.json: cannot be read"),
        (["-c", "wrong.json", "train.py"], "'wg_distrbution' is unknown. Did you mean"),
        (["missing.py"], "missing.py: no such script"),
        (["csv2tb", "nowhere"], "no monitored run here"),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(
    tmp_path: Path, config: Path, arguments: list[str], message: str
) -> None:
    (tmp_path / "wrong.json").write_text('{"wg_distrbution": true}')
    done = _acc(tmp_path, "monitor", *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_help_shows_examples_without_torch(tmp_path: Path) -> None:
    probe = (
        "import sys; from acc_compare.cli import main; status = main(['monitor', '--help']); "
        "sys.exit(status or 'torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe],
        env=_environment(tmp_path),
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0
    assert "acc monitor -c monitor_config.json train.py" in done.stdout
    assert "csv2tb" in done.stdout


def test_a_killed_run_keeps_every_finished_step(tmp_path: Path, config: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(
        PLAIN.replace("range(3)", "range(10**9)").replace(
            "optimizer.step()", "optimizer.step(); print(step, flush=True)"
        )
    )
    running = subprocess.Popen(
        [sys.executable, "-m", "dump.monitor", "-c", str(config), str(script)],
        env=_environment(tmp_path / "out"),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert running.stdout is not None
    finished = -1
    while finished < 20:
        finished = int(running.stdout.readline())
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    running.stdout.close()
    (run,) = find_runs(tmp_path / "out")
    text = (run.path / "grad_reduced_0-49.csv").read_text()
    whole = text[: text.rfind("\n")].splitlines()[1:]
    steps = [int(line.split(",")[2]) for line in whole]
    assert all(steps.count(step) == 4 for step in range(finished + 1))


def test_two_ranks_under_ddp_and_both_fsdps(tmp_path: Path) -> None:
    config = tmp_path / "monitor_config.json"
    config.write_text(json.dumps({**CONFIG, "cc_distribution": {"enable": True, "cc_pre_hook": True}}))
    (tmp_path / "train.py").write_text(RANKS)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*command, "-m", "dump.monitor", "-c", str(config), "train.py"],
        cwd=tmp_path,
        env=_environment(tmp_path / "out"),
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    runs = find_runs(tmp_path / "out")
    assert sorted(run.rank for run in runs) == [0, 1]
    found = {run.rank: _by_step(_rows(run.path, "grad_unreduced")) for run in runs}
    reduced = {run.rank: _by_step(_rows(run.path, "grad_reduced")) for run in runs}
    for rank in (0, 1):
        ddp, fsdp1, fsdp2 = (found[rank][step] for step in ("0", "1", "2"))
        assert set(ddp) == {"module.0.weight", "module.0.bias", "module.2.weight", "module.2.bias"}
        assert {f"module.{name}": value for name, value in fsdp1.items()} == pytest.approx(ddp, rel=1e-5)
        assert {f"module.{name}": value for name, value in fsdp2.items()} == pytest.approx(ddp, rel=1e-5)
        assert ddp != pytest.approx(reduced[rank]["0"], rel=1e-2)
    assert found[0]["0"] != pytest.approx(found[1]["0"], rel=1e-2)
    assert reduced[0]["0"] == reduced[1]["0"]
    rows = [row for row in _rows(runs[0].path, "cc") if row["step"] == "0" and row["name"].startswith("all_reduce")]
    calls = {row["name"]: float(row["max"]) for row in rows}
    assert calls == {"all_reduce.pre_0": 1.0 + runs[0].rank, "all_reduce.post_0": 3.0}


def _by_step(rows: list[dict[str, str]]) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for row in rows:
        found.setdefault(row["step"], {})[row["name"]] = float(row["norm"])
    return found
