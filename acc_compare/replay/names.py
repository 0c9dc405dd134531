"""A call's name to the function that it names, by an allow-list: the operators that a recording listens to.

Names come from dumps, which are not trusted.  Nothing is looked up but what `dump.intercept.catalog` finds in torch
itself, registered operators of torch's and of the NPU's, and those of modules that the user has imported by name.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

from acc_compare.messages import Message, say
from dump.format.errors import ConfigError
from dump.format.names import CallName
from dump.intercept.catalog import operators
from dump.torch_internals import OpOverloadPacket

_REGISTERED = {"Aten": "aten", "NPU": "npu"}
_REFUSED = frozenset(("from_file",))
_OTHERS = {
    "Module": say("replay.reason.module"),
    "Cell": say("replay.reason.module"),
    "Optimizer": say("replay.reason.optimizer"),
    "Distributed": say("replay.reason.collective"),
    "Autograd": say("replay.reason.autograd"),
}


class CannotReplay(Exception):
    """A call that cannot be made again; `reason` says why."""

    def __init__(self, reason: Message) -> None:
        super().__init__(reason.key)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Target:
    """What a name stands for, and how Python code says it (`torch.nn.functional.gelu`)."""

    function: Callable[..., Any]
    expression: str


def target_of(name: CallName) -> Target:
    """The function of a call.  Raises CannotReplay where the name is not in the list."""
    if name.prefix in _OTHERS:
        raise CannotReplay(_OTHERS[name.prefix])
    found = _catalogued().get((name.prefix, name.api))
    if found is None:
        found = _registered(name)
    if found is None or name.api in _REFUSED:
        raise CannotReplay(say("replay.reason.unknown", operator=f"{name.prefix}.{name.api}"))
    return found


def import_operators(modules: Iterable[str]) -> None:
    """Import the user's modules that register operators.  Raises ConfigError."""
    for module in modules:
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise ConfigError(f"--import {module}: cannot be imported ({error}).") from error


@cache
def _catalogued() -> dict[tuple[str, str], Target]:
    found: dict[tuple[str, str], Target] = {}
    for operator in operators():
        owner = operator.owner
        home = f"{owner.__module__}.{owner.__name__}" if isinstance(owner, type) else owner.__name__
        target = Target(getattr(owner, operator.attribute), f"{home}.{operator.attribute}")
        found.setdefault((operator.prefix, operator.api), target)
    return found


def _registered(name: CallName) -> Target | None:
    """An operator of the dispatcher: of torch's, of the NPU's, or `Torch.NAMESPACE.OP` of a namespace that is there."""
    namespace, dot, operator = (_REGISTERED.get(name.prefix, ""), ".", name.api)
    if not namespace and name.prefix == "Torch":
        namespace, dot, operator = name.api.partition(".")
    if not namespace or not dot or not (namespace + operator).replace("_", "").isalnum():
        return None
    try:
        packet = getattr(getattr(torch.ops, namespace), operator)
    except AttributeError:
        return None
    if not isinstance(packet, OpOverloadPacket):
        return None
    return Target(packet, f"torch.ops.{namespace}.{operator}")
