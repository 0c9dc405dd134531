"""Memory that holds nothing yet: what a storage gains when it is made larger.

FSDP frees the memory of whole parameters and gets it back before each use.  Until something is written there, views of
it are made whose contents mean nothing.
"""

from __future__ import annotations

import functools
from typing import Any

import torch

from .patching import Patches
from .watch import Watch


def install(watch: Watch, patches: Patches) -> None:
    """Tell the recorder of every storage that grows from nothing."""
    original = torch.UntypedStorage.resize_

    @functools.wraps(original)
    def resize_(storage: Any, size: int) -> Any:
        was_empty = watch.recorder is not None and storage.nbytes() == 0
        result = original(storage, size)
        recorder = watch.recorder
        if was_empty and size and recorder is not None and watch.is_our_thread():
            watch.guard(lambda: recorder.emptied(storage))
        return result

    patches.replace(torch.UntypedStorage, "resize_", resize_)
