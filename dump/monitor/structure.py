"""Two one-time views of a model: what its modules take and give, and where they are called from."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ..format.errors import OutputError
from ..older_torch import is_compiling
from ..record import stack
from .forward_hooks import ForwardHook
from .output import write_json
from .scope import WatchedModule


class ModuleStructure:
    """`print_struct`: sizes and dtypes of every module's inputs, outputs and their gradients, in msprobe's words.

    Gradients' sizes are those of the values, so that no hook is needed in backward.
    """

    def __init__(self) -> None:
        self.found: dict[str, dict[str, Any]] = {}
        self._handles: list[Any] = []

    def attach(self, modules: tuple[WatchedModule, ...], guard: Callable[[Callable[[], None]], None]) -> None:
        for watched in modules:
            name = f"{watched.vpp_stage}:{watched.name}"

            def saw(_: Any, args: Any, kwargs: Any, output: Any, name: str = name) -> None:
                guard(lambda: self._note(name, args, kwargs, output))

            self._handles.append(ForwardHook(watched.module, saw, before=False))

    def detach(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def write(self, root: Path, rank: int) -> Path:
        """`module_struct/rank{n}/module_struct.json` below `root`.  Raises OutputError."""
        path = root / "module_struct" / f"rank{rank}" / "module_struct.json"
        write_json(path, self.found, indent=2)
        return path

    def _note(self, name: str, args: Any, kwargs: Any, output: Any) -> None:
        inputs = [value for value in (*args, *kwargs.values()) if isinstance(value, torch.Tensor)]
        self.found.setdefault(
            name,
            {
                "input": _described(tuple(inputs)),
                "output": _described(output),
                "input_grad": _described(tuple(inputs)),
                "output_grad": _described(output if isinstance(output, (tuple, list)) else (output,)),
            },
        )


def _described(value: Any) -> dict[str, str]:
    if isinstance(value, (tuple, list)):
        found = {"config": f"{type(value).__name__}[{len(value)}]"}
        return found | {str(index): _one(item) for index, item in enumerate(value)}
    if isinstance(value, torch.Tensor):
        return {"config": "tensor", "tensor": _one(value)}
    return {"config": str(type(value))}


def _one(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        return f"size={tuple(value.shape)}, dtype={value.dtype}"
    return str(type(value))


class CallPlaces:
    """`stack_info`: where each module was first called from, in the first recorded step."""

    def __init__(self) -> None:
        self._found: dict[str, stack.RawStack] = {}
        self._handles: list[Any] = []

    def attach(self, modules: tuple[WatchedModule, ...]) -> None:
        for watched in modules:
            name = f"{watched.vpp_stage}:{watched.name}"

            def saw(*_: Any, name: str = name) -> None:
                if name not in self._found and not is_compiling():
                    self._found[name] = stack.take()

            self._handles.append(ForwardHook(watched.module, saw, before=False, kwargs=False))

    def detach(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def write(self, folder: Path) -> None:
        """`stack_info.csv` with the columns module_name and stack_info.  Raises OutputError."""
        buffer = io.StringIO()
        lines = csv.writer(buffer, lineterminator="\n")
        lines.writerow(("module_name", "stack_info"))
        for name, raw in self._found.items():
            lines.writerow((name, "\n".join(line.replace("\n", "") for line in stack.render(raw))))
        path = folder / "stack_info.csv"
        try:
            path.write_text(buffer.getvalue(), encoding="utf-8", newline="\n")
        except OSError as error:
            raise OutputError(f"{path}: cannot be written ({error.strerror}).") from error
