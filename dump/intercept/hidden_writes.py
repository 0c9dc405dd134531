"""Writes that are kept from autograd: torch lets a block write to tensors and puts their version counters back.

FSDP fills whole parameters in this way.  To the recorder a counter that falls would be memory that somebody wrote to
unseen, though the call that wrote it was recorded.
"""

from __future__ import annotations

import functools
from typing import Any

from .. import torch_internals
from ..record.identity import version_of
from .in_place import redirect
from .patching import Patches
from .watch import Watch

NEEDS = ("preserve_version_counter",)


def install(watch: Watch, patches: Patches) -> None:
    """Tell the recorder of every version counter that is put back."""

    def make(original: Any) -> Any:
        @functools.wraps(original)
        def leave(self: Any, *error: Any) -> Any:
            recorder = watch.recorder
            if recorder is None or not watch.is_our_thread():
                return original(self, *error)
            tensors = watch.attempt(_tensors, self) or ()
            counted = [version_of(tensor) for tensor in tensors]
            result = original(self, *error)
            for tensor, was in zip(tensors, counted, strict=True):
                watch.guard(functools.partial(recorder.put_back, tensor, was))
            return result

        return leave

    redirect(torch_internals.preserve_version_counter.__exit__, make, patches)


def _tensors(block: Any) -> tuple[Any, ...]:
    found = vars(block)
    return tuple(found["tensors"]) if "tensors" in found else (found["tensor"],)  # one before torch 2.3
