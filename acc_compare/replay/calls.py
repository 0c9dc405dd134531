"""One call made again: the function, then autograd for the gradients that were recorded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from acc_compare.messages import Message, say
from acc_compare.replay.arguments import Arguments, Builder, Load, Setting, moved, named
from acc_compare.replay.expected import read_by, written_by
from acc_compare.replay.names import CannotReplay, Target
from dump.format.nested import NestedDump
from dump.format.schema import NestedCall, Node
from dump.record.tree import capture, tensors_of

FAILED = (
    RuntimeError,
    TypeError,
    ValueError,
    LookupError,
    ArithmeticError,
    AttributeError,
    AssertionError,
    MemoryError,
)
"""What torch raises at a call that it does not take, or for which it has no room."""

_LONGEST = 160
_TIMES, _ROOM = 4, 1 << 20


@dataclass(frozen=True, slots=True)
class Recorded:
    """A forward call with its backward, as the dump has them; `gradients` are those of the forward's outputs."""

    forward: NestedCall
    backward: NestedCall | None = None

    @property
    def gradients(self) -> tuple[Node, ...]:
        return self.backward.args if self.backward is not None else ()

    @property
    def follows(self) -> bool:
        """Did autograd follow it?"""
        return self.backward is not None or any(record.requires_grad for _, record in written_by(self.forward))

    @property
    def writes(self) -> bool:
        """Did it write to memory that it was given, or hand out part of it?"""
        given = {record.storage for _, record in read_by(self.forward)} - {None}
        return bool(self.forward.written) or any(record.storage in given for _, record in written_by(self.forward))

    @property
    def writes_to_followed(self) -> bool:
        """Did it write to memory that it was given, of what autograd follows?"""
        return any(record.requires_grad and place in self.forward.written for place, record in read_by(self.forward))

    def builder(self, load: Load, *, tells_tuples: bool = True) -> Builder:
        """What makes its arguments, whose tensors `load` gives."""
        gradients = self.backward.outputs if self.backward is not None else ()
        return Builder(
            load,
            self.forward,
            tells_tuples=tells_tuples,
            followed=[number for number, gradient in enumerate(gradients) if gradient is not None],
        )


def recorded_call(dump: NestedDump, forward: str) -> Recorded | None:
    """The forward call of that name with its backward; None where the dump has none.  Raises DumpCorrupt."""
    found = dump.call(forward)
    return None if found is None else Recorded(found, dump.call(f"{forward.removesuffix('forward')}backward"))


@dataclass(slots=True)
class Made:
    """What a call made: tensors on the CPU by their place, `output.0` or `written.input.1`, and the gradients of its
    tensor arguments by theirs in the backward record, `output.0`.  `graph` is what gradients can still be had of."""

    outputs: dict[str, torch.Tensor] = field(default_factory=dict)
    gradients: dict[str, torch.Tensor] = field(default_factory=dict)
    drew: bool = False
    graph: tuple[list[torch.Tensor], Arguments] | None = None

    @property
    def leaves(self) -> frozenset[int]:
        """The numbers of the tensor arguments that get gradients of their own, of those that `graph` leads to."""
        return frozenset() if self.graph is None else frozenset(n for n, _ in _leaves(self.graph[1]))

    def follow(self, gradients: Mapping[int, torch.Tensor]) -> None:
        """Make the gradients too, from those of the outputs by number.  Raises what torch raises."""
        if self.graph is not None:
            self.gradients.update(_gradients(*self.graph, gradients))
        self.graph = None


def make(target: Target, recorded: Recorded, builder: Builder, setting: Setting) -> Made:
    """Make the call.  Raises CannotReplay where its arguments cannot be had, or torch refuses."""
    if setting.follows and recorded.writes_to_followed:
        setting = replace(setting, copies=True)
    try:
        return _make(target, recorded, builder, setting)
    except RuntimeError as error:
        if not setting.follows or setting.copies or "leaf" not in str(error):
            raise CannotReplay(failure(error)) from error
    except FAILED as error:
        raise CannotReplay(failure(error)) from error
    return make(target, recorded, builder, replace(setting, copies=True))  # it writes to a view of a leaf


def asks_for_too_much(target: Target, recorded: Recorded, builder: Builder) -> bool:
    """Would the call make much more than it read and wrote in the record?

    Asked of torch's shape inference, which takes no memory; what that cannot tell counts as too much.
    """
    known = (*read_by(recorded.forward), *written_by(recorded.forward))
    try:
        given = builder.arguments(Setting(torch.device("meta")))
        with torch.no_grad():
            output = target.function(*given.args, **given.kwargs)
    except FAILED:
        return True
    return sum(t.numel() for t in tensors_of(output)) > _TIMES * sum(record.numel for _, record in known) + _ROOM


