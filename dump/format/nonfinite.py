"""Where the first NaN, and the first infinity, of a step was made: a call that wrote one and had read none."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from .names import parse
from .schema import Argument, Dump, TensorRecord

Kind: TypeAlias = Literal["nan", "inf"]


@dataclass(frozen=True, slots=True)
class Made:
    """`argument` is what `call` wrote the first such value to; `stack` are the lines of code that made the call.

    A call that `is_exchange` wrote what ranks gave each other, and another may have given it.
    """

    kind: Kind
    call: str
    argument: str
    stack: tuple[str, ...] = ()
    is_exchange: bool = False


def first_made(dump: Dump) -> tuple[Made, ...]:
    """The first NaN and the first infinity, each only where there is one that a recorded call made."""
    kinds: tuple[Kind, ...] = ("nan", "inf")
    return tuple(made for kind in kinds if (made := _first(dump, kind)) is not None)


def _first(dump: Dump, kind: Kind) -> Made | None:
    for call in dump.calls:
        written = _holding((*call.outputs, *call.written), kind)
        if written is not None and _holding((*call.inputs, *call.parameters), kind) is None:
            return Made(
                kind,
                call.name,
                written,
                tuple(dump.stacks.get(call.name, ())),
                bool(call.collectives) or parse(call.name).prefix == "Distributed",
            )
    return None


def _holding(arguments: Iterable[Argument], kind: Kind) -> str | None:
    """The first of the arguments that holds a value of this kind."""
    for argument in arguments:
        if isinstance(argument.leaf, TensorRecord) and _holds(argument.leaf, kind):
            return argument.name
    return None


def _holds(tensor: TensorRecord, kind: Kind) -> bool:
    if tensor.unwritten:
        return False  # new memory holds whatever it held before
    if kind == "nan":
        return bool(tensor.nan) or _is(math.isnan, tensor)
    return bool(tensor.inf) or _is(math.isinf, tensor)


def _is(test: object, tensor: TensorRecord) -> bool:
    assert callable(test)
    return any(isinstance(extreme, float) and bool(test(extreme)) for extreme in (tensor.max, tensor.min))
