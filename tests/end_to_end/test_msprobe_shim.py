"""The shim as a user installs it, and `acc dump --as-msprobe` without it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType

import file_modules
import pytest

from dump.format.layout import find_dumps
from dump.format.reader import read_dump

ROOT = Path(__file__).parents[2]
SHIM = ROOT / "shims" / "msprobe"

CALLER = """
import multiprocessing, sys
import torch
from msprobe.pytorch import PrecisionDebugger, seed_all

def train(rank):
    seed_all(mode=True)
    debugger = PrecisionDebugger(config_path="config.json")
    model = torch.nn.Sequential(torch.nn.Linear(2, 2))
    for _ in range(2):
        debugger.start(model, rank_id=rank)
        model(torch.ones(1, 2)).sum().backward()
        debugger.stop()
        debugger.step()

if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=train, args=(rank,)) for rank in range(2)] if "spawn" in sys.argv else []
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    if not workers:
        train(0)
"""


@pytest.fixture
def backend() -> ModuleType:
    return file_modules.load(SHIM / "shim_backend.py", "shim_backend")


@pytest.fixture
def installed(backend: ModuleType, tmp_path: Path) -> Path:
    """A folder with what pip would unpack."""
    name = backend.build_wheel(str(tmp_path))
    with zipfile.ZipFile(tmp_path / name) as wheel:
        wheel.extractall(tmp_path / "site")
    return tmp_path / "site"


def _python(*arguments: str, cwd: Path, path: Path | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("ACC_")}
    roots = [str(ROOT), *([str(path)] if path is not None else [])]
    env.update(variables, PYTHONPATH=os.pathsep.join(roots))
    return subprocess.run([sys.executable, *arguments], cwd=cwd, env=env, capture_output=True, text=True, timeout=100)


def _recorded(root: Path) -> dict[tuple[int | None, int | None], object]:
    return {(found.step, found.rank): read_dump(found.path).header.environment for found in find_dumps(root)}


def test_the_wheel_holds_what_is_removed_with_it(backend: ModuleType, tmp_path: Path) -> None:
    name = backend.build_wheel(str(tmp_path))
    with zipfile.ZipFile(tmp_path / name) as wheel:
        held = set(wheel.namelist())
        record = next(each for each in held if each.endswith("RECORD"))
        listed = {line.partition(",")[0] for line in wheel.read(record).decode().splitlines()}
        scripts = wheel.read(record.replace("RECORD", "entry_points.txt")).decode()
    assert held == listed
    assert {"msprobe/__init__.py", "acc_msprobe_shim.pth", "acc_msprobe_torch_npu.py"} <= held
    assert "msprobe = acc_compare.as_msprobe.command:main" in scripts


def test_it_is_not_built_over_the_real_one(
    backend: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "mindstudio_probe-26.2.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mindstudio-probe\nVersion: 26.2.0\n")
    monkeypatch.setattr(backend.sysconfig, "get_path", lambda _: str(tmp_path))
    with pytest.raises(SystemExit, match="mindstudio-probe is installed here"):
        backend.get_requires_for_build_wheel()


def test_beside_the_real_one_it_refuses_to_be_imported(installed: Path) -> None:
    info = installed / "mindstudio_probe-26.2.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mindstudio-probe\nVersion: 26.2.0\n")
    done = _python("-c", "import msprobe", cwd=installed.parent, path=installed)
    assert "ImportError: acc-msprobe-shim and mindstudio-probe are both installed" in done.stderr


@pytest.mark.slow
def test_a_script_that_calls_msprobe_runs_with_the_shim(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"dump_path": "dump", "level": "mix", "step": [1], "seed": 1}))
    (tmp_path / "train.py").write_text(CALLER)
    done = _python("train.py", cwd=tmp_path, path=installed)
    assert done.returncode == 0, done.stderr
    recorded = _recorded(tmp_path / "dump")
    assert list(recorded) == [(1, 0)]
    assert dict(recorded[1, 0])["called_as"] == "msprobe 26.2.0+acc"  # type: ignore[call-overload]


def test_a_place_in_torch_npu_is_answered_when_python_starts(installed: Path, tmp_path: Path) -> None:
    code = (
        "import site, sys\n"
        f"site.addsitedir({str(installed)!r})\n"
        "assert not any(name == 'dump' or name.startswith('dump.') for name in sys.modules)\n"
        "from torch_npu.contrib.monitor import TrainerMon\n"
        "print(TrainerMon.__module__)\n"
    )
    assert _python("-c", code, cwd=tmp_path).stdout.strip() == "dump.monitor.trainer"


@pytest.mark.slow
def test_without_the_shim_the_command_answers_in_spawned_workers_too(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"dump_path": "dump", "level": "L1"}))
    (tmp_path / "train.py").write_text(CALLER)
    done = _python("-m", "dump", "--as-msprobe", "-o", "mine", "--step", "1", "train.py", "spawn", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert sorted(_recorded(tmp_path / "mine")) == [(1, 0), (1, 1)]
    assert not (tmp_path / "dump").exists()


@pytest.mark.slow
def test_a_variable_does_what_the_flag_does(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"dump_path": "dump", "level": "L1", "step": [0]}))
    (tmp_path / "train.py").write_text(CALLER)
    done = _python("-m", "dump", "train.py", cwd=tmp_path, ACC_AS_MSPROBE="1")
    assert done.returncode == 0, done.stderr
    assert list(_recorded(tmp_path / "dump")) == [(0, 0)]
    alone = _python("-m", "dump", "train.py", cwd=tmp_path)
    assert alone.returncode == 1
    assert "No module named 'msprobe'" in alone.stderr


@pytest.mark.slow
def test_a_script_that_records_nothing_by_msprobes_names(tmp_path: Path) -> None:
    (tmp_path / "none.py").write_text("import msprobe\nprint(msprobe.__version__)\n")
    done = _python("-m", "dump", "--as-msprobe", "none.py", cwd=tmp_path)
    assert (done.returncode, done.stdout.strip()) == (0, "26.2.0+acc")
    assert "no PrecisionDebugger" in done.stderr
    made = "from msprobe.pytorch import PrecisionDebugger\nPrecisionDebugger(dump_path='dump', level='L1')\n"
    (tmp_path / "made.py").write_text(made)
    done = _python("-m", "dump", "--as-msprobe", "made.py", cwd=tmp_path)
    assert "Traceback" not in done.stderr
    assert "nothing was recorded" in done.stderr
    (tmp_path / "closes.py").write_text(
        made + "import torch\nPrecisionDebugger.start()\ntorch.ones(1)\nPrecisionDebugger.close()\n"
    )
    done = _python("-m", "dump", "--as-msprobe", "-o", "closed", "closes.py", cwd=tmp_path)
    assert done.stderr.count("dump: ") - done.stderr.count("acc dump: ") == 1
    assert "nothing was recorded" not in done.stderr
    (tmp_path / "dump").write_text("in the way")
    (tmp_path / "fails.py").write_text(
        made + "import torch\nPrecisionDebugger.start()\ntorch.ones(1)\nPrecisionDebugger.step()\n"
    )
    done = _python("-m", "dump", "--as-msprobe", "fails.py", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("acc: error: ")
