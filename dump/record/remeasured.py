"""Values told apart by their bytes, for memory that is written past torch's version counter.

A numpy view, a raw pointer, a kernel that writes into somebody else's memory: none moves the version, so the
identity of a value stays what it was and its first measurement is believed.  Here every look at a tensor takes
a digest of its bytes.  Where it differs from the one before, the memory was overwritten, and what lies there is
a new value that no recorded call made.

A digest reads the whole tensor, and waits for a device; this is for a run that looks for such a fault.
"""

from __future__ import annotations

import msgspec
import torch

from .. import device
from . import contents
from .identity import Identities, Identity


class CheckedIdentities(Identities):
    """The values met in one step, each checked at every mention."""

    def __init__(self) -> None:
        super().__init__()
        self._digests: dict[int, str] = {}

    def identify(self, tensor: torch.Tensor) -> Identity | None:
        identity = super().identify(tensor)
        if identity is None:
            return None
        with device.measuring():
            digest = contents.digest(contents.borrow(tensor), "md5")
        known = self._digests.setdefault(identity.value, digest)
        if known == digest:
            return identity
        self.overwritten += 1
        self.touch(tensor)
        renewed = self.identify(tensor)
        # Not fresh: its autograd node made what lay there before.
        return None if renewed is None else msgspec.structs.replace(renewed, fresh=False)
