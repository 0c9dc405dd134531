"""Replace attributes and put them back exactly: what was inherited before is inherited again."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import MappingProxyType, WrapperDescriptorType
from typing import Any

from .references import forget_lookups

_MISSING: Any = object()
_HEAP_TYPE = 1 << 9
"""The flag of types that were made by Python or like one; the dict of others is to be reached around Python."""


@dataclass(frozen=True, slots=True)
class _Patch:
    """`owner.name`, what stood there itself (not by inheritance), and what stands there now."""

    owner: Any
    name: Any
    before: Any
    now: Any

    def undo(self) -> bool:
        """Put `before` back, unless somebody has patched over us since; True where it was put back."""
        if _own(self.owner, self.name) is not self.now:
            return False
        _set(self.owner, self.name, self.before)
        return True

    def redo(self) -> None:
        _set(self.owner, self.name, self.now)


def _own(owner: Any, name: Any) -> Any:
    """What `owner` itself has under `name`: a dict's item, or an attribute.  A function's code stands beside those."""
    if name == "__code__":
        return owner.__code__
    return (owner if isinstance(owner, dict) else vars(owner)).get(name, _MISSING)


def _set(owner: Any, name: Any, value: Any) -> None:
    if isinstance(owner, dict):
        if value is _MISSING:
            del owner[name]
        else:
            owner[name] = value
    elif isinstance(owner, type) and not owner.__flags__ & _HEAP_TYPE:
        _set(gc.get_referents(vars(owner))[0], name, value)
        forget_lookups(owner)
    elif value is _MISSING:
        delattr(owner, name)
    elif name == "__getitem__" and isinstance(owner, type) and _is_mapping_in_c(owner):
        _set_indexing(owner, value)
    else:
        setattr(owner, name, value)


def _is_mapping_in_c(kind: type) -> bool:
    """Is `kind` indexed by a slot of C's that is not that of sequences?"""
    return isinstance(getattr(kind, "__getitem__", None), WrapperDescriptorType) and not issubclass(kind, Sequence)


def _set_indexing(owner: type, value: Any) -> None:
    """Set `__getitem__` of a type that C functions index as a mapping, and not as a sequence.

    Python fills both slots of a type that gets a `__getitem__`.  A tensor that seems a sequence is asked for its length
    where it is one number of many (`torch.tensor([loss, other])`), and has none.  The slot of mappings alone is filled
    for the method of a C type that is such a mapping; then the method that is meant takes its place in the dict, where
    the slot looks it up.
    """
    type.__setattr__(owner, "__getitem__", MappingProxyType.__getitem__)
    _set(gc.get_referents(vars(owner))[0], "__getitem__", value)
    forget_lookups(owner)


class Patches:
    """A set of replaced attributes; `restore` undoes them in reverse.  Use as a context manager or by hand.

    Somebody else's patch put over one of ours is left alone, and so is ours below it: taking ours out from
    under theirs is not possible, and taking theirs away would change the user's run.
    """

    def __init__(self) -> None:
        self._patches: list[_Patch] = []

    def replace(self, owner: Any, name: Any, new: Any) -> None:
        """Set `owner.name` (of a dict, its item) to `new`, remembering whether `owner` itself had it or only
        inherited it."""
        patch = _Patch(owner, name, _own(owner, name), new)
        patch.redo()
        self._patches.append(patch)

    def restore(self) -> None:
        self._restore_to(0)

    def _restore_to(self, number: int) -> None:
        """From the last down to `number`; where one cannot be undone, the others are before it raises."""
        with contextlib.ExitStack() as undoing:
            for patch in self._patches[number:]:
                undoing.callback(patch.undo)
            del self._patches[number:]

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
                patch.redo()

    def __enter__(self) -> Patches:
        return self

    def __exit__(self, *_: object) -> None:
        self.restore()
