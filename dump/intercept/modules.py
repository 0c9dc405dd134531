"""Module calls and the module tree, by torch's global module hooks: no edit to the script, none to the model.

A module's name is its path in the outermost module called.  The outermost module itself has no path and no record of
its own, as in msprobe.  Its hooks only push and pop at level L1, so that every call knows its module at every level.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.modules import module as torch_module

from ..record import stack, tree
from ..record.recorder import Emission, StepRecorder
from . import autograd
from .watch import Watch, backward_name


@dataclass(slots=True)
class _Frame:
    """A module call between its beginning and its end."""

    module: torch.nn.Module
    name: str | None
    recorder: StepRecorder | None
    recorded: bool
    body: dict[str, Any]
    tensors: list[torch.Tensor]
    before: autograd.Before | None
    stack: stack.RawStack | None


class ModuleTree:
    """Names of modules: the paths below each outermost module met so far.

    The first tree's paths stand alone.  A later outermost module (a loss, a second network) is named for its class,
    with a number if that name is taken.
    """

    def __init__(self) -> None:
        self._paths: dict[torch.nn.Module, str] = {}
        self._roots: dict[torch.nn.Module, str] = {}
        self._parameters: dict[int, str] = {}

    def add_root(self, root: torch.nn.Module, prefix: str | None = None) -> None:
        if root in self._roots:
            return
        if prefix is None:
            prefix = "" if not self._roots else self._free_prefix(type(root).__name__)
        self._roots[root] = prefix
        for path, module in root.named_modules():
            self._paths.setdefault(module, ".".join(part for part in (prefix, path) if part))
        for name, parameter in root.named_parameters():
            self._parameters.setdefault(id(parameter), ".".join(part for part in (prefix, name) if part))

    def rename(self, module: torch.nn.Module, name: str) -> None:
        """Give `module` a name of the user's; what lies below it is named after it."""
        for path, member in module.named_modules():
            self._paths[member] = ".".join(part for part in (name, path) if part)

    def _free_prefix(self, name: str) -> str:
        taken = set(self._roots.values())
        number = 1
        candidate = name
        while candidate in taken:
            number += 1
            candidate = f"{name}{number}"
        return candidate

    def knows(self, module: torch.nn.Module) -> bool:
        return module in self._paths

    def is_root(self, module: torch.nn.Module) -> bool:
        return module in self._roots

    def path(self, module: torch.nn.Module, parent: str) -> str:
        """The module's path; one that joined the tree after its root was met is looked for again, and one that was
        never registered is named below the module that called it."""
        found = self._paths.get(module)
        if found is None:
            for root, prefix in self._roots.items():
                for path, member in root.named_modules():
                    self._paths.setdefault(member, ".".join(part for part in (prefix, path) if part))
            found = self._paths.setdefault(module, ".".join(part for part in (parent, type(module).__name__) if part))
        return found

    def parameter_name(self, parameter: torch.Tensor) -> str | None:
        return self._parameters.get(id(parameter))


