"""Do users of msprobe get from this project what they had?  The same training script, one import changed.

    python benchmarks/parity/run.py --peer-python PATH      PATH is a python that has mindstudio-probe 26.2.0
    python benchmarks/parity/run.py                         makes such an environment in .peer first

Both record the same run with the same config.json at levels L0, L1 and mix; their dumps are laid side by side, and
each tool compares the other's.  Prints the results, writes them to RESULTS.md, and exits with 1 where a call that
both record differs for a reason that is not known (`known.py`), or one tool fails on the other's dump; with 2 where
something could not be run at all.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path[0] = str(ROOT)

from benchmarks.parity import running  # noqa: E402
from benchmarks.parity.agreement import compare_dumps  # noqa: E402
from benchmarks.parity.interoperation import Check, acc_compare, msprobe_compare  # noqa: E402
from benchmarks.parity.records import Calls, find_dump, read_calls  # noqa: E402
from benchmarks.parity.results import Compared, Results, page  # noqa: E402
from benchmarks.parity.running import ParityError, Recorder, Recording  # noqa: E402

STATISTICS = (
    Recording("L0", "L0"),
    Recording("L1", "L1"),
    Recording("mix", "mix"),
    Recording("L1-all", "L1", top={"risk_level": "ALL"}),
)
TENSOR = Recording("tensor", "mix", task="tensor", section={"file_format": "pt"}, steps=(0,))
# On a CPU, msprobe computes its checksum on another thread from the live tensor, which an operator that writes in
# place may have changed by then: so without such operators.
CHECKSUM = Recording("crc32", "mix", section={"summary_mode": "md5", "hash": "crc32"}, model="text", steps=(0,))
WIDEST = STATISTICS[-1]

Dumps = Mapping[str, tuple[Path, Path]]


def record_all(peer: Recorder, ours: Recorder, work: Path) -> dict[str, tuple[Path, Path]]:
    """(msprobe's dump folder, ours) of every recording, by its name."""
    dumps = {}
    for recording in (*STATISTICS, TENSOR, CHECKSUM):
        print(f"recording {recording.name}", flush=True)
        dumps[recording.name] = (peer.record(recording, work), ours.record(recording, work))
    return dumps


def compare_all(dumps: Dumps) -> list[Compared]:
    """The statistics of both steps of train.py, laid side by side."""
    compared = []
    for step in range(2):
        sides = {
            part.name: tuple(read_calls(find_dump(root, step)) for root in dumps[part.name]) for part in STATISTICS
        }
        widest: Calls = sides[WIDEST.name][0]
        for name, (theirs, ours) in sides.items():
            low_risk = frozenset(widest) - frozenset(theirs)
            compared.append(Compared(f"{name} step {step}", compare_dumps(theirs, ours), low_risk))
    return compared


def check_all(peer: Recorder, ours: Recorder, dumps: Dumps, work: Path) -> list[Check]:
    """Each tool's comparison on the other's dumps."""
    checks: list[Check] = []
    for part in (*STATISTICS[:3], TENSOR, CHECKSUM):
        print(f"comparing {part.name} with acc", flush=True)
        theirs, own = (find_dump(root, 0).parent for root in dumps[part.name])
        for npu, bench, sides in ((theirs, own, "msprobe's against ours"), (own, theirs, "ours against msprobe's")):
            out = work / "acc" / f"{part.name}-{len(checks)}"
            checks.append(acc_compare(ours, npu, bench, out, name=f"acc compare, {part.name}, {sides}"))
    for part in (STATISTICS[2], TENSOR, CHECKSUM):
        print(f"comparing {part.name} with msprobe", flush=True)
        theirs, own = (find_dump(root, 0) for root in dumps[part.name])
        calls = read_calls(own)
        for golden, sides in ((own, "ours against ours"), (theirs, "ours against msprobe's")):
            checks.append(
                msprobe_compare(
                    peer,
                    own.parents[1],
                    golden.parents[1],
                    work / "msprobe" / f"{part.name}-{len(checks)}",
                    name=f"msprobe compare, {part.name}, {sides}",
                    calls=calls,
                    golden_is_ours=golden == own,
                )
            )
    return checks


def evaluate(peer_python: Path, work: Path) -> Results:
    """Record, compare and check everything below `work`.  Raises ParityError."""
    peer, ours = running.peer(peer_python), running.ours()
    versions = {recorder.name: running.versions(recorder, work) for recorder in (peer, ours)}
    torch = {found["torch"].partition("+")[0] for found in versions.values()}
    if len(torch) > 1:
        raise ParityError(f"expected one version of torch on both sides, found {' and '.join(sorted(torch))}")
    dumps = record_all(peer, ours, work)
    return Results(compare_all(dumps), check_all(peer, ours, dumps, work), versions)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-python", type=Path, help="a python that has msprobe")
    parser.add_argument("--results", type=Path, default=Path(__file__).with_name("RESULTS.md"))
    parser.add_argument("--keep", type=Path, help="keep dumps and tables in this new folder")
    options = parser.parse_args(arguments)
    work = options.keep or Path(tempfile.mkdtemp(prefix="parity-"))
    try:
        work.mkdir(parents=True, exist_ok=options.keep is None)
        python = options.peer_python or running.make_peer(ROOT / ".peer")
        results = evaluate(python.absolute(), work.absolute())
    except (ParityError, OSError) as error:
        print(f"parity: error: {error}", file=sys.stderr)
        return 2
    finally:
        if options.keep is None:
            shutil.rmtree(work, ignore_errors=True)
    text = page(results)
    options.results.write_text(text, encoding="utf-8")
    print(text)
    return 1 if results.failures() else 0


if __name__ == "__main__":
    raise SystemExit(main())
