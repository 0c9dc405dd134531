"""What a recorder makes of each call: a record whose arguments are entries, each with what is known of its contents."""

from __future__ import annotations

from typing import Any, Protocol

import msgspec
import torch

from . import contents, deferred, stack, statistics
from .identity import Identity
from .sharded import Layout

# What is made for every tensor of a step are msgspec's structs that Python's collector need not follow: none of them
# can be part of a cycle.  A dataclass takes three times as long to make, and collections, which go through every
# object of the process, came so often that they took a tenth of a recorded step of small calls.


class Measured(msgspec.Struct, gc=False, eq=False):
    """What is known of one distinct content; filled in late where a device, a digest or a file takes its
    time.

    `failure` says why nothing is; `stored` is true once the contents are on their way to a file.
    """

    statistics: statistics.Statistics | None = None
    launched: deferred.UnderWay | None = None
    data_name: str | None = None
    md5: str | None = None
    failure: str | None = None
    stored: bool = False


class Entry(msgspec.Struct, gc=False, eq=False):
    """One mention of a tensor in a call's arguments."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    requires_grad: bool
    measured: Measured | None
    identity: Identity | None
    grad_fn: str | None = None
    unrecorded: str | None = None
    stride: tuple[int, ...] | None = None
    layout: Layout | None = None
    partition: list[int] | None = None


class Expected(msgspec.Struct, gc=False, eq=False):
    """Who mentioned the result of a collective that still ran: entries with their tensors and places; the records that
    do so were held from number `since` on."""

    mentions: list[tuple[Entry, torch.Tensor, str]] = msgspec.field(default_factory=list)
    since: int = 0


class Emission(msgspec.Struct, gc=False, eq=False):
    """One finished record on its way to the writer; `body` nests entries where arguments had tensors."""

    name: str
    body: dict[str, Any]
    owner: str | None
    stack: stack.RawStack | None


class Sink(Protocol):
    """Where records go (`dump.writer`)."""

    def record(self, emission: Emission) -> None: ...
    def store(self, measured: Measured, place: str | None, payload: contents.Contents) -> None:
        """Take contents that may be borrowed: on return the run may write to them."""
