"""`make test-frameworks`: the frameworks that call msprobe, in an environment of its own beside the same torch.

Those that cannot be installed without another torch are left out, and their tests are skipped with that said.  A whole
install takes 2 GB and some minutes; the environment is kept in .venv-frameworks.
"""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
ENVIRONMENT = ROOT / ".venv-frameworks"
PYTHON = ENVIRONMENT / "bin" / "python"
INSTALLED = ENVIRONMENT / ".installed"
MADE_FROM = (ROOT / "pyproject.toml", ROOT / "constraints.txt", Path(__file__))
FRAMEWORKS = (
    ("transformers", "accelerate"),
    ("lightning",),
    ("torchtitan", "triton"),
    ("megatron-core",),
    ("deepspeed",),
)
PEERS = {"26.2.0": ROOT / ".peer-26.2.0", "8.3.3": ROOT / ".peer-8.3.3"}
"""Environments of msprobe's own, which the shim is not installed beside."""


def main() -> int:
    if not _is_current():
        output = _install()
        if output is not None:
            print(output, file=sys.stderr)
            return 1
    variables = {**os.environ, "PATH": os.pathsep.join([str(PYTHON.parent), os.environ.get("PATH", "")])}
    for peer, environment in PEERS.items():
        variables[f"MSPROBE_{peer.replace('.', '_')}"] = str(environment / "bin" / "python")
    command = [str(PYTHON), "-m", "pytest", "-q", "-rs", str(HERE)]
    return subprocess.run(command, cwd=ROOT, env=variables, check=False).returncode


def _install() -> str | None:
    """Make the environments; what pip said where one of them could not be made."""
    torch = f"torch=={version('torch').partition('+')[0]}"
    _make(ENVIRONMENT)
    constraints = ["-c", str(ROOT / "constraints.txt")]
    for wanted in ([torch], ["-e", str(ROOT), "pytest"], ["--no-deps", str(ROOT / "shims" / "msprobe")]):
        said = _pip(PYTHON, *constraints, *wanted)
        if said:
            return said
    for names in FRAMEWORKS:
        said = _pip(PYTHON, torch, *names)
        if said:
            print(f"test-frameworks: {' '.join(names)}: left out\n{said[-500:]}")
    for peer, environment in PEERS.items():
        _make(environment)
        said = _pip(environment / "bin" / "python", torch, f"mindstudio-probe=={peer}")
        if said:
            print(f"test-frameworks: mindstudio-probe {peer}: left out\n{said[-500:]}")
    INSTALLED.touch()
    return None


def _make(environment: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(environment)], check=True)


def _pip(python: Path, *wanted: str) -> str:
    """ "" where it was installed, else what pip said."""
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *wanted]
    done = subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    return done.stdout if done.returncode else ""


def _is_current() -> bool:
    made = INSTALLED.stat().st_mtime if INSTALLED.exists() else 0.0
    return made > max(path.stat().st_mtime for path in MADE_FROM)


if __name__ == "__main__":
    sys.exit(main())
