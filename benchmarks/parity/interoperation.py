"""Each tool reads the other's dumps: `acc compare` on msprobe's, `msprobe compare` on ours."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.parity.records import Calls
from benchmarks.parity.running import Recorder, run

_ABSENT = ("N/A", "")


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was tried: what it is, what came of it, and the complaints ([] where it went as it must)."""

    name: str
    outcome: str
    complaints: tuple[str, ...] = ()


def acc_compare(recorder: Recorder, npu: Path, bench: Path, out: Path, *, name: str) -> Check:
    """`acc compare` of two dumps of the same run: no suspect, and `same` with exit code 0; or, since msprobe records
    what an optimizer does inside as hundreds of calls, `incomplete` with 2 for want of their counterparts."""
    code = "import sys; from acc_compare.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [str(recorder.python), "-c", code, "compare", str(npu), str(bench), "-o", str(out)]
    out.mkdir(parents=True, exist_ok=True)
    done = run(command, recorder.environment, cwd=out)
    found = sorted(out.glob("accuracy_compare/advisor_*.json"))
    if not found:
        return Check(name, f"exit code {done.returncode}", (done.stdout.strip()[-500:],))
    advisor = json.loads(found[-1].read_bytes())
    compared, verdict = advisor["compared"], advisor["verdict"]
    outcome = f"{verdict}, exit code {done.returncode}; {compared['calls']} calls, {compared['tensors']} tensors"
    complaints = [f"suspect: {suspect['name']}: {suspect['message']}" for suspect in advisor["suspects"]]
    if (verdict, done.returncode) not in {("same", 0), ("incomplete", 2)} and not complaints:
        complaints.append(done.stdout.strip()[-500:])
    return Check(name, outcome, tuple(complaints))


def msprobe_compare(
    recorder: Recorder, target: Path, golden: Path, out: Path, *, name: str, calls: Calls, golden_is_ours: bool
) -> Check:
    """`msprobe compare` with a dump of ours as target: exit code 0, one row for each of our arguments, and no row in
    error but where msprobe's own record differs (`table_complaints`)."""
    out.mkdir(parents=True, exist_ok=True)
    command = [str(recorder.python), "-m", "msprobe.msprobe", "compare"]
    command += ["-tp", str(target), "-gp", str(golden), "-o", str(out)]
    done = run(command, recorder.environment, cwd=out)
    tables = sorted(out.glob("compare_result_*.csv"))
    if done.returncode or not tables:
        said = [line.partition("[ERROR]")[2].strip() for line in done.stdout.splitlines()]
        wrong = [line for line in said if line and "CANN" not in line][:1]
        return Check(name, f"exit code {done.returncode}, {len(tables)} tables", tuple(wrong or [done.stdout[-500:]]))
    with tables[-1].open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    results = Counter(row["Result"] for row in rows)
    matched = sum(row["Bench Name"] not in _ABSENT for row in rows)
    counts = ", ".join(f"{number} {result}" for result, number in sorted(results.items()))
    outcome = f"exit code 0; {len(rows)} rows, {matched} matched: {counts}"
    return Check(name, outcome, table_complaints(rows, calls, golden_is_ours=golden_is_ours))


def table_complaints(rows: Sequence[Mapping[str, str]], calls: Calls, *, golden_is_ours: bool) -> tuple[str, ...]:
    """What is wrong with a table of msprobe's about our calls: names missing, names twice, rows in error.

    Against a dump of msprobe's own, the outputs of API backward calls may be in error: they are other gradients
    there (`known.DIFFERENCES`).
    """
    names = Counter(row["NPU Name"] for row in rows)
    wanted = [call for call, arguments in calls.items() if arguments]
    missing = _calls_without_rows(wanted, names)
    twice = [name for name, number in names.items() if number > 1 and name not in _ABSENT]
    errors = [
        f"{row['NPU Name']}: {row['Err_message']}"
        for row in rows
        if row["Result"] == "error"
        and row["Bench Name"] not in _ABSENT
        and (golden_is_ours or ".backward.output." not in row["NPU Name"])
    ]
    return (
        *_some("calls without a row", missing),
        *_some("names with more than one row", twice),
        *_some("rows in error", errors),
    )


def _calls_without_rows(calls: Sequence[str], names: Collection[str]) -> list[str]:
    starts = {name[: len(call)] for call in calls for name in names if name.startswith(f"{call}.")}
    return [call for call in calls if call not in starts]


def _some(what: str, found: Sequence[str]) -> tuple[str, ...]:
    return (f"{len(found)} {what}, such as {found[0]}",) if found else ()
