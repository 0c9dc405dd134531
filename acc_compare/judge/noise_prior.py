"""What is known of rounding before a run is seen: for each operator how far its error lies from the prediction.

The table is measured by `benchmarks/localisation/prior.py` over healthy pairs of many models, types and kinds of noise;
it names the runs it comes from.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Literal, NamedTuple, TypeAlias

from acc_compare import operators
from acc_compare.measured.calls import MeasuredArgument, MeasuredCall

Channel: TypeAlias = Literal["norm", "mean", "max", "min"]
CHANNELS: tuple[Channel, ...] = ("norm", "mean", "max", "min")

RUNNING = "running statistics"

_TABLE = "noise_prior.json"


class NoiseKey(NamedTuple):
    """What shares a factor: an operator's forward or backward outputs, vectors (biases, scalars) apart.

    What calls write beside their results is of one kind, whatever the operator: running statistics, which average over
    many terms errors that may be independent or alike.
    """

    operator: str
    is_backward: bool
    is_vector: bool

    @classmethod
    def of(cls, call: MeasuredCall, out: MeasuredArgument) -> NoiseKey:
        name = RUNNING if out.is_running else operators.plain_name(call.operator)
        return cls(name, call.is_backward, len(out.npu.shape) <= 1)


class PriorRow(NamedTuple):
    """`location` is the median of log(e / predicted); `exact` and `sketch` are its standard deviation above the median
    within a run, where e is measured from whole tensors and from sketches of 16 buckets; `between` is that of an
    operator's median between runs.  `norm`, `mean`, `max` and `min` are how many times what a channel of systematic
    error is predicted to show it shows, as a standard deviation.  `runs` is how many recordings the row comes from."""

    location: float
    exact: float
    sketch: float
    between: float
    norm: float
    mean: float
    max: float
    min: float
    runs: int

    def spread(self, buckets: int | None) -> float:
        """Of a residual whose error comes from so many buckets; None for whole tensors.  The variance that estimating
        adds goes with one over their number."""
        if buckets is None:
            return self.exact
        added = max(0.0, self.sketch**2 - self.exact**2)
        return float((self.exact**2 + added * 16 / buckets) ** 0.5)

    def channel(self, name: Channel) -> float:
        return float(getattr(self, name))


Prior: TypeAlias = Mapping[NoiseKey, PriorRow]

UNKNOWN = PriorRow(0.0, 0.5, 0.6, 0.4, 2.5, 2.5, 1.0, 1.0, 0)
"""Of an operator of which nothing is known."""


@cache
def measured_prior() -> Prior:
    """The table that comes with the package; a key is an operator's, or its class's for operators without a row."""
    text = resources.files(__package__).joinpath(_TABLE).read_text(encoding="utf-8")
    return {NoiseKey(*row[:3]): PriorRow(*row[3:]) for row in json.loads(text)["rows"]}


def prior_of(key: NoiseKey, table: Prior) -> PriorRow:
    """The row of an operator; else of its class; else of none."""
    row = table.get(key)
    return row if row is not None else table.get(key._replace(operator=operators.operator_class(key.operator)), UNKNOWN)