class ModuleCalls:
    """The global hooks.  Install once for a session; `remove` takes them away."""

    def __init__(
        self,
        watch: Watch,
        modules: ModuleTree,
        *,
        records: bool,
        on_outermost: Callable[[torch.nn.Module], None] | None = None,
        after_outermost: Callable[[torch.nn.Module], None] | None = None,
    ) -> None:
        self._watch = watch
        self._tree = modules
        self._records = records
        self._on_outermost = on_outermost
        self._after_outermost = after_outermost
        self._frames: list[_Frame] = []
        self._leaves: dict[Any, Any] = {}
        self._handles: list[Any] = []

    def install(self) -> None:
        self._handles = [
            torch_module.register_module_forward_pre_hook(self._enter),
            torch_module.register_module_forward_hook(self._leave, with_kwargs=True, always_call=True),
        ]

    def remove(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self.end_step()

    def end_step(self) -> None:
        """Take our hooks off the leaves: under DDP they outlive the step's graph."""
        for handle in self._leaves.values():
            handle.remove()
        self._leaves.clear()

    def _enter(self, module: torch.nn.Module, args: tuple[Any, ...]) -> None:
        watch = self._watch
        if watch.busy or torch.compiler.is_compiling():
            return
        if not self._frames and self._on_outermost is not None:
            self._on_outermost(module)
        if watch.recorder is not None and not watch.listening():
            return
        if not self._frames and not self._tree.knows(module):
            self._tree.add_root(module)
        frame = _Frame(module, None, watch.recorder, False, {}, [], None, None)
        self._frames.append(frame)
        try:
            if watch.recorder is not None and not self._tree.is_root(module):
                watch.guard(lambda: self._begin(frame, args))
        finally:
            watch.modules.append(frame.name if frame.name is not None else watch.owner)

    def _begin(self, frame: _Frame, args: tuple[Any, ...]) -> None:
        watch, recorder = self._watch, frame.recorder
        assert recorder is not None
        parent = self._tree.path(self._frames[-2].module, "") if len(self._frames) > 1 else ""
        path = self._tree.path(frame.module, parent)
        key = f"Module.{path}.{type(frame.module).__name__}"
        name = f"{key}.forward.{recorder.number(key)}"
        frame.name = name
        if not self._records or not recorder.wanted(name):
            return
        frame.recorded = True
        if recorder.keeps("forward", "input"):
            frame.body["input_args"] = recorder.read(args, f"{name}.input")
        frame.tensors = tree.tensors_of(args)
        frame.before = autograd.before_call(frame.tensors)
        frame.stack = recorder.take_stack()

    def _leave(
        self, module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> None:
        watch = self._watch
        if watch.busy or torch.compiler.is_compiling() or not self._frames:
            return
        if self._frames[-1].module is not module:
            return
        frame = self._frames.pop()
        watch.modules.pop()
        if frame.recorded and frame.recorder is watch.recorder:
            watch.guard(lambda: self._end(frame, kwargs, output))
        if not self._frames and self._after_outermost is not None:
            self._after_outermost(module)

    def _end(self, frame: _Frame, kwargs: dict[str, Any], output: Any) -> None:
        watch, recorder = self._watch, frame.recorder
        name = frame.name
        assert recorder is not None
        assert name is not None
        body, module = frame.body, frame.module
        if recorder.keeps("forward", "input"):
            body["input_kwargs"] = recorder.read(kwargs, f"{name}.input")
            own = {key: value for key, value in module._parameters.items() if value is not None}
            body["parameters"] = recorder.read(own, f"{name}.parameters")
        outputs = tree.tensors_of(output)
        if recorder.keeps("forward", "output"):
            listed = list(output) if isinstance(output, (list, tuple)) else [output]
            body["output"] = recorder.wrote(listed, f"{name}.output")
        body["is_recompute"] = watch.recomputing()
        recorder.emit(Emission(name, body, watch.owner, frame.stack))
        border = watch.follow(frame.before, outputs, backward_name(name), watch.owner)
        if border is not None and recorder.keeps("backward", "output"):
            self._follow_parameters(module, name, border.leaves, recorder)

    def _follow_parameters(
        self, module: torch.nn.Module, name: str, leaves: Sequence[Any], recorder: StepRecorder
    ) -> None:
        """Record the gradients of the module's own parameters when autograd delivers them."""
        own = {id(value): key for key, value in module._parameters.items() if value is not None}
        nodes = {
            node: own[id(node.variable)]
            for node in leaves
            if node not in self._leaves and id(node.variable) in own
        }
        if not nodes:
            return
        owner = backward_name(name)
        base = f"{name.rpartition('.forward.')[0]}.parameters_grad"
        gradients: dict[str, Any] = {}

        def arrived(key: str, gradient: torch.Tensor) -> None:
            if self._watch.recorder is not recorder:
                return
            gradients[key] = [recorder.read(gradient, f"{base}.{key}")]
            if len(gradients) == len(nodes):
                recorder.emit(Emission(f"{base}.{recorder.number(base)}", dict(gradients), owner, None))
                gradients.clear()

        for node, key in nodes.items():
            self._leaves[node] = node.register_prehook(self._on_leaf(arrived, key))

    def _on_leaf(
        self, arrived: Callable[[str, torch.Tensor], None], key: str
    ) -> Callable[[autograd.Gradients], None]:
        def before_accumulating(gradients: autograd.Gradients) -> None:
            gradient = gradients[0]
            if gradient is not None:
                self._watch.guard(lambda: arrived(key, gradient))

        return before_accumulating
