"""Which operators stand for which: one fused call on one side, several plain ones on the other.

    known_pairs.yaml   the table that is shipped
    map.yaml           what the user adds (`mapping_file`)

A composite is a set of steps that the dataflow connects, written as operators in the order of their calls:
`pow|square mean add rsqrt mul mul?`, with `|` between alternatives and `?` after a step that may be missing.  Casts and
views between the steps need not be named.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from acc_compare.align.paths import Renaming
from acc_compare.operators import plain_name

_SHOWN = 60  # characters of a word that is no operator


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a composite: any of these operators (without prefix, in plain spelling)."""

    operators: frozenset[str]
    is_optional: bool = False


@dataclass(frozen=True, slots=True)
class FusedRule:
    """`fused` are names of the fused call (`NPU.npu_rms_norm`), each of which answers to the others as well;
    `composites` the ways to write it out; `outputs` says which step makes another result than the first
    (`output.1` -> `rsqrt`)."""

    name: str
    fused: tuple[str, ...]
    composites: tuple[tuple[Step, ...], ...]
    outputs: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rules:
    """All that aligning takes into account beside the two dumps.

    `is_fuzzy` also pairs what is left between two matched calls by the operator alone, whatever its module and shapes.
    """

    renaming: Renaming = field(default_factory=lambda: Renaming({}, {}, {}, {}))
    fused: tuple[FusedRule, ...] = ()
    is_fuzzy: bool = False
    source: str = ""


def steps_of(text: str) -> tuple[Step, ...]:
    """The steps that `text` names.  Raises ValueError where it names fewer than two, or none that is required."""
    steps = []
    for word in text.split():
        alternatives = word.removesuffix("?").split("|")
        if not all(alternatives):
            raise ValueError(f"{word[:_SHOWN]!r} is not an operator, nor several with | between them")
        operators = frozenset(plain_name(name.rpartition(".")[2]) for name in alternatives)
        steps.append(Step(operators, is_optional=word.endswith("?")))
    if len(steps) < 2 or (steps[-1].is_optional and all(step.is_optional for step in steps)):
        raise ValueError("a composite has two operators or more, of which one at least is required")
    return tuple(steps)
