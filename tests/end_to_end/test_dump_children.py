"""Processes that a script starts: trained in, they are recorded; else the closing line counts them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from dump.format.layout import find_dumps
from dump.format.reader import read_dump

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]

# Under a guard, as `spawn` and `forkserver` need it; a name bound early, and a `dump` of the user's own.
TRAIN = """
import multiprocessing, os, sys, torch, dump
from torch.nn.functional import mse_loss

def train(number, way):
    torch.manual_seed(number)
    model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Tanh())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for step in range(2):
        loss = mse_loss(model(torch.ones(2, 4)), torch.zeros(2, 3))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        print(f"{number} {step} {loss.item():.17g} {dump.mine}\\n", end="", flush=True)
    if way == "raises" and number == 1:
        raise KeyError("theirs")
    if way == "leaves":
        os._exit(0)
    if way == "nested" and number == 1:
        child = multiprocessing.get_context("fork").Process(target=train, args=(2, "nested"))
        child.start()
        child.join()

if __name__ == "__main__":
    method, way = sys.argv[1:]
    context = multiprocessing.get_context(method)
    if way == "loads":
        data = torch.utils.data.TensorDataset(torch.ones(4, 4))
        for (batch,) in torch.utils.data.DataLoader(data, num_workers=2, multiprocessing_context=context):
            torch.stack([batch])
    children = [context.Process(target=train, args=(number, way)) for number in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    print("codes", [child.exitcode for child in children])
"""


def _python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )


RECORD = ("-m", "acc_compare", "dump", "-o", "out", "train.py")


@pytest.mark.parametrize(
    ("method", "way", "processes"),
    [
        ("fork", "plain", 2),
        ("spawn", "plain", 2),
        ("forkserver", "plain", 2),
        ("fork", "raises", 2),
        ("spawn", "leaves", 2),
        ("spawn", "nested", 3),
        ("fork", "loads", 2),
    ],
)
def test_children_are_recorded_and_run_as_they_would_alone(
    tmp_path: Path, method: str, way: str, processes: int
) -> None:
    (tmp_path / "train.py").write_text(TRAIN)
    (tmp_path / "dump.py").write_text("mine = 'theirs'")
    alone, recorded = _python(tmp_path, "train.py", method, way), _python(tmp_path, *RECORD, method, way)
    assert sorted(recorded.stdout.splitlines()) == sorted(alone.stdout.splitlines())
    assert recorded.returncode == alone.returncode == 0
    dumps = [read_dump(place.path) for place in find_dumps(tmp_path / "out")]
    trained = [dump for dump in dumps if any("Optimizer" in call.name for call in dump.calls)]
    assert len(trained) == processes
    assert all("Functional.mse_loss.0.backward" in {call.name for call in dump.calls} for dump in trained)
    assert all(dump.incomplete is None for dump in trained)
    assert f"in {processes} child processes" in recorded.stderr
    assert "not recorded" not in recorded.stderr
    said = [dump.header.environment or {} for dump in trained]
    assert {environment.get("started_by") for environment in said} == {"script"}
    assert {tuple(environment["command"]) for environment in said} == {(str(tmp_path / "train.py"), method, way)}


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


SPAWN = """
import os, sys, torch, torch.distributed as dist, torch.multiprocessing as mp

def train(rank):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=sys.argv[1])
    dist.init_process_group("gloo", rank=rank, world_size=2)
    model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(4, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(20):
        optimizer.zero_grad()
        model(torch.ones(2, 4)).sum().backward()
        optimizer.step()
    print("trained all 20", flush=True)
    dist.destroy_process_group()

if __name__ == "__main__":
    mp.spawn(train, nprocs=2)
    print("spawned")
"""


def test_ranks_of_mp_spawn_and_leaving_after_the_last_step(tmp_path: Path, free_port: int) -> None:
    (tmp_path / "train.py").write_text(SPAWN)
    command = [*RECORD[:-1], "--step", "0,1", "--exit-after", "train.py", str(free_port)]
    done = _python(tmp_path, *command)
    assert (done.returncode, done.stdout) == (0, "spawned\n")
    places = find_dumps(tmp_path / "out")
    assert [(place.step, place.rank) for place in places] == [(0, 0), (0, 1), (1, 0), (1, 1)]


OTHERS = """
import os, subprocess, sys, torch
subprocess.run([sys.executable, "-c", "print('child')"])
subprocess.run(["true"])
torch.ones(1) + 1
"""


def test_what_cannot_be_recorded_is_counted(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(OTHERS)
    done = _python(tmp_path, *RECORD)
    assert done.returncode == 0
    assert "1 child process not recorded: Python started by the script itself" in done.stderr


def test_what_the_compiler_starts_is_not_the_scripts(tmp_path: Path) -> None:
    compiler = f"/env/torch/_inductor{os.sep}cpp_builder.py"
    (tmp_path / "train.py").write_text(f"exec(compile({OTHERS!r}, {compiler!r}, 'exec'))")
    done = _python(tmp_path, *RECORD)
    assert done.returncode == 0
    assert "not recorded" not in done.stderr


KILLED = TRAIN.replace(
    'if way == "leaves":', 'if way == "killed": import signal; os.kill(os.getpid(), signal.SIGKILL)\n    if 0:'
)


def test_a_child_that_is_killed_is_counted(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(KILLED)
    (tmp_path / "dump.py").write_text("mine = 'theirs'")
    done = _python(tmp_path, *RECORD, "fork", "killed")
    assert "2 child processes ended before the dump was complete" in done.stderr
    assert "codes [-9, -9]" in done.stdout


FORKS = """
import os, sys, torch

def train():
    torch.manual_seed(0)
    model = torch.nn.Linear(4, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        model(torch.ones(2, 4)).square().mean().backward()
        optimizer.step()

process = os.fork()
if not process:
    if sys.argv[1] == "executes":
        os.execv(sys.executable, [sys.executable, "-c", ""])
    train()
    if sys.argv[1] == "leaves":
        os._exit(0)
    if sys.argv[1] == "is killed":
        os.kill(os.getpid(), 9)
    raise KeyError("theirs") if sys.argv[1] == "raises" else SystemExit(3)
print("code", os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))
train()
"""


@pytest.mark.parametrize(
    ("way", "dumps", "said"),
    [
        ("leaves", 2, "more in 1 child process"),
        ("exits", 2, "more in 1 child process"),
        ("raises", 2, "more in 1 child process"),
        ("is killed", 2, "1 child process ended before the dump was complete"),
        ("executes", 1, None),
    ],
)
def test_a_process_that_the_script_forks_by_itself(tmp_path: Path, way: str, dumps: int, said: str | None) -> None:
    (tmp_path / "train.py").write_text(FORKS)
    alone = _python(tmp_path, "train.py", way)
    recorded = _python(tmp_path, *RECORD, way)
    assert (recorded.returncode, recorded.stdout) == (alone.returncode, alone.stdout)
    assert len(find_dumps(tmp_path / "out")) == dumps
    assert said in recorded.stderr if said is not None else "child" not in recorded.stderr


def test_a_recording_that_is_killed_leaves_nothing_outside_its_dump(tmp_path: Path) -> None:
    script = "import os, signal, torch\ntorch.nn.Linear(2, 2)(torch.ones(2))\nos.kill(os.getpid(), signal.SIGKILL)\n"
    (tmp_path / "killed.py").write_text(script, encoding="utf-8")
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    run = subprocess.run(
        [sys.executable, "-m", "dump", "--task", "statistics", "-o", "dumped", "-s", "killed.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(temporary)},
        capture_output=True,
        check=False,
    )
    assert run.returncode < 0
    assert (tmp_path / "dumped").is_dir()
    assert list(temporary.iterdir()) == []
