"""What a recording survives: kills, signals, full disks and the rest, each made to happen.

    python benchmarks/reliability/run.py [--kills 200] [--only CASE ...] [--output docs/reliability.md]

Prints the table; writes it to docs/reliability.md where all cases ran.  Exits with 1 where one was not as promised.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path[0] = str(ROOT)

from benchmarks.reliability.cases import CASES, Row, Setting, undisturbed  # noqa: E402
from benchmarks.reliability.table import page  # noqa: E402


def run(names: Sequence[str], *, kills: int) -> list[Row]:
    """The lines of these cases, each in a folder of its own."""
    rows: list[Row] = []
    losses = undisturbed()
    for name in names:
        print(f"{name} ...", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(prefix="acc_reliability_") as folder:
            rows += CASES[name](Setting(Path(folder), kills, losses))
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200, help="how many, in each mode")
    parser.add_argument("--only", nargs="+", choices=CASES, metavar="CASE", help=f"of {', '.join(CASES)}")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "reliability.md")
    chosen = parser.parse_args()
    began = time.monotonic()
    rows = run(chosen.only or list(CASES), kills=chosen.kills)
    text = page(rows, seconds=time.monotonic() - began)
    print(text)
    if not chosen.only:
        chosen.output.write_text(text, encoding="utf-8")
    return 1 if any(row.failure for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
