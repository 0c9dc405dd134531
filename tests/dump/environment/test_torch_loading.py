"""With a torch_npu that cannot start, `import torch` raises; everything here goes on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
ENTRIES = "[torch.backends]\n{name} = {name}:start\n"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder with a torch_npu that registers itself with torch and cannot start, and with backends beside it."""
    (tmp_path / "torch_npu").mkdir()
    (tmp_path / "torch_npu" / "__init__.py").write_text(
        "import torch\nraise ImportError('libhccl.so: cannot open shared object file')\n"
    )
    _register(tmp_path, "torch_npu", version="2.13.0")
    _register(tmp_path, "torch_gone")
    _register(tmp_path, "torch_other")
    (tmp_path / "torch_other.py").write_text("def start():\n    print('other backend starts')\n")
    return tmp_path


def _register(site: Path, name: str, *, version: str = "1.0") -> None:
    info = site / f"{name}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: {version}\n")
    (info / "entry_points.txt").write_text(ENTRIES.format(name=name))


def _python(site: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key != "TORCH_DEVICE_BACKEND_AUTOLOAD"}
    environment |= {"PYTHONPATH": os.pathsep.join((str(site), str(ROOT)))} | variables
    return subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, text=True, check=False, timeout=120
    )


ACC = "import sys; from acc_compare.cli import main; sys.exit(main(sys.argv[1:]))"
SCRIPT = """
import os, torch
print("autoload", os.environ.get("TORCH_DEVICE_BACKEND_AUTOLOAD"))
torch.ones(2).relu()
"""


@pytest.mark.slow
def test_a_script_is_recorded_and_the_environment_is_as_it_was(site: Path) -> None:
    plain = _python(site, "-c", "import torch")
    assert plain.returncode != 0
    assert "libhccl.so" in plain.stderr
    (site / "train.py").write_text(SCRIPT)
    run = _python(site, "-m", "dump", "-o", str(site / "out"), str(site / "train.py"))
    assert run.returncode == 0, run.stderr
    assert run.stdout == "other backend starts\nautoload None\n"
    header = json.loads(next(site.glob("out/step0/*/dump.json")).read_text())
    assert header["environment"]["npu"] == "broken"


@pytest.mark.slow
def test_acc_env_says_what_is_broken(site: Path) -> None:
    run = _python(site, "-c", ACC, "env", "--json", NVIDIA_TF32_OVERRIDE="0", TORCH_DEVICE_BACKEND_AUTOLOAD="0")
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)  # and nothing else: the user wants no backend loaded by itself
    assert found["npu"] == {
        "state": "broken",
        "detail": "ImportError: libhccl.so: cannot open shared object file",
    }
    assert found["torch_npu"] == "2.13.0"
    assert found["numerics"]["environment"]["NVIDIA_TF32_OVERRIDE"] == "0"
