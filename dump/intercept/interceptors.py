"""All that one session has between itself and torch, for one level: built together, installed and removed together."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping

import torch

from . import dispatcher_ops, hidden_writes, points, told_stacks, under_a_mode, uninitialised
from .apis import ApiCalls
from .audit import Audit
from .collectives import Collectives
from .compiled_code import CompiledCode
from .custom import CustomApis
from .modules import ModuleCalls, ModuleTree
from .optimizer import OptimizerSteps
from .patching import Patches
from .points import Point
from .scripted_code import ScriptedCode, keep_own_code_uncompiled
from .shape_inference import ShapeInference
from .steps import StepFinder
from .warned import Warned
from .watch import Watch

_RECORDS_APIS = ("L1", "mix")
_RECORDS_MODULES = ("L0", "mix")
_RECORDS_STEPS = ("L0", "L1", "mix")


class Interceptors:
    """What watches a run at `level`; nothing of torch is touched before `install`.

    With `next_step` the steps of an unmodified script are found, and it is called between two; `on_outermost(module)`
    is told of each call of a module that is not within another's, `tell` of the first failure of each kind.
    """

    def __init__(
        self,
        level: str,
        modules: ModuleTree,
        *,
        audit: bool,
        next_step: Callable[[], None] | None,
        on_outermost: Callable[[torch.nn.Module], None],
        tell: Callable[[str], None],
    ) -> None:
        self._records_apis = level in _RECORDS_APIS
        self._patches = Patches()
        self.watch = Watch(tell, finds_thread=next_step is not None)
        self.scripted_code = ScriptedCode(self.watch)
        self._custom = CustomApis(self.watch)
        self._apis = ApiCalls(self.watch)
        self._warned = Warned()
        self.audit = Audit(self.watch, records=self._records_apis) if audit else None
        self._compiled = None
        if self.audit is not None:
            self._compiled = CompiledCode(self.watch, self.audit)
            self.watch.on_new_thread = self.audit.install  # a dispatch mode is its thread's own
        self.finder = StepFinder(self.watch, next_step) if next_step is not None else None
        self.modules = modules
        self.calls = ModuleCalls(self.watch, modules, records=level in _RECORDS_MODULES, on_outermost=on_outermost)
        after_step = self.finder.stepped if self.finder else None
        self.steps = OptimizerSteps(self.watch, modules, records=level in _RECORDS_STEPS, after_step=after_step)

    def install(self) -> dict[str, str]:
        """Patch and hook torch; what this torch does not allow to record, by name, with the reason."""
        keep_own_code_uncompiled()
        return {**points.install_each(self._points(), self._patches), **points.moved_names()}

    def _points(self) -> Iterator[Point]:
        """Where torch is met, in the order of installing."""
        watch, came_first = self.watch, self.finder is not None
        yield Point("lines of warnings", self._warned.install, remove=self._warned.remove)
        yield Point("stacks that torch writes down", told_stacks.install)
        yield Point("module calls", self.calls.install)
        yield Point("optimizer steps", self.steps.install, remove=self.steps.remove)
        yield from self.scripted_code.points(came_first=came_first)
        if self._records_apis:
            yield Point("API calls", self._apis.install, remove=self._apis.remove)
            yield from dispatcher_ops.points(watch)
        yield Point("the inference of shapes", ShapeInference(watch).install)
        yield Point("collectives", Collectives(watch, records=self._records_apis).install)
        if self._records_apis:
            yield Point("memory that holds nothing yet", lambda patches: uninitialised.install(watch, patches))
            yield Point(
                "writes that are kept from autograd",
                lambda patches: hidden_writes.install(watch, patches),
                needs=hidden_writes.NEEDS,
            )
            yield Point("registered callables", lambda _: self._custom.install(), remove=self._custom.remove)
        if self.finder is not None:
            yield from self.finder.points()
        if self.audit is not None:
            audit = self.audit
            yield Point(
                "what torch does otherwise while it is audited",
                lambda patches: under_a_mode.install(watch, audit, patches),
            )
            yield Point("the audit", lambda _: audit.install(), needs=audit.NEEDS, remove=audit.remove)
        if self._compiled is not None and under_a_mode.MINDS_ANY_MODE:
            compiled = self._compiled
            yield Point(
                "compiled code under the audit",
                lambda _: compiled.install(),
                needs=compiled.NEEDS,
                remove=compiled.remove,
            )

    def left_out(self) -> Mapping[str, str]:
        """What this torch did not allow to record of what has run since, with the reason."""
        return {} if self._compiled is None else self._compiled.left_out()

    def remove(self) -> None:
        """Put torch back exactly as it was; where one part of that fails, the others are done before it raises."""
        with contextlib.ExitStack() as parts:  # the last is done first
            parts.callback(self.steps.remove)
            parts.callback(self.calls.parameters.release)
            parts.callback(self._apis.remove)
            parts.callback(self.scripted_code.remove)
            parts.callback(self._warned.remove)
            parts.callback(self._patches.restore)
            parts.callback(self._custom.remove)
            if self._compiled is not None:
                parts.callback(self._compiled.remove)
            if self.audit is not None:
                parts.callback(self.audit.remove)

    def forget(self) -> None:
        """Drop all that is open, in a child process that has inherited it."""
        self.calls.forget()
        self.watch.forget()
