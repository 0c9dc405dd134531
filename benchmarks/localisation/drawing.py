"""Cases drawn from a seed: a model, a precision, other kernels, and a fault in one of them.

A seed decides all of it, so that a seed that nobody has looked at is a case that nothing was mended on.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.localisation.kernels import COPIES, HF32, OPERATORS, PRODUCTS, UPDATES
from benchmarks.localisation.rows import Case, Kernel, Side

REGIMES = ("float32", "hf32", "autocast", "bfloat16", "float16", "float64 bench")
"""What both sides compute in, but for the last, where the bench alone computes in float64."""

EDITS = ("times", "rows", "tail", "features", "spoiled", "shift_up")
OF_UPDATES = "update_times"


@dataclass(frozen=True, slots=True)
class Drawn:
    """Both sides of a seed in good health."""

    seed: int
    regime: str
    npu: Side
    bench: Side

    @property
    def healthy(self) -> Case:
        return Case(f"healthy-{self.seed}", "drawn", self.regime, self.npu, self.bench, None)

    def faulty(self, counts: Mapping[str, int]) -> Case | None:
        """The seed's case with a fault in one of the kernels that ran, `counts` says how often; None of none."""
        draw = random.Random(self.seed * 7919 + 1)
        ran = [operator for operator in (*OPERATORS, *UPDATES) if counts.get(operator)]
        if not ran:
            return None
        operator = draw.choice(ran)
        change = OF_UPDATES if operator in UPDATES else draw.choice(EDITS)
        share = math.exp(draw.uniform(math.log(_LEAST[self.regime]), math.log(0.5))) * draw.choice((1, -1))
        calls = None if draw.random() < 0.25 else (draw.randrange(counts[operator]),)
        kernel = Kernel(operator, change, share, calls)
        npu = Side(self.npu.variables, (*self.npu.kernels, kernel), threads=self.npu.threads, mkldnn=self.npu.mkldnn)
        kinds = ("operator", "nan_inf", "dtype", "optimizer") if operator in UPDATES else ("operator", "nan_inf")
        return Case(f"fault-{self.seed}", "drawn", self.regime, npu, self.bench, "fired", kinds)


_LEAST = {"float32": 1e-6, "hf32": 1e-3, "autocast": 3e-3, "bfloat16": 3e-3, "float16": 1e-3, "float64 bench": 1e-6}
"""The smallest share that a fault of a regime has."""


def drawn(seed: int, *, from_libraries: bool = False) -> Drawn:
    """What `seed` stands for, the same on every machine; `from_libraries` trains other people's models."""
    draw = random.Random(seed)
    regime = REGIMES[draw.choices(range(len(REGIMES)), (2, 1, 3, 3, 1, 1))[0]]
    precision = regime if regime in ("autocast", "bfloat16", "float16") else "float32"
    variables = (("DRAW", str(seed)), ("PRECISION", precision))
    if from_libraries:
        variables += (("FROM_LIBRARIES", "1"),)
    kernels = [
        Kernel(operator, draw.choice(("rounds", "rounds", "truncates")), draw.uniform(0.3, 1.0))
        for operator in OPERATORS
    ]
    kernels = [kernel for kernel in kernels if kernel.operator not in COPIES]
    if regime == "hf32":
        kernels += [Kernel(operator, HF32) for operator in PRODUCTS]
    npu = Side(variables, tuple(kernels), threads=draw.choice((1, 2)), mkldnn=draw.random() < 0.7)
    wide = (("DTYPE", "float64"),) if regime == "float64 bench" else ()
    return Drawn(seed, regime, npu, Side((*variables, *wide)))


def seeds_of(text: str) -> list[int]:
    """`3,10-12` is 3, 10, 11, 12; `new:N` is N seeds from a place drawn now, at or above 1,000.  Raises ValueError."""
    if text.startswith("new:"):
        first = random.SystemRandom().randrange(1_000, 10_000_000)
        return list(range(first, first + int(text[4:])))
    found: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found
