"""What is known of operators and number formats beforehand: one table, and one way to name an operator.

`table`      a row an operator: how its error grows, whether it jumps, draws, makes memory ...
`spelling`   all spellings of an operator to the name of its row
`functions`  functions of one number: how they amplify error, and where they are finite
`options`    arguments that make another operator of a call: whether it draws, how it rounds
`places`     what parameters are called that calls give by their place
`dtypes`     number formats

An operator that has no row is judged as `general`: smooth, with as much relative error as its inputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Literal

from acc_compare.operators.dtypes import LARGEST, UNIT_ROUNDOFF, is_floating, roundoff
from acc_compare.operators.functions import is_bent, is_steep_at_zero, may_leave_finite, most_bent, most_moved
from acc_compare.operators.options import draws_with, factor, has_variants, is_smooth_with, reduced_in, variant
from acc_compare.operators.places import parameter_at
from acc_compare.operators.spelling import functional_name, plain_name
from acc_compare.operators.table import OPERATORS, Mark, Operator, OperatorClass

__all__ = [
    "LARGEST",
    "OPERATORS",
    "UNIT_ROUNDOFF",
    "Mark",
    "Operator",
    "OperatorClass",
    "draws",
    "draws_with",
    "factor",
    "functional_name",
    "has",
    "has_variants",
    "is_additive",
    "is_bent",
    "is_floating",
    "is_listwise",
    "is_mean",
    "is_random_source",
    "is_shaped_by_values",
    "is_steep_at_zero",
    "is_uninitialised",
    "jumps",
    "may_leave_finite",
    "most_bent",
    "most_moved",
    "moves_layout_only",
    "moves_memory_only",
    "operator_class",
    "overwrites",
    "parameter_at",
    "plain_name",
    "product_of",
    "reduced_in",
    "roundoff",
    "variant",
]


@lru_cache(maxsize=1 << 12)
def row_of(api: str) -> Operator:
    """The row of an api as a call name has it (`gelu`, `__iadd__`, `linalg.norm`)."""
    name = plain_name(api)
    found = OPERATORS.get(name)
    return found if found is not None else Operator(name, "general")


def operator_class(api: str) -> OperatorClass:
    """How error grows in an operator."""
    return row_of(api).kind


def has(api: str, mark: Mark) -> bool:
    """Has the operator's row this mark?"""
    return mark in row_of(api).marks


def jumps(api: str, values: Mapping[str, object] | None = None, *, backward: bool) -> bool:
    """Can a rounding of what this call reads change whole elements of what it writes?  `values` are the arguments of
    the forward call that are no tensors, by name, None where they are not known."""
    marks = row_of(api).marks
    if not backward:
        return "jumps" in marks
    return "chooses" in marks or ("kinks" in marks and (values is None or not is_smooth_with(api, values)))


def draws(api: str) -> bool:
    """May this operator draw random numbers?"""
    return has(api, "draws")


def is_random_source(api: str) -> bool:
    """Does it make random numbers from nothing, rather than apply them to an input?"""
    return has(api, "source") or (has(api, "source_in_place") and api.endswith("_"))


def is_listwise(api: str) -> bool:
    """Does it compute its results one by one from the tensors at their places in its lists?"""
    return api.startswith("_foreach_")


def moves_memory_only(api: str) -> bool:
    """Does it make or move memory, and nothing else?"""
    return has(api, "memory")


def moves_layout_only(api: str) -> bool:
    """Does it move, cast or cut a tensor and compute nothing?"""
    return has(api, "layout")


def is_uninitialised(api: str) -> bool:
    """Does it make memory that holds whatever was there before?"""
    return has(api, "uninitialised")


def overwrites(api: str) -> bool:
    """Does it write every element of the tensor that it is called on, whatever that held?"""
    return has(api, "overwrites") or is_random_source(api)


def is_shaped_by_values(api: str) -> bool:
    """Does the shape of what it makes depend on the values it reads?"""
    return has(api, "shaped")


def is_additive(api: str) -> bool:
    """Is the result a sum or a difference, so that errors of the inputs add as they are?"""
    return has(api, "additive")


def is_mean(api: str) -> bool:
    """Is a sum divided by the number of its terms?"""
    return has(api, "mean")


def product_of(api: str) -> Literal["matmul", "conv", ""]:
    """The setting that decides in which type a device computes its float32 products; "" where there is none."""
    return "matmul" if has(api, "matmul") else "conv" if has(api, "conv") else ""
