"""The same faults through msprobe: its own recordings, its own comparison, what it names first.

8.3.3 is the last release with an advisor, 26.2.0 has a first-difference analysis (`compare -da`).  Both name one call
at most.  A fault of the simulated NPU, which msprobe cannot record, becomes the same fault in a kernel of the CPU.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.localisation.events import Event
from benchmarks.localisation.judging import Named, Verdict
from benchmarks.localisation.recording import STEPS
from benchmarks.localisation.rows import Case, Kernel, Side
from benchmarks.localisation.running import ROOT, Work, events_of
from benchmarks.localisation.scoring import Outcome, right_names, score

WORKER = Path(__file__).with_name("peer_worker.py")
# What an advisor of msprobe's calls a row: the call, then the argument.
_ROW = re.compile(r"(?P<call>.+?\.(?:forward|backward)(?:\.\d+)?)\.(?P<side>input|output|parameters)\b")
_RANDOM = re.compile(r"\.(dropout|rand\w*|bernoulli|multinomial)\.")
AS_KERNEL = {"bf16": "bf16", "fp16": "fp16", "scale": "scale", "nan": "nan", "zero_tail": "last_tile"}


@dataclass(frozen=True, slots=True)
class Peer:
    """One release of msprobe, and how it is asked.  `python` is an interpreter that has it."""

    name: str
    how: str
    python: Path


def as_cpu(side: Side) -> Side | None:
    """The side with the simulated NPU's faults in kernels of the CPU; None where there is no such thing."""
    if side.simulated is None:
        return side
    if not side.simulated:
        return None
    from dump.sim.faults import Fault

    faults = [Fault.parse(spec) for spec in side.simulated]
    kernels = tuple(
        Kernel(f.op, AS_KERNEL[f.kind], f.value or 0.0, None if f.call is None else (f.call,)) for f in faults
    )
    return replace(side, simulated=None, kernels=kernels)


def is_for_peers(case: Case) -> bool:
    """Not for msprobe: a healthy simulated NPU, and what `acc dump` itself sets."""
    return as_cpu(case.npu) is not None and not case.npu.flags


def run_peer(peer: Peer, todo: Sequence[Work], *, workers: int) -> list[Outcome]:
    """Record and compare with msprobe what has not been yet; the outcomes."""
    chosen = [work for work in todo if work.level == "L1" and is_for_peers(work.case)]
    root = chosen[0].out / peer.name if chosen else Path()
    recordings: dict[Path, dict[str, Any]] = {}
    for work in chosen:
        for side in (work.case.npu, work.case.bench):
            folder = _folder(root, work, side)
            recordings[folder] = {
                "record": str(folder),
                "script": str(work.recording(side).script),
                "task": work.task,
                "side": asdict(as_cpu(side) or side),
            }
    _work_off(peer, [job for folder, job in recordings.items() if not (folder / "done").exists()], root, workers)
    for step in range(STEPS):  # a later one only where the earlier ones name nobody
        _work_off(peer, _comparisons(peer, root, chosen, step), root, workers)
    return [_outcome(peer, root, work) for work in chosen]


def _comparisons(peer: Peer, root: Path, works: Sequence[Work], step: int) -> list[dict[str, Any]]:
    jobs = []
    for work in works:
        out = _compared(root, work, step)
        sides = [_folder(root, work, side) / "dump" / f"step{step}" for side in (work.case.npu, work.case.bench)]
        if (out / "done").exists() or not all(path.is_dir() for path in sides):
            continue
        if not any(_named(peer, _compared(root, work, earlier), earlier) for earlier in range(step)):
            jobs.append({"compare": str(out), "npu": str(sides[0]), "bench": str(sides[1]), "how": peer.how})
    return jobs


def _named(peer: Peer, out: Path, step: int) -> list[Named]:
    return _advised(out, step) if peer.how == "advisor" else _first_differences(out, step)


