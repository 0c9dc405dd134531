"""How calls are called, and how such a name is taken apart.

    {prefix}.{api}.{number}.{direction}             Functional.gelu.2.forward, Optimizer.AdamW.0.forward
    Module.{path}.{Class}.{direction}.{number}      Module.layer1.0.conv1.Conv2d.parameters_grad.0

Names come from untrusted files, so parsing never fails: what fits neither shape becomes a `CallName` whose
prefix is "Unknown" and whose api is the text itself, and printing it gives that text back.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from sys import intern

UNKNOWN = "Unknown"
FORWARD = "forward"
BACKWARD = "backward"
PARAMETERS_GRAD = "parameters_grad"

API_PREFIXES = ("Functional", "Torch", "Tensor", "VF", "NPU", "Distributed", "Aten", "Autograd", "Optimizer")
"""The prefixes that a recording of ours uses; a foreign prefix in the same shape is kept as it stands."""

MODULE_PREFIXES = ("Module", "Cell")
"""Prefixes with the module shape; "Cell" is what MindSpore calls a module."""

WRAPPERS = ("_orig_mod", "_checkpoint_wrapped_module", "_fsdp_wrapped_module", "_fpw_module")
"""What stands in the paths of a model's modules and parameters where one of torch's wrappers holds the module itself:
torch.compile, activation checkpointing, FSDP, and FSDP of old."""

DATA_PARALLEL = "module"
"""The same for DataParallel, DistributedDataParallel and Megatron's.  A model of the user's may have a part of this
name, so it is passed over only where two sides are held against each other."""

_PARAMETRIZED = re.compile(r"(^|\.)parametrizations\.([^.]+)\.original$")
_API_DIRECTIONS = frozenset((FORWARD, BACKWARD))
_MODULE_DIRECTIONS = frozenset((FORWARD, BACKWARD, PARAMETERS_GRAD))
_MOST_DIGITS = 18  # more cannot be a count of calls, and int() refuses texts of 4,300 digits
_CACHED_NAMES = 1 << 18  # two sides of 88,320 calls each, with room


@dataclass(frozen=True, slots=True)
class CallName:
    """One call name in parts; `str()` prints it again exactly.

    `api` is the class name for a module, `path` the module's path ("" for an API and for a root module),
    `number` counts calls of this api or module from 0 within a step, `direction` is "forward", "backward" or
    "parameters_grad".
    """

    prefix: str
    api: str
    path: str
    number: int
    direction: str

    @property
    def is_module(self) -> bool:
        return self.prefix in MODULE_PREFIXES

    def __str__(self) -> str:
        if self.prefix == UNKNOWN:
            return self.api
        if self.is_module:
            middle = f"{self.path}.{self.api}" if self.path else self.api
            return f"{self.prefix}.{middle}.{self.direction}.{self.number}"
        return f"{self.prefix}.{self.api}.{self.number}.{self.direction}"


@lru_cache(maxsize=_CACHED_NAMES)
def parse(text: str) -> CallName:
    """The parts of `text`; never raises, and `str(parse(text)) == text` for every text."""
    prefix, _, rest = text.partition(".")
    if prefix in MODULE_PREFIXES:
        parts = rest.rsplit(".", 2)
        if len(parts) == 3 and parts[1] in _MODULE_DIRECTIONS and _is_number(parts[2]):
            path, dot, api = parts[0].rpartition(".")
            if api and bool(path) == bool(dot):
                return CallName(intern(prefix), intern(api), path, int(parts[2]), intern(parts[1]))
    else:
        parts = rest.rsplit(".", 2)
        if len(parts) == 3 and parts[2] in _API_DIRECTIONS and _is_number(parts[1]):
            api = parts[0]
            if api and prefix and prefix != UNKNOWN:
                return CallName(intern(prefix), intern(api), "", int(parts[1]), intern(parts[2]))
    return CallName(UNKNOWN, text, "", 0, _guess_direction(text))


def without_wrappers(path: str, *, data_parallel: bool = False) -> str:
    """The path of a module or a parameter as the model alone has it; a wrapped model itself is "".

    `_orig_mod.fc._fsdp_wrapped_module.weight` -> `fc.weight`, and so `fc.parametrizations.weight.original`;
    with `data_parallel`, `module.fc.weight` too.
    """
    found = path
    if data_parallel and DATA_PARALLEL in path:
        found = ".".join(part for part in found.split(".") if part != DATA_PARALLEL)
    if any(wrapper in found for wrapper in WRAPPERS):
        found = ".".join(part for part in found.split(".") if part not in WRAPPERS)
    return _PARAMETRIZED.sub(r"\1\2", found) if found.endswith(".original") else found


def forward_name(backward: str) -> str:
    """The name of the forward call that the call `backward` belongs to."""
    name = parse(backward)
    if name.is_module:
        return str(replace(name, direction=FORWARD))
    return f"{backward.removesuffix(BACKWARD)}{FORWARD}"


def _is_number(text: str) -> bool:
    """Whether `text` is a count as we print it: ASCII digits, no leading zero, not absurdly long."""
    if not (text.isascii() and text.isdecimal()) or len(text) > _MOST_DIGITS:
        return False
    return text == "0" or text[0] != "0"


def _guess_direction(text: str) -> str:
    parts = text.split(".")
    for direction in (PARAMETERS_GRAD, BACKWARD):
        if direction in parts:
            return direction
    return FORWARD
