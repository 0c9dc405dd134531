"""What is known of objects of the script's, which it keeps alive no longer for that, and which are not asked for it.

A model may have an `__eq__` or a `__hash__` of its own, and a weak dictionary of Python's calls them.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar, overload

Key = TypeVar("Key")
Value = TypeVar("Value")
Other = TypeVar("Other")


class WeakTable(Generic[Key, Value]):
    """Values by objects, each object the key of its own alone, for as long as it lives; in the order of entering."""

    __slots__ = ("_entries",)

    def __init__(self) -> None:
        self._entries: dict[int, tuple[weakref.ref[Key], Value]] = {}

    @overload
    def get(self, key: Key) -> Value | None: ...
    @overload
    def get(self, key: Key, otherwise: Other) -> Value | Other: ...
    def get(self, key: Key, otherwise: object = None) -> object:
        found = self._entries.get(id(key))
        return otherwise if found is None else found[1]

    def __setitem__(self, key: Key, value: Value) -> None:
        self._entries[id(key)] = weakref.ref(key, functools.partial(_forget, self._entries, id(key))), value

    def setdefault(self, key: Key, value: Value) -> Value:
        if key not in self:
            self[key] = value
        return self._entries[id(key)][1]

    @overload
    def pop(self, key: Key) -> Value | None: ...
    @overload
    def pop(self, key: Key, otherwise: Other) -> Value | Other: ...
    def pop(self, key: Key, otherwise: object = None) -> object:
        found = self._entries.pop(id(key), None)
        return otherwise if found is None else found[1]

    def items(self) -> Iterator[tuple[Key, Value]]:
        for reference, value in list(self._entries.values()):
            key = reference()
            if key is not None:
                yield key, value

    def values(self) -> list[Value]:
        return [value for _, value in self._entries.values()]

    def clear(self) -> None:
        self._entries.clear()

    def __iter__(self) -> Iterator[Key]:
        return (key for key, _ in self.items())

    def __contains__(self, key: object) -> bool:
        return id(key) in self._entries

    def __len__(self) -> int:
        return len(self._entries)


class WeakCollection(WeakTable[Key, None]):
    """The same without values."""

    __slots__ = ()

    def __init__(self, members: Iterable[Key] = ()) -> None:
        super().__init__()
        for member in members:
            self.add(member)

    def add(self, member: Key) -> None:
        self[member] = None

    def discard(self, member: Key) -> None:
        self.pop(member)


def _forget(entries: dict[int, tuple[weakref.ref[Key], Value]], number: int, gone: weakref.ref[Key]) -> None:
    found = entries.get(number)
    if found is not None and found[0] is gone:
        del entries[number]
