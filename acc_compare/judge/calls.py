"""Measured calls: what the judging works on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from dump.format.names import BACKWARD, CallName
from dump.format.schema import TensorRecord

from ..model import PairedCall
from .errors import RESOLUTION, TensorError

_FLOATING = ("float", "bfloat", "complex")


@dataclass(frozen=True, slots=True)
class MeasuredArgument:
    """One tensor of a matched pair of calls with its error; None where it could not be measured."""

    name: str
    npu: TensorRecord
    bench: TensorRecord
    error: TensorError | None

    @property
    def is_floating(self) -> bool:
        return self.npu.dtype.removeprefix("torch.").startswith(_FLOATING)

    @property
    def count(self) -> int:
        return max(1, self.npu.numel)

    @property
    def norm(self) -> float:
        """|B| over live elements; 0 where unknown."""
        return self.error.scale if self.error is not None and self.error.scale == self.error.scale else 0.0

    @property
    def relative(self) -> float:
        """The relative error, not below what the way of measuring can resolve; exactly 0 for equal tensors."""
        if self.error is None or self.error.relative == 0.0:
            return 0.0
        return max(self.error.relative, RESOLUTION[self.error.source])

    @property
    def distance(self) -> float:
        """|N - B|, by the same rule."""
        return self.relative * self.norm if self.norm else (self.error.distance if self.error is not None else 0.0)

    @property
    def largest(self) -> float:
        """The largest modulus of an element on the bench side, as far as it is known."""
        ends = [abs(float(end)) for end in (self.bench.max, self.bench.min) if end is not None]
        return max((end for end in ends if end == end and end != float("inf")), default=0.0)


@dataclass(frozen=True, slots=True)
class MeasuredCall:
    """A matched pair of calls.  `order` is its place in the NPU side's order of execution, `owner` the module call
    that it ran in there."""

    pair: PairedCall
    name: CallName
    order: int
    read: tuple[MeasuredArgument, ...]
    wrote: tuple[MeasuredArgument, ...]
    owner: str | None = None

    @property
    def full_name(self) -> str:
        assert self.pair.npu is not None
        return self.pair.npu.name

    @property
    def is_backward(self) -> bool:
        return self.name.direction == BACKWARD

    @property
    def operator(self) -> str:
        """The api's name; of a module, the name of the functional that its class stands for."""
        return functional_name(self.name.api) if self.name.is_module else self.name.api

    def floating_inputs(self) -> Iterator[MeasuredArgument]:
        return (argument for argument in self.read if argument.is_floating)

    def reads_other_integers(self) -> bool:
        """Do indices, masks or other non-floating inputs differ?  Then anything may come out."""
        return any(not a.is_floating and a.error is not None and a.error.relative > 0 for a in self.read)


def functional_name(module_class: str) -> str:
    """`LayerNorm` -> `layer_norm`, `BatchNorm2d` -> `batch_norm`, `Conv2d` -> `conv2d`, `GELU` -> `gelu`."""
    lower = module_class.lower()
    if re.fullmatch(r"(batch|instance)norm[123]d", lower):
        return f"{lower[:-6]}_norm"
    snake = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", module_class).lower()
    return lower if re.match(r"(adaptive)?(avg|max)pool|conv", lower) is None and "_" not in snake else snake
