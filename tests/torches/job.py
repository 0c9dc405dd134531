"""`make test-torches` and `make test-newest`: the tests under other releases of torch than the one of constraints.txt.

    python tests/torches/job.py 2.7.1 2.1.2@3.10     an environment for each, one at a time, removed after
    python tests/torches/job.py --again 2.7.1        only what failed the last time
    python tests/torches/job.py --newest             a chosen set of quick tests under NEWEST, kept installed
    python tests/torches/job.py --page               docs/compatibility.md anew from what was seen so far

What a run saw is kept in `results/VERSION.json`; docs/compatibility.md is written from these files.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE))

from page import RESULTS, Seen, node_of, outcome_of, read, repeated, write_page  # noqa: E402

NEWEST = "2.14.1"
VERSIONS = ("2.14.1@3.13", "2.13.0", "2.11.0@3.13", "2.9.1", "2.7.1", "2.6.0", "2.4.1@3.12", "2.1.2@3.10")
"""Releases of torch, each with the Python that it is run with: this one where none is named."""

ENVIRONMENTS = ROOT / ".torches"
WHOLE = ("tests/dump", "tests/end_to_end", "tests/test_sample_dumps.py")
BIT_FOR_BIT = (
    "tests/end_to_end/test_dump_neutral.py", "tests/end_to_end/test_situations.py",
    "tests/end_to_end/test_rank_situations.py", "tests/end_to_end/test_accelerator_script.py",
)  # fmt: skip
"""Files of which the slow tests are run with `--quick` too: recorded or not, a run is the same."""
CHOSEN = (
    "tests/dump/intercept", "tests/dump/redirect", "tests/dump/test_session.py", "tests/dump/test_torch_internals.py",
    "tests/dump/sim/test_kernels.py", "tests/end_to_end/test_accelerator_script.py",
    "tests/end_to_end/test_dump_neutral.py",
)  # fmt: skip
"""What `--newest` runs: everything that rests on torch's own parts, and the runs that must not change by a bit."""

_ROOM = 10_000_000_000
"""What a release of torch with the libraries of its GPUs takes on the disk, in bytes, with room to unpack it."""

RAN = (0, 1)
"""pytest's exit status where tests passed, and where some failed: most others say that they were not run."""
NO_TESTS = 5
"""pytest's exit status where nothing was chosen."""

_NO_WHEEL = "No matching distribution found for torch=="


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("versions", nargs="*", help=f"releases of torch, @ Python ({' '.join(VERSIONS)})")
    parser.add_argument("--again", action="store_true", help="run only what failed when this torch was run last")
    parser.add_argument("--newest", action="store_true", help=f"torch {NEWEST} alone, a chosen set, nothing written")
    parser.add_argument("--page", action="store_true", help="only write docs/compatibility.md anew")
    parser.add_argument("--quick", action="store_true", help="without slow tests, but for those of BIT_FOR_BIT")
    parser.add_argument("--paths", nargs="+", default=WHOLE, help="which tests (all that rest on torch)")
    parser.add_argument("--keep", action="store_true", help="keep the environments")
    parser.add_argument("--python", type=Path, help="use this Python, which has torch already, and install nothing")
    options = parser.parse_args()
    if options.page:
        write_page()
        return 0
    if options.newest:
        return _newest()
    status = 0
    for wanted in options.versions or VERSIONS:
        version, _, minor = wanted.partition("@")
        python = options.python
        environment = ENVIRONMENTS / version
        if python is None:
            python, output = install(version, environment, interpreter(minor))
            if output:
                print(output, file=sys.stderr)
                status = 1
                continue
        seen = again(python, kept(version)) if options.again else run(python, options.paths, quick=options.quick)
        if options.python is None and not options.keep:
            shutil.rmtree(environment)
        RESULTS.mkdir(exist_ok=True)
        seen.save()
        write_page()
        print(f"test-torches: torch {seen.torch}: {seen.passed} passed, {len(seen.failed)} failed")
        status = status or int(bool(seen.failed))
    return status


def _newest() -> int:
    environment = ROOT / ".venv-newest"
    ready = environment / ".installed"
    if not ready.exists() or ready.read_text() != NEWEST:
        free = shutil.disk_usage(ROOT).free
        if free < _ROOM:
            print(f"test-newest: skipped, torch {NEWEST} takes {_ROOM / 1e9:.0f} GB and {free / 1e9:.1f} GB are free")
            return 0
        _, output = install(NEWEST, environment)
        if _NO_WHEEL in output:
            print(f"test-newest: skipped, there is no torch {NEWEST} for {sys.platform} and this Python")
            return 0
        if output:
            print(output, file=sys.stderr)
            return 1
        ready.write_text(NEWEST)
    command = [str(environment / "bin" / "python"), "-m", "pytest", "-q", "-m", "not slow", *CHOSEN]
    return subprocess.run(command, cwd=ROOT, env=_variables(), check=False).returncode


