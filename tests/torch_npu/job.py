"""`make test-torch-npu`: the real torch_npu in an environment of its own, over stub CANN libraries.

torch_npu makes `import torch` fail where CANN is missing, so it never goes into the project's environment.  Where there
is no C compiler, or no wheel of torch_npu for this platform, one line says so and the exit status is 0.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
ENVIRONMENT = ROOT / ".venv-torch-npu"
STUB = ENVIRONMENT / "cann_stub"
INSTALLED = ENVIRONMENT / ".installed"
PYTHON = ENVIRONMENT / "bin" / "python"
MADE_FROM = (ROOT / "pyproject.toml", ROOT / "constraints.txt")
NO_WHEEL = "No matching distribution found for torch-npu"


def main() -> int:
    compiler = os.environ.get("CC", "gcc")
    if shutil.which(compiler) is None:
        return skipped(f"there is no C compiler ({compiler}) to build the stub CANN libraries with")
    if not _is_current():
        output = install()
        if output is not None and NO_WHEEL in output:
            return skipped(
                f"PyPI has no torch_npu for {sys.platform} and Python {sys.version_info[0]}.{sys.version_info[1]}"
            )
        if output is not None:
            print(output, file=sys.stderr)
            return 1
    subprocess.run(["sh", str(HERE / "stub" / "build.sh"), str(STUB)], check=True)
    variables = {**os.environ, "CANN_STUB": str(STUB)}
    return subprocess.run([str(PYTHON), "-m", "pytest", str(HERE)], cwd=ROOT, env=variables, check=False).returncode


def skipped(why: str) -> int:
    print(f"test-torch-npu: skipped, {why}")
    return 0


def install() -> str | None:
    """Make the environment; what pip said where it failed."""
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(ENVIRONMENT)], check=True)
    for wanted in (["torch"], ["-e", f"{ROOT}[npu]", "pytest"]):
        command = [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        command += ["-c", str(ROOT / "constraints.txt"), *wanted]
        done = subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        if done.returncode:
            return done.stdout
    INSTALLED.touch()
    return None


def _is_current() -> bool:
    made = INSTALLED.stat().st_mtime if INSTALLED.exists() else 0.0
    return made > max(path.stat().st_mtime for path in MADE_FROM)


if __name__ == "__main__":
    sys.exit(main())
