"""A quick part of `make fuzz`, and the watch that it keeps."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.fuzz.mutations import KINDS, prepare
from benchmarks.fuzz.run import Outcome, report, run

ROOT = Path(__file__).resolve().parents[2]


def test_hostile_dumps_end_in_a_verdict_or_one_clear_error() -> None:
    outcomes = run(24, seed=0, jobs=1)
    assert [outcome for outcome in outcomes if outcome.failure] == []
    assert {outcome.kind for outcome in outcomes} == set(KINDS)
    assert {outcome.ending for outcome in outcomes} == {"verdict", "error"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_case_is_the_same_for_the_same_seed(kind: str, tmp_path: Path) -> None:
    def contents(name: str) -> dict[str, bytes]:
        prepare(kind, 7, tmp_path / name)
        root = tmp_path / name
        return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}

    assert contents("one") == contents("two")


@pytest.mark.parametrize(
    ("act", "failure"),
    [
        ("open('/etc/passwd').close()", "read /etc/passwd"),
        ("open('/var/tmp/acc_fuzz_probe', 'w').close()", "wrote /var/tmp"),
        ("__import__('os').system('true')", "os.system"),
        ("__import__('subprocess').run(['true'])", "subprocess.Popen"),
        ("[0] * (1 << 30)", "MemoryError"),
        ("1 / 0", "ZeroDivisionError"),
        ("__import__('time').sleep(30)", "no end within 1 s"),
        ("print('two\\nlines', file=__import__('sys').stderr) or 2", "2 lines"),
        ("3", "exit code 3"),
    ],
)
def test_the_watch_notices(act: str, failure: str, tmp_path: Path) -> None:
    """In a process of its own, since an audit hook stays."""
    probe = f"""
import benchmarks.fuzz.worker as worker, pathlib, resource, signal, sys
worker.SECONDS = 1
watching = worker._Watching()
sys.addaudithook(watching)
signal.signal(signal.SIGALRM, worker._stop)
used = int(pathlib.Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (512 << 20),) * 2)
print(worker._tried(lambda arguments: {act}, [], watching, pathlib.Path({str(tmp_path)!r})))
"""
    ran = subprocess.run([sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True, check=True)
    assert failure in ran.stdout
    Path("/var/tmp/acc_fuzz_probe").unlink(missing_ok=True)


def test_the_report_counts_what_was_tried() -> None:
    outcomes = [
        Outcome("dump.json", 0, "verdict", ""),
        Outcome("dump.json", 6, "error", ""),
        Outcome("stack.json", 2, "", "Boom"),
    ]
    text = report(outcomes, 1.0)
    assert text.startswith("3 cases tried, 2 held, 1 did not")
    assert "| dump.json | 2 | 1 | 1 | 0 |" in text
    assert "- seed 2, stack.json: Boom" in text
