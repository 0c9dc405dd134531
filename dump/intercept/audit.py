"""What no interceptor saw: every operator that torch dispatches, and the recorded call that it ran under.

A dispatch mode sees what closures on attributes cannot: names bound before recording began, properties such as
`x.T`, kernels that an extension calls, what autograd computes for an operator that nobody recorded.  It costs
some microseconds for each operator, so it is there only where it is asked for.  At levels L1 and mix what
nobody saw is recorded, under the operator's own name (`Aten.relu.0.forward`).

The mode sits at the bottom of the stack of modes, below the user's: those are entered and left in their own
order.  It is put there past `TorchDispatchMode.__enter__`, so torch.compile goes on compiling; what compiled
code runs in its own kernels stays unseen.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from types import CodeType, FrameType
from typing import Any

import msgspec
import torch

from .. import torch_internals
from ..record import reading, stack, tree
from ..record.recorder import StepRecorder
from ..torch_internals import (
    current_node,
    dispatch_modes,
    higher_order_operators,
    next_sequence_number,
    pop_dispatch_mode,
    push_dispatch_mode,
    schema,
    sequence_number,
)
from . import calls, under_a_mode
from .naming import NAMES, NOT_RECORDED
from .tracebacks import without_ours
from .watch import Watch, in_backward

# Questions about a tensor, and acts that neither compute nor move anything.
_NO_OPERATORS = frozenset(
    """
    detach detach_ alias _local_scalar_dense item is_pinned is_same_size lift_fresh lift lift_fresh_copy set_
    resize_ _reshape_alias record_stream _has_compatible_shallow_copy_type sym_size sym_stride sym_numel
    sym_storage_offset _version equal is_nonzero _conj _neg_view _pin_memory pin_memory
    """.split()
)
_NO_NAMESPACES = frozenset({"prim", "profiler", "higher_order", "debugprims"})
_TORCH = f"File {torch.__path__[0]}"
_BETWEEN = (
    __file__,
    Watch.attempt.__code__.co_filename,
    torch_internals.compile_file,
    torch_internals.python_dispatch_file,
    os.path.join(torch.__path__[0], torch_internals.dynamo_folder, ""),
)
_HANDS_ON = ("__torch_dispatch__", "__call__")
"""A dispatch mode, and the operator that it calls with what it was given."""
_engine: frozenset[CodeType] = frozenset(
    function.__code__
    for function in (torch_internals.run_backward, torch.autograd.backward, torch.autograd.grad)
    if function is not None
)
"""What enters the engine: before torch 2.3 the public functions do so themselves."""


@dataclass(slots=True)
class _Unseen:
    """An operator that nobody saw: how often, where first, and what its records are called ("" for none)."""

    where: stack.RawStack
    recorded_as: str
    calls: int = 0


@dataclass(frozen=True, slots=True)
class _Begun:
    """The record begun for an operator that nobody saw, which autograd called or not."""

    call: calls.OpenCall
    by_engine: bool


@dataclass(slots=True)
class Tally:
    """The operators dispatched in one step: under recorded API calls, in recorded modules (where API calls are
    not recorded), in optimizer steps, by autograd for operators that were seen, and by nobody."""

    calls: int = 0
    modules: int = 0
    optimizers: int = 0
    autograd: int = 0
    unseen: int = 0


class Audit:
    """Watches all that is dispatched on the thread that installs it, and on those that autograd starts for it.

    `records` says that what nobody saw is to be recorded: at levels that record API calls.
    """

    NEEDS = ("dispatch_modes", "pop_dispatch_mode", "push_dispatch_mode", "TorchDispatchMode", "schema")

    def __init__(self, watch: Watch, *, records: bool) -> None:
        self._watch = watch
        self._records = records
        self._mode = _Mode(self)
        self._tally = Tally()
        self._unseen: dict[str, _Unseen] = {}
        self._unseen_nodes: set[int] = set()
        self._waiting: tuple[calls.OpenCall, Any] | None = None
        self._is_on = False
        self._aside = 0

    # ---- on and off

    def install(self) -> None:
        """Put the mode below all others of this thread."""
        self._is_on = True
        _let_through(True)
        modes = dispatch_modes()
        if self._mode not in modes and not self._aside:
            _rebuild_stack(remove=modes, add=[self._mode, *modes])

    def remove(self) -> None:
        """Take the mode out from wherever it lies, if it lies on this thread's stack."""
        self._is_on = False
        self._take_out()
        _let_through(False)
        self._waiting = None

    def _take_out(self) -> None:
        modes = dispatch_modes()
        if self._mode in modes:
            _rebuild_stack(remove=modes, add=[mode for mode in modes if mode is not self._mode])

    def step_aside(self) -> bool:
        """Take the mode away until `come_back`, which is asked of as often.  It stays, and False is returned, where it
        is not on this thread's stack, or not alone there: then there is a mode without it."""
        if not self._aside and dispatch_modes() != [self._mode]:
            return False
        self.flush()
        self._aside += 1
        self._take_out()
        return True

    def come_back(self) -> None:
        """End what `step_aside` began."""
        self._aside = max(0, self._aside - 1)
        if self._is_on and not self._aside:
            self.install()

    # ---- what came of it

    def flush(self) -> None:
        """Finish the call that waits for what autograd makes of it."""
        if self._waiting is not None:
            (call, output), self._waiting = self._waiting, None
            self._watch.guard(lambda: self._finish(call, output))

    def _finish(self, call: calls.OpenCall, output: Any) -> None:
        border = calls.finish(self._watch, call, output)
        if border is not None:  # its gradients are followed, so what its nodes call is no longer unseen
            followed = border.outputs.keys() | border.inputs.keys()
            self._unseen_nodes.difference_update(sequence_number(node) for node in followed)

    def take(self) -> Mapping[str, object]:
        """The account of the step since the last one, for the header."""
        tally, unseen = self._tally, self._unseen
        self._tally, self._unseen = Tally(), {}
        self._unseen_nodes.clear()
        return {
            "dispatched": {
                "in_calls": tally.calls,
                "in_modules": tally.modules,
                "in_optimizers": tally.optimizers,
                "by_autograd": tally.autograd,
                "unseen": tally.unseen,
            },
            "unseen": {
                name: {"calls": found.calls, "recorded_as": found.recorded_as or None, "line": _line(found.where)}
                for name, found in sorted(unseen.items(), key=lambda pair: -pair[1].calls)
            },
        }

    # ---- one operator

    def dispatched(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run `func`, and note whose it was.  Nothing but what it raises itself is raised."""
        watch = self._watch
        recorder = watch.recorder if watch.is_our_thread() else None
        unseen = None if recorder is None else watch.attempt(self._before, func, args, kwargs, recorder)
        try:
            output = under_a_mode.run(func, args, kwargs)
        except Exception as error:
            watch.said = str(error) if type(error).__module__ == "builtins" else ""
            raise
        if unseen is not None:
            watch.attempt(self._after, unseen, func, args, output)
        return output

    def _before(
        self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], recorder: StepRecorder
    ) -> _Begun | None:
        """The record that is begun for an operator that nobody saw; None where there is none to be made."""
        self.flush()
        name = _name(func)
        if not name:
            return None
        by_engine = in_backward() and _called_by_engine()
        if not self._is_unseen(by_engine=by_engine):
            return None
        if not by_engine and _makes_node((args, kwargs)):
            self._unseen_nodes.add(next_sequence_number() - 1)  # made just before the operator was dispatched
        key = self._noted(name)
        if not key:
            return None
        watch = self._watch
        call = watch.guard(
            lambda: calls.begin(
                watch, f"{key}.{recorder.number(key)}.forward", args=args, kwargs=kwargs, owner=watch.owner
            )
        )
        return None if call is None else _Begun(call, by_engine)

    def _after(self, begun: _Begun, func: Any, args: tuple[Any, ...], output: Any) -> None:
        watch, call = self._watch, begun.call
        if func.is_view:
            watch.guard(lambda: calls.finish(watch, call, _twins(args[0], output)))
        elif begun.by_engine and not schema(func).is_mutable:
            watch.guard(lambda: calls.finish(watch, call, output))
        else:
            # Version counters and autograd nodes move after the mode has returned.
            self._waiting = (_since_its_node(call), output)

    def _noted(self, name: str) -> str:
        """Count an operator that nobody saw; what its records are called."""
        self._tally.unseen += 1
        found = self._unseen.get(name)
        if found is None:
            records = self._records and name.partition("::")[0] not in NOT_RECORDED
            found = self._unseen[name] = _Unseen(stack.take(), NAMES.key(name) if records else "")
        found.calls += 1
        return found.recorded_as

    def _is_unseen(self, *, by_engine: bool) -> bool:
        """Does nobody stand for an operator dispatched now?  Counts it where somebody does."""
        watch, tally = self._watch, self._tally
        if watch.busy:
            tally.calls += 1
        elif by_engine:
            node = current_node()
            if self._records and node is not None and sequence_number(node) in self._unseen_nodes:
                return True
            tally.autograd += 1
        elif watch.muted:
            tally.optimizers += 1
        elif not watch.is_on():
            return False
        elif not self._records and watch.owner is not None:
            tally.modules += 1
        else:
            return True
        return False


class _Mode(torch_internals.TorchDispatchMode):  # type: ignore[misc]
    supports_higher_order_operators = True

    def __init__(self, audit: Audit) -> None:
        super().__init__()
        self._audit = audit

    @classmethod
    def ignore_compile_internals(cls) -> bool:
        return True


def __torch_dispatch__(  # noqa: N807
    self: Any, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
) -> Any:
    try:
        return self._audit.dispatched(func, under_a_mode.with_tensors(func, args), kwargs or {})
    except BaseException as error:  # where autograd called, nobody else takes our frames out
        raise error.with_traceback(without_ours(error.__traceback__))  # noqa: B904  # it is the same error


_Mode.__torch_dispatch__ = __torch_dispatch__
"""Given to the class once it is there: what stands in the class as it is made, torch lets import dynamo."""


def _let_through(is_on: bool) -> None:
    """In a torch that asks no mode whether it supports them (2.7), an operator of higher order (`cond`, `scan`) raises
    under one for which it has no rule."""
    if hasattr(torch_internals.TorchDispatchMode, "supports_higher_order_operators"):
        return
    for operator in higher_order_operators.values():
        rules = getattr(operator, "python_key_table", None)
        if rules is not None and is_on:
            rules.setdefault(_Mode, partial(_hand_on, operator))
        elif rules is not None:
            rules.pop(_Mode, None)


def _hand_on(operator: Any, mode: _Mode, *args: Any, **kwargs: Any) -> Any:
    return mode.__torch_dispatch__(operator, (), args, kwargs)


def _rebuild_stack(*, remove: list[Any], add: list[Any]) -> None:
    for _ in remove:
        pop_dispatch_mode()
    for mode in add:
        push_dispatch_mode(mode)


def _name(func: Any) -> str:
    """`aten::relu`; "" for what is no operator."""
    if not isinstance(func, torch_internals.OpOverload):
        return ""
    name: str = schema(func).name
    namespace, _, plain = name.partition("::")
    return "" if plain in _NO_OPERATORS or namespace in _NO_NAMESPACES else name


def _called_by_engine() -> bool:
    """Was the operator dispatched by autograd itself, with no Python of anybody's in between but dispatch modes that
    hand it on?"""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and (frame.f_code.co_filename.startswith(_BETWEEN) or frame.f_code.co_name in _HANDS_ON):
        frame = frame.f_back
    return frame is None or frame.f_code in _engine


def _since_its_node(call: calls.OpenCall) -> calls.OpenCall:
    """`call` with the operator's own autograd node counted in: it was made before the mode was asked."""
    if call.before is None:
        return call
    before = msgspec.structs.replace(call.before, sequence=call.before.sequence - 1)
    return msgspec.structs.replace(call, before=before)


def _makes_node(arguments: Any) -> bool:
    return torch.is_grad_enabled() and any(map(reading.requires_grad, tree.tensors_of(arguments)))


def _twins(base: torch.Tensor, output: Any) -> Any:
    """Views of `base` as their caller will have them.  What the kernel makes has a version counter of its own,
    and is given that of its base after the mode has returned.  None for one of another dtype, or nested."""
    if isinstance(output, (list, tuple)):
        return [_twins(base, view) for view in output]
    if not under_a_mode.is_plain(base) or reading.is_nested(output) or reading.is_nested(base):
        return None
    if reading.dtype_of(output) is not reading.dtype_of(base):
        return None
    if not torch_internals.available("ExcludeKeys"):  # before torch 2.2
        return None
    counted = torch_internals.ExcludeKeys(torch_internals.DispatchKey.ADInplaceOrView, False)
    with torch.no_grad(), counted:
        shape, strides = reading.shape_of(output), reading.strides_of(output)
        return reading.laid_out(reading.detached(base), shape, strides, reading.offset_of(output))


def _line(where: stack.RawStack) -> str | None:
    """The innermost line that is the user's; torch's own where there is none of his."""
    lines = stack.render(where)
    chosen = next((line for line in lines if not line.startswith(_TORCH)), lines[0] if lines else None)
    return None if chosen is None else " ".join(chosen.split())
