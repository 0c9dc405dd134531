from collections.abc import Callable
from types import BuiltinFunctionType
from typing import Any, TypeAlias, overload

_Statistics: TypeAlias = tuple[float, float, float, float, int, int, bytes, bytes | None]

@overload
def measure(address: int, dtype: int, count: int, /) -> _Statistics: ...
@overload
def measure(address: int, dtype: int, count: int, sizes: tuple[int, ...], strides: tuple[int, ...], /) -> _Statistics:
    """What `dump.record.statistics.Statistics` holds of at least one element: maximum, minimum (ints where the dtype is
    whole), mean, norm, the numbers of NaN and of infinities, the sketch, 16 float32, and None.

    The elements lie in order, or as `sizes` and `strides` (in elements) say.  Raises ValueError for a dtype, memory or
    a layout that there is not.
    """

@overload
def measure_waves(shape: tuple[int, ...], address: int, dtype: int, count: int, /) -> _Statistics: ...
@overload
def measure_waves(
    shape: tuple[int, ...],
    address: int,
    dtype: int,
    count: int,
    sizes: tuple[int, ...],
    strides: tuple[int, ...],
    /,
) -> _Statistics:
    """The same of a tensor of this shape, with its waves, 4 float32, for the last."""

def copy(to: int, source: int, nbytes: int, /) -> None:
    """Copy memory, given by its addresses, which do not overlap; by the threads of `employ` where it is long.  Raises
    ValueError for no memory of a size."""

def employ(region: int, threads: int, /) -> None:
    """A long tensor is read or copied by so many threads from now on, this one among them: those on which the function
    at the address `region`, GOMP_parallel of an OpenMP runtime, calls what it is given.  With 0 or fewer than two by
    this one alone, as before this is called.  What comes out does not depend on it."""

def signs() -> tuple[bytes, bytes]:
    """The sketch's column and row signs as float32."""

_Memory: TypeAlias = tuple[int, int, int] | tuple[int, int, int, tuple[int, ...], tuple[int, ...]]
_Sums: TypeAlias = tuple[int, float, float, float, float, float]

def distance(
    npu: _Memory, bench: _Memory, edges: tuple[tuple[float, float], ...] | None, /
) -> tuple[
    tuple[_Sums, _Sums, _Sums],
    tuple[int, int, int, int, int, int, int, int, int | None],
    tuple[float, int | None, float, int | None],
    tuple[int, int],
]:
    """What `acc_compare.metrics.distance` gathers of two memories of as many elements, given as to `measure`: the sums
    over live elements and over the two classes of candidates, the counts of `NonFinite`, the largest absolute and
    relative error with their places, and how many elements are within each of `RATIO_LIMITS`.

    `edges` are two pairs of values that mean the same (`sums.dtype_edges`), or None.
    """

def md5(memories: list[tuple[int, int]], /) -> list[bytes]:
    """The MD5 of each memory, given as its address and how many bytes it has, many at a time: the longest first takes
    the least time.  Lets other threads run.  Raises ValueError for no memory of a size."""

def read(
    thing: object, refused: tuple[Callable[[Any], object], ...], readers: tuple[Callable[[Any], object], ...], /
) -> tuple[Any, ...] | None:
    """What each of `readers` says of `thing`, or None where one of `refused` says yes.  A reader is a descriptor of a
    type in C, as classes hold them, or anything that can be called; what is a tuple is given as a plain one.  Raises
    what they raise."""

def read_along(
    thing: object, following: Callable[[Any], object], readers: tuple[Callable[[Any], object], ...], /
) -> tuple[Any, ...]:
    """What each of `readers` says of `thing`, then of what `following` says of it, and so on until that is None: all in
    one tuple.  Readers are as those of `read`, or members of a type in C.  Raises what they raise."""

def redirect(function: BuiltinFunctionType, make: Callable[[BuiltinFunctionType], Callable[..., Any]], /) -> None:
    """Let calls of `function` call `make(twin)`, `twin` being another function that does what it did.

    It stays the object that it is, in all that can be asked of it.  Raises TypeError where it is no function written
    in C, is laid out otherwise than those of CPython 3.10 to 3.14, or is redirected already.
    """

def restore(function: BuiltinFunctionType, /) -> None:
    """Let it do again what it did.  Raises TypeError where it was not redirected."""
