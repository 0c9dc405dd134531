"""Module calls, by a stand-in for `torch.nn.Module.__call__`: no edit to the script, none to the model.

A stand-in sees what global forward hooks do not: keyword arguments before the call writes to them, and every
way out of it.  At level L1 it records nothing, and yet every API call knows the module call it ran in.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import FrameType
from typing import Any

import torch

from ..older_torch import is_dynamo_compiling
from ..record.reading import requires_grad
from ..record.tree import own
from ..torch_internals import call_impl, compiled_call, module_call, without_overrides
from . import calls
from .callers import as_if_it_were
from .module_tree import joined, parameters_below, parameters_in, walk
from .parameters import ParameterGradients
from .patching import Patches
from .scripted_code import keep_uncompiled
from .watch import Progress, Watch, in_backward
from .weak_table import WeakCollection, WeakTable


class ModuleTree:
    """Names of modules: the paths below each outermost module met so far.

    The first tree that has parameters is the model: its paths stand alone.  Every other outermost module (a
    loss, a second network) is named for its class, with a number if that name is taken.  No module is kept
    alive by being known.
    """

    def __init__(self) -> None:
        self._paths: WeakTable[torch.nn.Module, str] = WeakTable()
        self._roots: WeakTable[torch.nn.Module, str] = WeakTable()
        self._has_model = False

    def add_root(self, root: torch.nn.Module, prefix: str | None = None) -> None:
        """Name `root` and all below it, if they have no names yet."""
        if root in self._roots:
            return
        if prefix is None:
            is_model = not self._has_model and has_parameters(root)
            self._has_model = self._has_model or is_model
            prefix = "" if is_model else self._free_prefix(type(root).__name__)
        self._roots[root] = prefix
        self._name_below(root, prefix)

    def rename(self, module: torch.nn.Module, name: str) -> None:
        """Give `module` a name of the user's; what lies below it is named after it."""
        for path, member in walk(module):
            self._paths[member] = joined(name, path)

    def meet(self, module: torch.nn.Module) -> None:
        """`module` is called from outside all others: a root, unless it is part of one."""
        if module not in self._paths:
            self.add_root(module)

    def path(self, module: torch.nn.Module, *, within: torch.nn.Module | None = None) -> str:
        """The module's path: "" for the model itself.

        One that joined the tree after its root was met is looked for again, and one that was never registered
        is named below the module `within` that calls it.
        """
        found = self._paths.get(module)
        if found is None:
            for root, prefix in self._roots.items():
                self._name_below(root, prefix)
            parent = "" if within is None else self._paths.get(within, "")
            found = self._paths.setdefault(module, joined(parent, type(module).__name__))
        return found

    def parameter_names(self) -> dict[int, str]:
        """The name in its model of every parameter, by the parameter's id."""
        names: dict[int, str] = {}
        for root, prefix in self._roots.items():
            for name, parameter in parameters_below(root):
                names.setdefault(id(parameter), joined(prefix, name))
        return names

    def models(self) -> dict[str, str]:
        """The classes of outermost modules with parameters, by what the names below them begin with, where one has
        none and there are more; empty where names leave no doubt."""
        found = {prefix: type(root).__name__ for root, prefix in self._roots.items() if has_parameters(root)}
        return found if "" in found and len(found) > 1 else {}

    def parameters_of(self, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
        """An optimizer's parameters, under their names in the model or their places in the optimizer."""
        names = self.parameter_names()
        return {
            names.get(id(parameter), f"group{number}.{index}"): parameter
            for number, group in enumerate(own(optimizer, "param_groups"))
            for index, parameter in enumerate(group["params"])
        }

    def _name_below(self, root: torch.nn.Module, prefix: str) -> None:
        for path, module in walk(root):
            self._paths.setdefault(module, joined(prefix, path))

    def _free_prefix(self, name: str) -> str:
        taken = set(self._roots.values())
        number, candidate = 1, name
        while candidate in taken:
            number += 1
            candidate = f"{name}{number}"
        return candidate


def has_parameters(module: torch.nn.Module) -> bool:
    return next(parameters_below(module), None) is not None


def _progress(module: torch.nn.Module) -> Progress:
    """How far a thread has come that calls `module`, which has parameters."""
    with without_overrides():
        trains = torch.is_grad_enabled() and any(requires_grad(parameter) for _, parameter in parameters_below(module))
    return Progress.builds_graph if trains else Progress.calls_model


def runs_forward() -> bool:
    """Does this thread run a module's `forward`, however it was called?"""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        code = frame.f_code
        is_named_so = code.co_name == "forward" and code.co_argcount > 0
        if is_named_so and issubclass(type(frame.f_locals.get(code.co_varnames[0])), torch.nn.Module):
            return True
        frame = frame.f_back
    return False


@dataclass(frozen=True, eq=False)
class _Entered:
    """A module's call that has begun: how many are around it, its record and name where it has them.

    Without slots: dynamo of torch 2.1 refers weakly to what it meets.
    """

    module: torch.nn.Module
    depth: int
    call: calls.OpenCall | None
    name: str | None
    opens_gate: bool


class ModuleCalls:
    """Follows every module call, and records it where `records` says so.

    Where it does not, the modules given to `only` are recorded all the same, in place of what happens inside them.
    `on_outermost(module)` is told of each call of a module that is not within another's.
    """

    def __init__(
        self,
        watch: Watch,
        modules: ModuleTree,
        *,
        records: bool,
        on_outermost: Callable[[torch.nn.Module], None],
    ) -> None:
        self._watch = watch
        self._tree = modules
        self._records = records
        self._on_outermost = on_outermost
        self._open: list[torch.nn.Module] = []
        self._gates: WeakCollection[torch.nn.Module] = WeakCollection()
        self.parameters = ParameterGradients(watch)

    def install(self, patches: Patches) -> None:
        original = torch.nn.Module.__call__
        self_, watch, opened, takes_over = self, self._watch, self._open, self._takes_over
        is_torchs_own = original is module_call  # then our frame stands in place of its: no call is deeper than alone

        def __call__(self: torch.nn.Module, *args: Any, **kwargs: Any) -> Any:  # noqa: N807
            is_idle = watch.busy or (watch.recorder is None and opened)
            if is_dynamo_compiling():
                return original(self, *args, **kwargs)
            stands_for_it = is_torchs_own and getattr(self, compiled_call) is None
            if is_idle or not (watch.is_our_thread() or watch.attempt(takes_over, self)):
                return getattr(self, call_impl)(*args, **kwargs) if stands_for_it else original(self, *args, **kwargs)
            depth = len(opened)
            entered = _Entered(self, depth, None, None, False)
            try:
                entered = watch.attempt(self_.enter, self, args, kwargs) or entered
                output = getattr(self, call_impl)(*args, **kwargs) if stands_for_it else original(self, *args, **kwargs)
                if entered.call is not None:
                    self_.finish(entered, output)
                return output
            finally:
                watch.attempt(self_.leave, entered)

        called = as_if_it_were(original, __call__)
        keep_uncompiled(called.__code__)
        patches.replace(torch.nn.Module, "__call__", called)
        if is_torchs_own:  # the other name of the same function, by which it is pickled
            patches.replace(torch.nn.Module, called.__name__, called)

    def _takes_over(self, module: torch.nn.Module) -> bool:
        """`module` is called on another thread than the training thread: does that thread train from here on?"""
        if not has_parameters(module):
            return False
        if self._watch.claim(_progress(module)):
            self._open.clear()
            self._watch.modules.clear()
            return True
        self._watch.elsewhere += self._watch.recorder is not None
        return False

    def only(self, modules: Iterable[torch.nn.Module]) -> None:
        """Record nothing outside the calls of `modules`; with none, record everything again."""
        self._gates = WeakCollection(modules)
        self._watch.gated = bool(self._gates)

    def forget(self) -> None:
        """Drop all that is open, in a child process that has inherited it."""
        self._open.clear()
        self.parameters.release()

    def enter(self, module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Entered:
        """`module` is called."""
        watch = self._watch
        if not self._open and not in_backward():
            watch.guard(lambda: self._tree.meet(module))
            if watch.guard(lambda: has_parameters(module)):
                watch.claim(_progress(module))
            self._on_outermost(module)
            watch.guard(watch.look_again)
        opens_gate = watch.gated and module in self._gates
        if opens_gate:
            watch.gated = False
        depth = len(self._open)
        call, name = None, watch.owner
        if watch.listening():
            call, name = self._begin(module, args, kwargs, records=self._records or opens_gate)
        watch.gated = watch.gated or (opens_gate and not self._records)
        self._open.append(module)
        watch.modules.append(name)
        return _Entered(module, depth, call, name, opens_gate)

    def finish(self, entered: _Entered, output: Any) -> None:
        """A recorded call has returned `output`."""
        call = entered.call
        assert call is not None
        self._watch.guard(lambda: self._finish(entered.module, call, output))

    def leave(self, entered: _Entered) -> None:
        """A call is over, whichever way it ended."""
        watch, name = self._watch, entered.name
        if watch.is_our_thread():
            del self._open[entered.depth :], watch.modules[entered.depth :]
        if watch.recorder is not None and name is not None and name != watch.owner:
            watch.recorder.selection.left(name)
        if entered.opens_gate:
            watch.gated = bool(self._gates)

    def _begin(
        self, module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], *, records: bool
    ) -> tuple[calls.OpenCall | None, str | None]:
        """The call, where it is recorded; its name, or that of the call around it where it has none."""
        watch = self._watch

        def begin() -> tuple[calls.OpenCall | None, str | None]:
            recorder = watch.recorder
            assert recorder is not None
            path = self._tree.path(module, within=self._open[-1] if self._open else None)
            if not path and not parameters_in(module):
                return None, watch.owner  # all that the model itself has to show, its parts show
            key = f"{joined('Module', path, type(module).__name__)}.forward"
            name = f"{key}.{recorder.number(key)}"
            if not records:
                return None, name
            return calls.begin(watch, name, args=args, kwargs=kwargs, owner=watch.owner), name

        return watch.guard(begin) or (None, watch.owner)

    def _finish(self, module: torch.nn.Module, call: calls.OpenCall, output: Any) -> None:
        own = {key: value for key, value in parameters_in(module).items() if value is not None}
        border = calls.finish(self._watch, call, output, parameters=own)
        if border is not None and own:
            self.parameters.follow(call, own, border.leaves)
