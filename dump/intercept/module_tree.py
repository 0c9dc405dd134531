"""The modules below a module, found without asking it: what a script's own class does where it is walked is its own."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from ..record.tree import own
from ..torch_internals import own_modules, own_parameters


def joined(*parts: str) -> str:
    """The path made of `parts`, of which empty ones do not count."""
    return ".".join(part for part in parts if part)


def walk(root: torch.nn.Module) -> Iterator[tuple[str, torch.nn.Module]]:
    """`root` and all below it with their paths, each once, in the order of `named_modules`."""
    seen: set[int] = set()
    waiting = [("", root)]
    while waiting:
        path, module = waiting.pop()
        if id(module) in seen:
            continue
        seen.add(id(module))
        yield path, module
        children: list[tuple[str, torch.nn.Module]] = list(own(module, own_modules).items())
        waiting += [(joined(path, name), child) for name, child in reversed(children) if child is not None]


def parameters_in(module: torch.nn.Module) -> dict[str, torch.nn.Parameter | None]:
    """The parameters of a module itself, by name."""
    found: dict[str, torch.nn.Parameter | None] = own(module, own_parameters)
    return found


def parameters_below(root: torch.nn.Module) -> Iterator[tuple[str, torch.nn.Parameter]]:
    """The parameters of `root` and all below it, under their names.

    A wrapper of torch's own that names them as they were before it wrapped them is asked.
    """
    named = type(root).named_parameters
    if named is not torch.nn.Module.named_parameters and named.__module__.partition(".")[0] == "torch":
        yield from root.named_parameters()
        return
    for path, module in walk(root):
        for name, parameter in parameters_in(module).items():
            if parameter is not None:
                yield joined(path, name), parameter
