from typing import overload

@overload
def measure(address: int, dtype: int, count: int, /) -> tuple[float, float, float, float, int, int, bytes]: ...
@overload
def measure(
    address: int, dtype: int, count: int, sizes: tuple[int, ...], strides: tuple[int, ...], /
) -> tuple[float, float, float, float, int, int, bytes]:
    """What `dump.record.statistics.Statistics` holds of at least one element: maximum, minimum (ints where the dtype is
    whole), mean, norm, the numbers of NaN and of infinities, and the sketch, 16 float32.

    The elements lie in order, or as `sizes` and `strides` (in elements) say.  Raises ValueError for a dtype, memory or
    a layout that there is not.
    """

def signs() -> tuple[bytes, bytes]:
    """The sketch's column and row signs as float32."""
