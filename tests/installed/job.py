"""`make dist` and `make test-lowest`: the tests of the command line from an installed wheel, not from the tree.

    python tests/installed/job.py             build sdist and wheel into dist/; run with what constraints.txt says
    python tests/installed/job.py --lowest    the same wheel with the lowest release of each dependency

The environment is made anew each time.  torch comes from the environment of this Python, which stands last on its path:
what the wheel needs beside it is installed where it is wanted lower, and found there otherwise.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import tomllib

ROOT = Path(__file__).resolve().parents[2]
DIST = ROOT / "dist"
TAKEN_ALONG = ("tests", "examples", "sample_dumps", "pyproject.toml")
"""What the tests need beside the installed packages."""

CHOSEN = (
    "tests/dump/cli/test_command.py", "tests/dump/cli/test_environment_command.py", "tests/dump/cli/test_starting.py",
    "tests/end_to_end/test_first_contact.py", "tests/end_to_end/test_compare_command.py",
    "tests/end_to_end/test_report_command.py", "tests/end_to_end/test_round_trip.py",
    "tests/end_to_end/test_monitor_command.py",
)  # fmt: skip
"""The command line: what prints, parses and writes files, which is where releases of dependencies differ."""

_OF_THAT_TIME = ("click<8.3",)
"""What the lowest releases need in turn, as it was then: today's click warns of what typer 0.16 imports."""

_LOWER_BOUND = re.compile(r"^([A-Za-z0-9_.-]+)>=([0-9.]+)$")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lowest", action="store_true", help="with the lowest release of each dependency but torch")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        wheel = build(Path(folder) / "builder")
        python = environment(Path(folder) / "env", lowest_of(ROOT / "pyproject.toml") if options.lowest else ())
        before = versions(python)
        # With its dependencies: where torch is there, nothing else may come or go.
        pip(python, "install", "--no-deps" if options.lowest else "--no-index", str(wheel))
        after = versions(python)
        changed = {name for name in before | after if before.get(name) != after.get(name)} - {"acc-compare"}
        if changed:
            print(f"installing the wheel changed {', '.join(sorted(changed))}", file=sys.stderr)
            return 1
        return run(python, Path(folder) / "tree")


def build(builder: Path) -> Path:
    """The sdist, and the wheel that is made from it."""
    shutil.rmtree(DIST, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(builder)], check=True)
    python = builder / "bin" / "python"
    pip(python, "install", "build")
    command = [str(python), "-m", "build", "--quiet", "--outdir", str(DIST), str(ROOT)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    (wheel,) = DIST.glob("*.whl")
    return wheel


def environment(folder: Path, wanted: Sequence[str]) -> Path:
    """A new environment with `wanted`, in which all else is found that this Python has; its Python."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = folder / "bin" / "python"
    pip(python, "uninstall", "--yes", "setuptools")  # what a new environment has of it, torch has newer
    if wanted:
        pip(python, "install", "--no-compile", *wanted)
    (own,) = folder.glob("lib/python*/site-packages")
    (own / "zz_last.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return python


def lowest_of(project: Path) -> list[str]:
    """`numpy==1.26` for `numpy>=1.26`: every dependency, and what the tests need, but torch itself."""
    table = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
    groups = table["optional-dependencies"]
    wanted = [*table["dependencies"], *(groups[name] for name in ("monitor", "parquet", "test"))]
    return [*sorted(_lowest(wanted)), *_OF_THAT_TIME]


def _lowest(wanted: Iterable[str | list[str]]) -> set[str]:
    found: set[str] = set()
    for each in wanted:
        if isinstance(each, list):
            found |= _lowest(each)
        elif (bound := _LOWER_BOUND.match(each)) is not None and bound[1] != "torch":
            found.add(f"{bound[1]}=={bound[2]}")
    return found


def versions(python: Path) -> dict[str, str]:
    """Every distribution that `python` finds, with its version: the one that is found first."""
    listed = "\n".join([
        "import importlib.metadata as m, json",
        "found = {}",
        "for d in m.distributions(): found.setdefault(d.metadata['Name'], d.version)",
        "print(json.dumps(found))",
    ])  # fmt: skip
    done = subprocess.run([str(python), "-c", listed], check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, str] = json.loads(done.stdout)
    return found


def pip(python: Path, *arguments: str) -> None:
    command = [str(python), "-m", "pip", arguments[0], "--quiet", "--disable-pip-version-check", *arguments[1:]]
    subprocess.run(command, check=True)


def run(python: Path, tree: Path) -> int:
    """The chosen tests in a copy of the tree without the packages."""
    tree.mkdir()
    for name in TAKEN_ALONG:
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tree / name)
    where = "import acc_compare, dump; print(acc_compare.__file__, dump.__file__)"
    found = subprocess.run([str(python), "-c", where], cwd=tree, check=True, stdout=subprocess.PIPE, text=True).stdout
    if not all(path.startswith(str(python.parents[1])) for path in found.split()):
        print(f"the packages come from elsewhere: {found}", file=sys.stderr)
        return 1
    told = [f"{name} {version}" for name, version in sorted(versions(python).items()) if name in _TOLD]
    print(f"the command line from the wheel, Python {sys.version.split()[0]}: {', '.join(told)}", flush=True)
    command = [str(python), "-m", "pytest", "-q", "-m", "not slow", *CHOSEN]
    return subprocess.run(command, cwd=tree, check=False).returncode


_TOLD = frozenset("torch numpy pandas openpyxl typer rich msgspec safetensors PyYAML ml_dtypes ml-dtypes".split())


if __name__ == "__main__":
    sys.exit(main())
