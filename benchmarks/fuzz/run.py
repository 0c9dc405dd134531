"""Hostile dumps: damaged and forged files given to `acc compare`, each in a process that watches what it does.

    python benchmarks/fuzz/run.py [--cases 10000] [--seed 0] [--jobs 2] [--results]

Every case is a pair of sample dumps of which one file was changed, or a mapping file.  A case is held where the command
ends with a verdict (exit code 0 or 1) or with one line on stderr (exit code 2), within its time and memory, without
reading a file outside the dump, writing outside the output, running a program or opening a connection.  Prints how many
were tried and held; exits with 1 where one was not.  `--results` writes RESULTS.md.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
if __name__ == "__main__":
    sys.path[0] = str(ROOT)

from benchmarks.fuzz.bounds import MEMORY, SECONDS  # noqa: E402
from benchmarks.fuzz.mutations import KINDS  # noqa: E402

_BATCH = 250


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one case; `failure` is empty where it held."""

    kind: str
    seed: int
    ending: str
    failure: str


def run(cases: int, *, seed: int, jobs: int) -> list[Outcome]:
    """Try `cases` cases, numbered from `seed`, in processes of their own."""
    starts = range(seed, seed + cases, _BATCH)
    with ThreadPoolExecutor(jobs) as pool:
        batches = pool.map(lambda start: list(_batch(start, min(_BATCH, seed + cases - start))), starts)
        outcomes: list[Outcome] = []
        for batch in batches:
            outcomes += batch
            if sys.stderr.isatty():
                bad = sum(bool(outcome.failure) for outcome in outcomes)
                print(f"\r{len(outcomes):,} of {cases:,} tried, {bad} not held", end="", file=sys.stderr, flush=True)
        return outcomes


def _batch(start: int, count: int) -> Iterator[Outcome]:
    """The outcomes of some cases; a process that died is a failure of the case it was at, and the rest goes on."""
    while count:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "benchmarks.fuzz.worker", folder, str(start), str(count)]
            limit = 30 + SECONDS * 2 + count
            try:
                ran = subprocess.run(
                    command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=limit, errors="replace"
                )
                said = ran.stderr.strip().splitlines()
                printed, code = ran.stdout, f"{ran.returncode}: {said[-1] if said else ''}"
            except subprocess.TimeoutExpired as stopped:
                output = stopped.stdout or b""
                printed, code = output.decode(errors="replace") if isinstance(output, bytes) else output, "no end"
        done = 0
        for line in printed.splitlines():
            if line.startswith("{"):
                yield Outcome(**json.loads(line))
                done += 1
        if done < count:
            yield Outcome(KINDS[(start + done) % len(KINDS)], start + done, "died", f"the process ended with {code}")
            done += 1
        start, count = start + done, count - done


def report(outcomes: list[Outcome], seconds: float) -> str:
    """What was tried and what became of it, as Markdown."""
    failed = [outcome for outcome in outcomes if outcome.failure]
    lines = [
        f"{len(outcomes):,} cases tried, {len(outcomes) - len(failed):,} held, {len(failed):,} did not"
        f" ({seconds:.0f} s; Python {platform.python_version()}, {platform.system()} {platform.machine()};"
        f" bounds {SECONDS} s and {MEMORY >> 20} MiB a case).",
        "",
        "| file changed | tried | a verdict | one clear error | not held |",
        "|---|---|---|---|---|",
    ]
    for kind in KINDS:
        mine = [outcome for outcome in outcomes if outcome.kind == kind]
        endings = Counter(outcome.ending for outcome in mine if not outcome.failure)
        bad = sum(bool(outcome.failure) for outcome in mine)
        lines.append(f"| {kind} | {len(mine)} | {endings['verdict']} | {endings['error']} | {bad} |")
    lines += [f"- seed {outcome.seed}, {outcome.kind}: {outcome.failure}" for outcome in failed[:20]]
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--results", action="store_true", help="write RESULTS.md")
    chosen = parser.parse_args()
    began = time.monotonic()
    outcomes = run(chosen.cases, seed=chosen.seed, jobs=chosen.jobs)
    text = report(outcomes, time.monotonic() - began)
    print(text)
    if chosen.results:
        (HERE / "RESULTS.md").write_text(f"# Hostile dumps\n\nWritten by `make fuzz`.\n\n{text}", encoding="utf-8")
    return 1 if any(outcome.failure for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