def _work_off(peer: Peer, jobs: Sequence[Mapping[str, Any]], root: Path, workers: int) -> None:
    import shutil

    if not jobs:
        return
    for job in jobs:
        shutil.rmtree(job.get("record") or job["compare"], ignore_errors=True)
    root.mkdir(parents=True, exist_ok=True)
    listed = root / "jobs.json"
    listed.write_text(json.dumps(jobs), encoding="utf-8")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run(
        [str(peer.python), str(WORKER), str(listed), str(workers)], env=environment, cwd=root, check=True, text=True
    )


def _folder(root: Path, work: Work, side: Side) -> Path:
    return root / "dumps" / work.recording(side).folder.relative_to(work.out / "dumps")


def _compared(root: Path, work: Work, step: int) -> Path:
    return root / "compared" / work.case.name / work.mode / f"step{step}"


def _outcome(peer: Peer, root: Path, work: Work) -> Outcome:
    sides = (work.case.npu, work.case.bench)
    events = events_of(work)
    missing = [side for side in sides if not (_folder(root, work, side) / "done").exists()]
    verdict = Verdict(error="msprobe could not record this") if missing else read_peer(peer, root, work)
    right = right_names(work.case, *events)
    verdict = replace(verdict, suspects=tuple(credited(named, work.case, right) for named in verdict.suspects))
    place, unsound = score(work.case, verdict, *events)
    return Outcome(
        case=work.case.name,
        task=work.task,
        level=work.level,
        place=place,
        suspects=verdict.suspects,
        expected=tuple(dict.fromkeys(event.name for event in right)) or work.case.kinds,
        unsound=unsound,
        healthy=work.case.is_healthy,
    )


def credited(named: Named, case: Case, right: Sequence[Event]) -> Named:
    """What msprobe names, as far as it can be right without telling a kind.

    A random operator where a random operator is the answer; a call of the script's wrong line, whichever of its
    arguments is named; within an optimizer, which it records operator by operator, the operator that is wrong.
    """
    if case.answer == "kind" and _RANDOM.search(named.name):
        return replace(named, kind="random")
    if case.answer == "marked":
        return replace(named, kind="")
    for event in right:
        operator = event.what.removeprefix("aten::").partition(".")[0]
        if event.name.startswith("Optimizer.") and f".{operator}." in named.name and named.step == event.step:
            return replace(named, name=event.name)
    return named


def read_peer(peer: Peer, root: Path, work: Work) -> Verdict:
    """What msprobe names in the first step in which it names anything."""
    for step in range(STEPS):
        out = _compared(root, work, step)
        if not (out / "done").exists():
            log = out / "log.txt"
            told = log.read_text(encoding="utf-8", errors="replace")[-200:] if log.is_file() else "no dump of this step"
            return Verdict(error=f"msprobe could not compare step {step}: {told}")
        found = _named(peer, out, step)
        if found:
            return Verdict(tuple(found))
    return Verdict()


def _advised(out: Path, step: int) -> list[Named]:
    """`Suspect Nodes: Functional.gelu.0.forward.output.0` in the summary of each rank."""
    found = []
    for path in sorted(out.glob("rank*/advisor_*.txt")):
        rank = int(path.parent.name.removeprefix("rank"))
        for line in path.read_text(encoding="utf-8").splitlines():
            row = _ROW.match(line.removeprefix("Suspect Nodes: ")) if line.startswith("Suspect Nodes: ") else None
            if row is not None:
                kind = "" if row["side"] == "output" else "input"
                found.append(Named(row["call"], kind, step, rank))
    return found


def _first_differences(out: Path, step: int) -> list[Named]:
    return [
        Named(node["op_name"], "", step, int(rank.removeprefix("rank_")))
        for path in sorted(out.glob("diff_analyze_*.json"))
        for rank, nodes in json.loads(path.read_bytes()).items()
        for node in nodes
    ]


def peer_version(peer: Peer) -> str:
    """The release in that interpreter.  Raises subprocess.CalledProcessError where there is none."""
    code = "import importlib.metadata as m; print(m.version('mindstudio-probe'))"
    done = subprocess.run([str(peer.python), "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()
