"""Is a healthy operator ever accused, and one at fault let pass?  Every operator of torch's own list, for real.

    python benchmarks/operators/run.py              the whole matrix, some minutes on one core
    python benchmarks/operators/run.py --sampled    one operator of a dozen, a few seconds
    python benchmarks/operators/run.py --only sigmoid

Each case is a call in one spelling (function, method, in place, dunder, out=) and dtype, on samples that torch tests
itself on.  One side runs it as it is, the other in the next wider type, rounded at the end, on inputs that agree or are
off by 1e-6, 1e-4 or 1e-2; both are recorded and compared.  Then its result is put off by fifty times what would be
improbable.  Exits with 1 where a healthy call is accused for no known reason, or a fault that could be seen is not.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import zlib
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path[0] = str(ROOT)

import torch  # noqa: E402

from benchmarks.operators.cases import operator_list  # noqa: E402
from benchmarks.operators.matrix import SAMPLED, WHOLE, Figures, as_json, run, table, totals  # noqa: E402

_ONE_OF = 16


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sampled", action="store_true", help=f"one operator of {_ONE_OF}, and fewer dtypes")
    parser.add_argument("--only", metavar="WORD", help="operators whose name has this in it")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the figures there")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    entries = operator_list()
    if options.only:
        entries = [entry for entry in entries if options.only in entry.name]
    if options.sampled:
        entries = [entry for entry in entries if zlib.crc32(entry.name.encode()) % _ONE_OF == 0]
    figures: list[Figures] = []
    with tempfile.TemporaryDirectory() as folder:
        for found in run(entries, SAMPLED if options.sampled else WHOLE, Path(folder)):
            figures.append(found)
            for line in found.accused:
                print(f"ACCUSED {found.dtype} off {found.off:g}: {line}")
            for line in found.missed:
                print(f"MISSED {found.dtype} off {found.off:g}: {line}")
    print(table(figures))
    print("; ".join(f"{name} {number}" for name, number in totals(figures).items()))
    if options.json is not None:
        options.json.write_text(as_json(figures), encoding="utf-8")
    return 1 if any(found.accused or found.missed for found in figures) else 0


if __name__ == "__main__":
    sys.exit(main())
