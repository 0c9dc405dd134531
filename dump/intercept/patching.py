"""Replace attributes and put them back exactly: what was inherited before is inherited again."""

from __future__ import annotations

from typing import Any

_MISSING = object()


class Patches:
    """A set of replaced attributes; `restore` undoes them in reverse.  Use as a context manager or by hand."""

    def __init__(self) -> None:
        self._undo: list[tuple[Any, str, Any]] = []

    def replace(self, owner: Any, name: str, new: Any) -> None:
        """Set `owner.name` to `new`, remembering whether `owner` itself had it or only inherited it."""
        before = vars(owner).get(name, _MISSING)
        setattr(owner, name, new)
        self._undo.append((owner, name, before))

    def restore(self) -> None:
        while self._undo:
            owner, name, before = self._undo.pop()
            if before is _MISSING:
                delattr(owner, name)
            else:
                setattr(owner, name, before)

    def __enter__(self) -> Patches:
        return self

    def __exit__(self, *_: object) -> None:
        self.restore()