def interpreter(minor: str) -> str:
    """The Python of a minor release ("3.12") on this machine; this one for ""."""
    if not minor:
        return sys.executable
    found = shutil.which(f"python{minor}")
    if found is None:
        raise SystemExit(f"test-torches: there is no python{minor} on PATH")
    return found


def install(version: str, environment: Path, interpreter: str = sys.executable) -> tuple[Path, str]:
    """An environment with that torch and what the tests need; its Python, and what pip said where it failed."""
    subprocess.run([interpreter, "-m", "venv", "--clear", str(environment)], check=True)
    python = environment / "bin" / "python"
    with tempfile.TemporaryDirectory() as folder:
        pins = Path(folder) / "constraints.txt"
        pins.write_text("\n".join(constraints(version)) + "\n", encoding="utf-8")
        for wanted in ([f"torch=={version}"], ["numpy", *_needed()]):
            command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-cache-dir"]
            command.append("--no-compile")  # of the thousands of files of torch a run needs a tenth
            done = subprocess.run(
                [*command, "-c", str(pins), *wanted],
                text=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                check=False,
            )
            if done.returncode:
                return python, done.stdout
    return python, ""


def constraints(version: str) -> list[str]:
    """constraints.txt for another torch: without torch's own line, and with a numpy that this torch can use."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines if line and not line.startswith(("#", "torch"))]
    if _minor(version) >= (2, 3):
        return kept
    older = ("numpy==", "pandas==", "scipy==", "ml_dtypes==", "matplotlib==", "tensorboard==", "pyarrow==")
    return [*(line for line in kept if not line.startswith(older)), "numpy<2"]  # built against numpy 1


def _minor(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2])


def _needed() -> list[str]:
    """The packages of constraints.txt that the tests import, by name."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    names = [line.partition("==")[0] for line in lines if "==" in line]
    others = ("torch", "mkdocs", "ruff", "mypy", "numpy")
    return [name for name in names if not name.startswith(others)]


def run(python: Path, paths: Sequence[str], *, quick: bool) -> Seen:
    """The tests in `paths` and a small recording, under `python`."""
    with tempfile.TemporaryDirectory() as folder:
        reports = []
        for part in parts(paths, quick=quick):
            reports.append(Path(folder) / f"report_{len(reports)}.xml")
            command = [str(python), "-m", "pytest", "-q", f"--junitxml={reports[-1]}", *part]
            done = subprocess.run(command, cwd=ROOT, env=_variables(), check=False)
            if done.returncode not in (*RAN, NO_TESTS):
                raise SystemExit(f"test-torches: pytest ended with status {done.returncode}")
        probe = subprocess.run(
            [str(python), str(HERE / "probe.py"), folder],
            cwd=ROOT,
            env=_variables(),
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        return outcome_of(
            reports, json.loads(probe.stdout), paths=paths, quick=quick, slow_too=slow_too(paths) if quick else ()
        )


def parts(paths: Sequence[str], *, quick: bool) -> list[list[str]]:
    """What each pytest is given: a folder with folders of tests is run a folder at a time, since a recording searches
    the process for early-bound names, which takes the longer the more tests are collected."""
    marks, found = ["-m", "not slow"] if quick else [], []
    for path in paths:
        within = sorted({str(test.parent.relative_to(ROOT)) for test in (ROOT / path).glob("*/test_*.py")})
        found += [[folder, *marks] for folder in within]
        found.append([path, *marks, *(f"--ignore={folder}" for folder in within)])
    if quick:
        found += [[file, "-m", "slow"] for file in slow_too(paths)]
    return found


def slow_too(paths: Sequence[str]) -> list[str]:
    """The files of BIT_FOR_BIT that lie in `paths`."""
    return [file for file in BIT_FOR_BIT if any(Path(file).is_relative_to(path) for path in paths)]


def again(python: Path, before: Seen) -> Seen:
    """`before`, with what failed in it run again."""
    if not before.failed:
        return before
    wanted = [node_of(name) for name in before.failed]
    still = set(collected(python, sorted({node.partition("::")[0] for node in wanted})))
    nodes = [node for node in wanted if node in still]
    if not nodes:
        raise SystemExit("test-torches: none of the tests that failed is there any more; run the whole")
    return repeated(before, run(python, nodes, quick=False))


def collected(python: Path, files: Sequence[str]) -> list[str]:
    """Every test in `files`, as pytest names it under that Python; a file that is gone has none."""
    present = [file for file in files if (ROOT / file).exists()]
    command = [str(python), "-m", "pytest", "--collect-only", *present]  # pyproject.toml says -q
    done = subprocess.run(command, cwd=ROOT, env=_variables(), stdout=subprocess.PIPE, text=True, check=False)
    return done.stdout.splitlines()


def kept(version: str) -> Seen:
    """What the last run under that torch saw."""
    for seen in read():
        if seen.torch.partition("+")[0] == version:
            return seen
    raise SystemExit(f"test-torches: torch {version} was not run yet")


def _variables() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


if __name__ == "__main__":
    sys.exit(main())