def failure(error: Exception) -> Message:
    """Why a call could not be made."""
    first = str(error).strip().partition("\n")[0][:_LONGEST]
    return say("replay.reason.failed", why=f"{type(error).__name__}: {first}")


def _make(target: Target, recorded: Recorded, builder: Builder, setting: Setting) -> Made:
    given = builder.arguments(setting)
    gradients = builder.gradients(recorded.gradients, setting)
    made = Made()
    with ExitStack() as stack:
        stack.enter_context(torch.set_grad_enabled(setting.follows))
        if not setting.guest or not any(t.is_floating_point() or t.is_complex() for _, t, _ in given.tensors):
            stack.enter_context(_default_dtype(setting.wide))
        if setting.wide is None and recorded.forward.autocast:
            stack.enter_context(_autocast(setting.device, recorded.forward.autocast))
        if setting.saved:
            stack.enter_context(_moving_what_is_saved(given, setting))
        with _generators_kept(setting.device, made):
            output = target.function(*given.args, **given.kwargs)
    listed = list(output) if isinstance(output, (list, tuple)) else [output]
    capture(listed, "output", on_tensor=lambda tensor, place: made.outputs.__setitem__(place, _home(tensor)))
    changed = [tensor for place, tensor, _ in given.tensors if place in recorded.forward.written]
    for place, tensor, _ in given.tensors:
        if place in recorded.forward.written:
            made.outputs[f"written.{place}"] = _home(tensor)
    made.graph = tensors_of(output) or changed, given
    if gradients:
        made.follow(gradients)
    elif not setting.keeps_graph:
        made.graph = None
    return made


def _gradients(
    outputs: list[torch.Tensor], given: Arguments, gradients: Mapping[int, torch.Tensor]
) -> Iterator[tuple[str, torch.Tensor]]:
    """The gradients of the tensor arguments; one that was given twice has its at the first place."""
    asked = [
        (outputs[number], gradient)
        for number, gradient in gradients.items()
        if number < len(outputs) and outputs[number].requires_grad
    ]
    leaves = _leaves(given)
    if not asked or not leaves:
        return
    found = torch.autograd.grad(
        [output for output, _ in asked],
        [leaf for _, leaf in leaves],
        [gradient.to(output.dtype) for output, gradient in asked],
        allow_unused=True,
    )
    for (number, _), gradient in zip(leaves, found, strict=True):
        if gradient is not None:
            yield f"output.{number}", _home(gradient)


def _leaves(given: Arguments) -> list[tuple[int, torch.Tensor]]:
    leaves: dict[int, tuple[int, torch.Tensor]] = {}
    for number, (_, _, leaf) in enumerate(given.tensors):
        if leaf.requires_grad:
            leaves.setdefault(id(leaf), (number, leaf))
    return list(leaves.values())


def _home(tensor: torch.Tensor) -> torch.Tensor:
    """On the CPU and strided, as it was recorded."""
    found = tensor.detach()
    if found.layout is not torch.strided:
        raise CannotReplay(say("replay.reason.unrecorded", why=f"layout {found.layout}"))
    return found.cpu().resolve_conj().resolve_neg()


@contextmanager
def _generators_kept(device: torch.device, made: Made) -> Iterator[None]:
    """The default generators of the CPU and of the device, as far as it has one, are left as they were; did the call
    within draw from them?"""
    generators: list[Any] = [torch]
    module: Any = getattr(torch, device.type, None)
    if device.type != "cpu" and hasattr(module, "get_rng_state"):
        generators.append(module)
    before: list[tuple[Any, torch.Tensor]] = []
    for generator in generators:
        with suppress(RuntimeError, NotImplementedError):  # a device may have no generators of its own
            before.append((generator, generator.get_rng_state()))
    try:
        yield
    finally:
        for generator, state in before:
            if not torch.equal(state, generator.get_rng_state()):
                made.drew = True
                generator.set_rng_state(state)


@contextmanager
def _default_dtype(wide: torch.dtype | None) -> Iterator[None]:
    """What Python's floats become: the reference computes in the wide type throughout."""
    before = torch.get_default_dtype()
    if wide is not None:
        torch.set_default_dtype(wide)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _moving_what_is_saved(given: Arguments, setting: Setting) -> Any:
    """What forward keeps for backward is moved, but for what it was given."""
    random = torch.Generator().manual_seed(setting.seed)
    own = {tensor.data_ptr() for _, tensor, _ in given.tensors}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.data_ptr() in own or not (tensor.is_floating_point() or tensor.is_complex()):
            return tensor
        return moved(tensor.detach(), setting.saved, random)

    return torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)


def _autocast(device: torch.device, dtype: str) -> Any:
    return torch.autocast(device.type, dtype=named(dtype, torch.dtype))
