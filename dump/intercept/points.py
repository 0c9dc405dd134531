"""The points at which a recording meets torch, each installed by itself.

A release of torch may lack what one of them needs, or have it otherwise: that one is left out, by name and with its
reason, and the others record.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePath

import torch

from .. import torch_internals
from .patching import Patches

_LONGEST = 200
_BY_FILE = {
    "apis": "API calls",
    "audit": "operators that no call stood for",
    "autograd": "gradients",
    "calls": "gradients",
    "collectives": "collectives",
    "dispatcher_ops": "custom autograd Functions",
    "modules": "module calls",
    "optimizer": "optimizer steps",
    "parameters": "gradients of parameters",
    "scripted_code": "calls of scripted code",
    "steps": "the beginning of steps",
}
"""What the files of this folder record, for what fails while they work."""


def _nothing() -> None:
    return None


@dataclass(frozen=True, slots=True)
class Point:
    """What is recorded there, in the words of the closing line, and how it is installed.

    What `install` returns names those parts that were left out alone, with their reasons.  `needs` names rows of
    `torch_internals` without which it cannot work; `remove` takes away what `install` left in torch apart from
    patches, and does nothing where that is nothing.
    """

    name: str
    install: Callable[[Patches], Mapping[str, str] | None]
    needs: tuple[str, ...] = ()
    remove: Callable[[], None] = _nothing


def install_each(points: Iterable[Point], patches: Patches) -> dict[str, str]:
    """Install what this torch allows; for each point that is left out, by name, the reason."""
    left_out: dict[str, str] = {}
    for point in points:
        reason = _lacking(point.needs)
        if not reason:
            try:
                with patches.all_or_nothing():
                    left_out.update(point.install(patches) or {})
            except Exception as error:  # whatever a torch raises that nobody has seen yet
                reason = in_short(error)
                with contextlib.suppress(Exception):
                    point.remove()
        if reason:
            left_out[point.name] = reason
    return left_out


def moved_names() -> dict[str, str]:
    """What is not recorded for want of a private name that this release should still have, with the reason."""
    present = release(torch.__version__)
    rows = torch_internals.INTERNALS
    gone = (each for each in torch_internals.missing() if release(rows[each.name].since) <= present)
    return {each.without: each.reason for each in gone}


def point_of(file: str) -> str:
    """What the file of an interceptor records; "" where it is none."""
    path = PurePath(file)
    return _BY_FILE.get(path.stem, "") if path.parent.name == PurePath(__file__).parent.name else ""


def in_short(error: Exception) -> str:
    """An exception in one line of bounded length."""
    text = f"{type(error).__name__}: {error}".strip()
    return text.splitlines()[0][:_LONGEST]


def _lacking(needs: Iterable[str]) -> str:
    lacking = {name for name in needs if not torch_internals.available(name)}
    return "; ".join(missing.reason for missing in torch_internals.missing() if missing.name in lacking)


def release(version: str) -> tuple[int, ...]:
    """(2, 14) of "2.14.1+cpu"."""
    return tuple(int(part) for part in version.split("+")[0].split(".")[:2] if part.isdigit())
