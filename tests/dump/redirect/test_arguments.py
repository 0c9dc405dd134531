from __future__ import annotations

from typing import Any

import pytest
import torch

from dump.redirect.arguments import Target, device_first, placed

CPU, NPU = Target("cpu"), Target("npu")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("cuda", "cpu"),
        ("cuda:1", "cpu"),
        (torch.device("cuda:1"), torch.device("cpu")),
        ("torch.cuda.FloatTensor", "torch.FloatTensor"),
        ("cuda is a word", "cuda is a word"),
        ("cuda:x", "cuda:x"),
        ("cpu", "cpu"),
        (torch.device("meta"), torch.device("meta")),
        (1, 1),
        (None, None),
        ((2, 3), (2, 3)),
    ],
)
def test_what_names_a_cuda_device(value: Any, expected: Any) -> None:
    assert CPU.place(value) == expected


def test_a_number_is_a_device_where_nothing_else_can_be_meant() -> None:
    assert (CPU.device(1), CPU.device(True), CPU.device("cuda:0")) == ("cpu", True, "cpu")
    assert NPU.options({"device": 0, "size": 0}) == {"device": "npu", "size": 0}


def test_memory_is_pinned_where_there_is_an_accelerator() -> None:
    assert CPU.options({"pin_memory": True, "dtype": torch.int8}) == {"dtype": torch.int8}
    assert NPU.options({"pin_memory": True}) == {"pin_memory": True}


def test_a_stand_in_is_called_as_its_original() -> None:
    def original(*args: Any, **kwargs: Any) -> Any:
        """What it does."""
        return args, kwargs

    assert placed(original, CPU)(1, "cuda", device="cuda:3", name="x") == ((1, "cpu"), {"device": "cpu", "name": "x"})
    assert device_first(original, CPU)("self", 0, 0) == (("self", "cpu", 0), {})
    assert placed(original, CPU).__doc__ == "What it does."
