"""Which aten operators the simulated device answers, and what their schemas say about them.

An operator that is composed of others above the device (`aten::layer_norm`, `aten::linear`) never arrives
here; the parts it is composed of do.
"""

from __future__ import annotations

import difflib
import functools
from dataclasses import dataclass
from typing import Any

import torch

from dump import torch_internals

# Kernels of their own in `registration`, because labels or devices change hands in them.
FACTORIES = frozenset({"aten::empty.memory_format", "aten::empty_strided"})
VIEWS = frozenset(
    {
        "aten::_reshape_alias", "aten::alias", "aten::as_strided", "aten::unfold", "aten::view",
        "aten::view_as_complex", "aten::view_as_real",
    }
)  # fmt: skip
"""They only re-describe memory: the CPU's kernel runs on the npu tensor itself."""
_REBOUND = frozenset({"aten::set_.source_Storage", "aten::set_.source_Storage_storage_offset"})
VIEW_KERNELS = VIEWS | _REBOUND

# Composed on the CPU as well, but kept whole here: one crossing instead of two.
_KEPT_WHOLE = frozenset({"aten::clone"})
# Answered by kernels written out in `registration` and `composites`.  Convolutions are not pinned under their
# own name, since torch.jit.trace would lose them: torch brings them here by its `_overrideable` names.
_OWN_KERNELS = frozenset(
    {
        "aten::_thnn_fused_gru_cell", "aten::_thnn_fused_gru_cell_backward", "aten::_thnn_fused_lstm_cell",
        "aten::_thnn_fused_lstm_cell_backward_impl", "aten::_to_copy", "aten::convolution",
        "aten::convolution_backward",
    }
)  # fmt: skip
_SKIPPED_PREFIXES = ("aten::set_", "aten::empty", "aten::_empty", "aten::is_pinned", "aten::_pin_memory")

# native_batch_norm writes into its running statistics without saying so in its schema.
_UNDECLARED_WRITES = {"aten::native_batch_norm": ("running_mean", "running_var")}


@dataclass(frozen=True, slots=True)
class Plan:
    """What a kernel must know of its operator's schema, so as not to ask on every call.

    `single` and `lists` are the positions of arguments that may hold a tensor or a list of tensors;
    `written` those of arguments that the operator writes into, `written_names` the same for keywords (`out`).
    `returned` gives for every result the written argument that it is, or None for a result of its own.
    `resizes` is true where a written argument may come back with another shape or in other memory.
    """

    name: str
    single: tuple[int, ...]
    lists: tuple[int, ...]
    written: tuple[int, ...]
    written_names: tuple[str, ...]
    undeclared: tuple[int, ...]
    returned: tuple[int | str | None, ...]
    resizes: bool

    @property
    def writes(self) -> bool:
        return bool(self.written or self.written_names)


def plan_of(operator: Any) -> Plan:
    """Read the schema of an OpOverload once."""
    schema = torch_internals.schema(operator)
    single: list[int] = []
    lists: list[int] = []
    written: list[int] = []
    undeclared: list[int] = []
    names: list[str] = []
    owners: dict[str, int | str] = {}
    for position, argument in enumerate(schema.arguments):
        kind = str(argument.type)
        if "Tensor" in kind and not argument.kwarg_only:
            (lists if "List" in kind else single).append(position)
        if argument.name in _UNDECLARED_WRITES.get(schema.name, ()):
            undeclared.append(position)
        alias = argument.alias_info
        if alias is None or not alias.is_write:
            continue
        where: int | str = argument.name if argument.kwarg_only else position
        if isinstance(where, str):
            names.append(where)
        else:
            written.append(where)
        owners.update(dict.fromkeys(alias.before_set, where))
    returned = tuple(_owner_of(result.alias_info, owners) for result in schema.returns)
    return Plan(
        name=schema.name,
        single=tuple(single),
        lists=tuple(lists),
        written=tuple(written),
        written_names=tuple(names),
        undeclared=tuple(undeclared),
        returned=returned,
        resizes=bool(names) or "resize" in schema.name,
    )


def _owner_of(alias: Any, owners: dict[str, int | str]) -> int | str | None:
    if alias is None:
        return None
    return next((owners[name] for name in alias.before_set if name in owners), None)


def overload(name: str) -> Any:
    """The OpOverload called `aten::add.Tensor`, or None where torch.ops does not have it."""
    packet_name, _, overload_name = name.removeprefix("aten::").partition(".")
    packet = getattr(torch.ops.aten, packet_name, None)
    return getattr(packet, overload_name or "default", None)


@functools.cache
def pinned() -> tuple[str, ...]:
    """Full names of the aten overloads that get a kernel under their own name, sorted.

    These are all overloads with a CPU kernel.  Without the pin, torch would prefer its compositions
    (`gelu` -> `empty`, `gelu.out`) to the device's fallback, and a call would cost two crossings.  Added are
    the `_foreach_` family, which would fall apart into one call a tensor, and the few of `_KEPT_WHOLE`.
    """
    names = {name for name in torch_internals.kernels_of("CPU") if name.startswith("aten::")}
    composed = torch_internals.kernels_of("CompositeExplicitAutograd")
    names |= {name for name in composed if name.startswith(f"aten::{torch_internals.foreach_prefix}")}
    names |= _KEPT_WHOLE
    names -= FACTORIES | VIEW_KERNELS
    return tuple(sorted(n for n in names if not n.startswith(_SKIPPED_PREFIXES) and overload(n) is not None))


def is_composed(name: str) -> bool:
    """Whether the CPU has no kernel of its own for an overload, so that it runs other operators in turn."""
    return not torch_internals.has_kernel(name, "CPU")


@functools.cache
def reachable() -> frozenset[str]:
    """Base names (`aten::add`) of the aten operators that reach the device and compute something."""
    return frozenset(name.partition(".")[0] for name in pinned()) | _OWN_KERNELS


def why_unreachable(name: str) -> str | None:
    """Why a fault at this base name could never fire, in words for the user; None where it can."""
    if name in reachable():
        return None
    if name in VIEWS:
        return f"{name} only re-describes memory and computes nothing"
    nearest = difflib.get_close_matches(name, sorted(reachable()), n=3, cutoff=0.6)
    contained = [other for other in sorted(reachable()) if name.partition("::")[2] in other]
    hint = ", ".join(dict.fromkeys([*contained[:4], *nearest])) or "see torch.ops.aten"
    if not torch_internals.schemas_of(name):
        return f"there is no operator {name}; near: {hint}"
    if not name.startswith("aten::"):
        return None
    return f"{name} is composed of other operators and never reaches the device; near: {hint}"
