"""To be told of every step of an optimizer, torch's own or a framework's around it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch

from ..intercept.patching import Patches


def follow(optimizer: Any, before: Callable[[], None], after: Callable[[], None]) -> Callable[[], None]:
    """Call `before` and `after` around each step, until what is returned is called.

    A wrapper that is no torch optimizer has its `step` replaced.
    """
    if isinstance(optimizer, torch.optim.Optimizer):
        handles = [
            optimizer.register_step_pre_hook(lambda *_: before()),
            optimizer.register_step_post_hook(lambda *_: after()),
        ]

        def end() -> None:
            for handle in handles:
                handle.remove()

        return end
    patches = Patches()
    original = optimizer.step

    @functools.wraps(original)
    def step(*args: Any, **kwargs: Any) -> Any:
        before()
        result = original(*args, **kwargs)
        after()
        return result

    patches.replace(optimizer, "step", step)
    return patches.restore
