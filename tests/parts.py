"""The tests in parts, as many at a time as there are cores: `python tests/parts.py -m "not slow"`.

Each part is a pytest of its own, what is given goes to all of them, and a part's output is printed at its end.  Beside
the second core there is a reason in what is tested: to record, the process is searched for early-bound names, which
takes three times as long where all other tests have been collected too.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

TESTS = Path(__file__).resolve().parent
PARTS = (
    ("dump/intercept",),
    ("end_to_end",),
    ("acc_compare",),
    ("dump/cli", "dump/redirect", "dump/environment"),
    ("dump/record", "dump/write", "dump/sim", "dump/format", "dump/monitor"),
    ("benchmarks",),
)
"""The longest first; what stands in none of them is the last part."""
IN_PYTHON = ("dump/record", "dump/monitor/test_sums.py", "acc_compare/metrics", "acc_compare/measured/test_files.py")
"""What has a second way, for an installation without the native core: once more, with that turned off."""
NO_TESTS = 5
"""pytest's exit status where nothing was chosen."""


def commands() -> list[tuple[list[str], dict[str, str]]]:
    """What each part gives to pytest, and what its environment has beside ours."""
    named = [[str(TESTS / folder) for folder in part] for part in PARTS]
    rest = [str(TESTS), *(f"--ignore={folder}" for part in named for folder in part)]
    in_python = [str(TESTS / place) for place in IN_PYTHON]
    return [*((part, {}) for part in (*named, rest)), (in_python, {"ACC_NATIVE": "0"})]


def run(part: Sequence[str], environment: dict[str, str], *, options: Sequence[str]) -> int:
    """The exit status of one part, once its output is printed."""
    start = time.monotonic()
    with tempfile.TemporaryFile("w+", encoding="utf-8") as output:
        command = [sys.executable, "-m", "pytest", *part, *options]
        status = subprocess.run(
            command, cwd=TESTS.parent, env=os.environ | environment, stdout=output, stderr=subprocess.STDOUT
        ).returncode
        output.seek(0)
        places = [os.path.relpath(path, TESTS) for path in part if not path.startswith("-")]
        names = " ".join([*(f"{name}={value}" for name, value in environment.items()), *places])
        print(f"== {names} ({time.monotonic() - start:.0f} s)\n{output.read()}", flush=True)
    return 0 if status == NO_TESTS else status


def main(options: Sequence[str]) -> int:
    """The largest exit status of all parts."""
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        return max(pool.map(lambda part: run(*part, options=options), commands()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
