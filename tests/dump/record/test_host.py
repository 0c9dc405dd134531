from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from dump.record.contents import borrow
from dump.record.host import as_array
from dump.record.statistics import measure


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64, torch.uint8])
@pytest.mark.parametrize("shape", [(), (5,), (3, 4)])
def test_it_is_the_tensors_own_memory(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    tensor = torch.ones(shape, dtype=dtype)
    array = as_array(tensor)
    tensor.fill_(3)
    assert array.shape == shape
    assert np.all(array == 3)


@pytest.mark.parametrize("look", [measure, borrow, as_array])
@pytest.mark.parametrize("count", [8, 200_000])
def test_whoever_owns_the_storage_may_still_resize_it(look: Callable[[torch.Tensor], object], count: int) -> None:
    """As FSDP does with parameters that it has gathered."""
    tensor = torch.ones(count)
    look(tensor)
    tensor.untyped_storage().resize_(0)
    assert tensor.untyped_storage().nbytes() == 0
