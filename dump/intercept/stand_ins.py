"""Stand-ins for functions written in C, which can neither be given other code nor be told who calls them.

A stand-in takes the place of its function everywhere (`intercept.references`), also where torch's C++ looks functions
up to hand them to `__torch_function__`, so that all who ask meet one object.  Whoever kept the other one finds them
equal.
"""

from __future__ import annotations

from types import BuiltinFunctionType
from typing import Any

_NAMES = ("__name__", "__qualname__", "__module__", "__doc__", "__self__", "__text_signature__")


class StandIn:
    """Stands for `original`, which it is equal to, with one hash.  What a call does is the subclass's to say.

    A table that was made of originals is read with stand-ins, and the other way round.  It is pickled and copied as
    the original, by name.
    """

    __slots__ = ("__dict__", "__weakref__", "original")

    def __init__(self, original: Any) -> None:
        self.original: Any = _behind(original)
        self.__dict__.update({name: getattr(original, name) for name in _NAMES if hasattr(original, name)})

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        return self.original(*args, **kwargs)

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return BuiltinFunctionType

    def __eq__(self, other: object) -> bool:
        return bool(self.original == _behind(other))

    def __hash__(self) -> int:
        return hash(self.original)

    def __repr__(self) -> str:
        return repr(self.original)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.original.__reduce_ex__(protocol)

    def __copy__(self) -> StandIn:
        return self

    def __deepcopy__(self, memo: Any) -> StandIn:
        return self


def _behind(thing: Any) -> Any:
    return thing.original if issubclass(type(thing), StandIn) else thing
