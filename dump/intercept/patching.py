"""Replace attributes and put them back exactly: what was inherited before is inherited again."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_MISSING: Any = object()


@dataclass(frozen=True, slots=True)
class _Patch:
    """`owner.name`, what stood there itself (not by inheritance), and what stands there now."""

    owner: Any
    name: str
    before: Any
    now: Any

    def undo(self) -> bool:
        """Put `before` back, unless somebody has patched over us since; True where it was put back."""
        if vars(self.owner).get(self.name, _MISSING) is not self.now:
            return False
        if self.before is _MISSING:
            delattr(self.owner, self.name)
        else:
            setattr(self.owner, self.name, self.before)
        return True


class Patches:
    """A set of replaced attributes; `restore` undoes them in reverse.  Use as a context manager or by hand.

    Somebody else's patch put over one of ours is left alone, and so is ours below it: taking ours out from
    under theirs is not possible, and taking theirs away would change the user's run.
    """

    def __init__(self) -> None:
        self._patches: list[_Patch] = []

    def replace(self, owner: Any, name: str, new: Any) -> None:
        """Set `owner.name` to `new`, remembering whether `owner` itself had it or only inherited it."""
        patch = _Patch(owner, name, vars(owner).get(name, _MISSING), new)
        setattr(owner, name, new)
        self._patches.append(patch)

    def restore(self) -> None:
        self._restore_to(0)

    def _restore_to(self, number: int) -> None:
        while len(self._patches) > number:
            self._patches.pop().undo()

    @contextlib.contextmanager
    def all_or_nothing(self) -> Iterator[None]:
        """What a block has replaced when it raises is put back; what was replaced before it stays."""
        before = len(self._patches)
        try:
            yield
        except BaseException:
            self._restore_to(before)
            raise

    @contextlib.contextmanager
    def suspended(self) -> Iterator[None]:
        """Everything as it was before, for the length of a block."""
        undone = [patch for patch in reversed(self._patches) if patch.undo()]
        try:
            yield
        finally:
            for patch in reversed(undone):
                setattr(patch.owner, patch.name, patch.now)

    def __enter__(self) -> Patches:
        return self

    def __exit__(self, *_: object) -> None:
        self.restore()
