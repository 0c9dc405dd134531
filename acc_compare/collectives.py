"""The kinds of collectives that judging knows by name."""

from __future__ import annotations

REDUCES_GRADIENTS = "ddp_all_reduce"
"""The collective that DistributedDataParallel runs while backward does: it reads what backward calls wrote."""

COPIES = frozenset({"all_reduce", "all_gather", "all_gather_into_tensor", "broadcast", REDUCES_GRADIENTS})
"""Those that leave the same on all of their ranks."""

MESSAGES = ("send", "recv")
"""Those of a sender and a receiver, in this order."""
