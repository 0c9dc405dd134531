"""One side of an alignment: its calls with their names in the bench's words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from acc_compare.align.paths import Translator, plain_path
from dump.format import names
from dump.format.names import CallName
from dump.format.schema import CallRecord, Dump, TensorRecord

Shapes: TypeAlias = "tuple[tuple[int, ...], ...]"
Token: TypeAlias = "tuple[str, str, Shapes]"


@dataclass(frozen=True, slots=True)
class Side:
    """`path` and `name` put a module path and a call's name into the words that both sides share."""

    dump: Dump
    path: Callable[[str], str]
    name: Callable[[CallName], CallName]

    @classmethod
    def translated(cls, dump: Dump, translator: Translator) -> Side:
        """The NPU side, whose names are turned into the bench's."""
        if not translator.renames:
            return cls.plain(dump)
        return cls(dump, translator.path, translator.name)

    @classmethod
    def plain(cls, dump: Dump) -> Side:
        """The bench, whose names stand."""
        return cls(dump, plain_path, lambda name: name)

    def comparable(self, call: CallRecord | CallName) -> str:
        """The name under which a call of the other side answers to this one."""
        given = call if isinstance(call, CallName) else names.parse(call.name)
        name = self.name(given)
        if not name.is_module:
            return call.name if name is given and isinstance(call, CallRecord) else str(name)
        return f"{name.prefix}.{plain_path(name.path)}.{name.api}.{name.direction}.{name.number}"

    def token(self, call: CallRecord, *, place_known: bool) -> Token:
        """What must be equal for two forward calls to answer to each other: operator, module, shapes."""
        name = self.name(names.parse(call.name))
        owner = self.dump.owners.get(call.name) if place_known else None
        place = self.path(names.parse(owner).path) if owner else ""
        # What a call wrote beside its result is left out: a foreign dump does not record it.
        leaves = (argument.leaf for argument in (*call.inputs, *call.outputs))
        shapes = tuple(leaf.shape for leaf in leaves if isinstance(leaf, TensorRecord))
        return (f"{name.prefix}.{name.api}", place, shapes)

    def forward_calls(self, until: int) -> list[CallRecord]:
        """API calls in order, without those of backward, of optimizers and recomputed ones, up to an index."""
        return [call for call in self.dump.calls if call.index < until and is_plain_forward(call)]


def is_api_forward(name: CallName) -> bool:
    """An API's forward call, no optimizer's step."""
    return not name.is_module and name.direction == names.FORWARD and name.prefix != "Optimizer"


def is_plain_forward(call: CallRecord) -> bool:
    """An API's forward call that is no recomputation."""
    return not call.is_recompute and is_api_forward(names.parse(call.name))


def backward_of(forward: str) -> str:
    """`Functional.gelu.0.forward` -> `Functional.gelu.0.backward`; a module's likewise."""
    name = names.parse(forward)
    if name.is_module:
        return str(CallName(name.prefix, name.api, name.path, name.number, names.BACKWARD))
    return f"{forward.removesuffix(names.FORWARD)}{names.BACKWARD}"
