"""How parts make a whole where somebody says so: a layout file, by names of calls and parameters."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import translate
from functools import cached_property

from acc_compare.collectives import REDUCES_GRADIENTS
from acc_compare.wholes import Mesh, Way
from dump.format.names import parse
from dump.format.schema import CallRecord, Dump, TensorRecord

_PARAMETER = re.compile(r"(?:input|output)\.(param|grad|0)\.(.+)")
"""An argument or a result of an optimizer or of a reduction of gradients; its groups are which, and the parameter."""


@dataclass(frozen=True)
class Layout:
    """How one side is cut: the extents of its `mesh`, the first dimension the slowest, and the ways along it by pattern
    of names.  `source` is the file that says so."""

    source: str
    mesh: Mesh
    rules: tuple[tuple[str, tuple[Way, ...]], ...] = ()

    def ways(self, names: Iterable[str]) -> tuple[Way, ...] | None:
        """Those of the first rule that one of the `names` of a tensor fits; None where none does."""
        known = list(names)
        return next((ways for fits, ways in self._compiled if any(map(fits.match, known))), None)

    @cached_property
    def _compiled(self) -> list[tuple[re.Pattern[str], tuple[Way, ...]]]:
        return [(re.compile(translate(pattern)), ways) for pattern, ways in self.rules]


@dataclass(frozen=True)
class Layouts:
    """How the two sides are cut, as far as the user said."""

    npu: Layout | None = None
    bench: Layout | None = None


NO_LAYOUTS = Layouts()


class Names:
    """The names that a tensor of a dump goes by: its own in a call, and those of the parameter or gradient it is."""

    def __init__(self, dump: Dump) -> None:
        self._by_value: dict[int, str] = {}
        for call in dump.calls:
            for name, leaf in call.tensors():
                told = _parameter(call, name)
                if told is not None and leaf.value is not None:
                    self._by_value.setdefault(leaf.value, told)

    def of(self, call: CallRecord, name: str, leaf: TensorRecord) -> list[str]:
        names = [f"{call.name}.{name}"]
        told = _parameter(call, name) or (self._by_value.get(leaf.value) if leaf.value is not None else None)
        return names if told is None else [*names, told]


def _parameter(call: CallRecord, name: str) -> str | None:
    """The parameter that an argument is, `NAME.grad` for its gradient; None where its name does not tell."""
    known = parse(call.name)
    if name.startswith("parameters."):
        return f"{known.path}.{name.removeprefix('parameters.')}"
    updates = call.name.startswith("Optimizer.")
    if not updates and known.api != REDUCES_GRADIENTS:
        return None
    found = _PARAMETER.fullmatch(name)
    if found is None:
        return None
    is_gradient = found[1] == "grad" or (found[1] == "0" and not updates)
    return f"{found[2]}.grad" if is_gradient else found[2]
