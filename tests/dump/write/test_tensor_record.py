"""The record of a tensor, as more than one writer tells it."""

from __future__ import annotations

import json
import math

import pytest
import torch

from dump.format import encode
from dump.record import statistics
from dump.record.entries import Entry, Measured
from dump.write.tensor_record import tensor_record


def _entry(*values: float) -> Entry:
    tensor = torch.tensor(values)
    return Entry(tensor.dtype, tensor.shape, False, Measured(statistics=statistics.measure(tensor)), None)


def _read(record: object) -> dict[str, object]:
    found: dict[str, object] = json.loads(encode.body({"of": record}))["of"]
    return found


@pytest.mark.parametrize("values", [(1.0, -2.5), (math.inf, 1.0), (math.inf, -math.inf)])
def test_a_value_is_told_alike_each_time(values: tuple[float, ...]) -> None:
    entry = _entry(*values)
    first = _read(tensor_record(entry, None))
    assert _read(tensor_record(entry, None)) == first
    assert _read(tensor_record(entry, "f.npy")) == {**first, "data_name": "f.npy"}


@pytest.mark.parametrize("first", [encode.NULL, encode.NAN_WORD])
def test_each_writer_has_its_own_word_for_nan(first: object) -> None:
    entry = _entry(math.nan, 1.0)
    tensor_record(entry, None, nan=first)
    assert _read(tensor_record(entry, None))["Max"] is None
    assert math.isnan(_read(tensor_record(entry, None, nan=encode.NAN_WORD))["Max"])  # type: ignore[arg-type]


def test_of_what_was_not_measured_nothing_is_told() -> None:
    tensor = torch.ones(2)
    record = _read(tensor_record(Entry(tensor.dtype, tensor.shape, True, None, None), None))
    assert record == {"type": "torch.Tensor", "dtype": "torch.float32", "shape": [2], "requires_grad": True}
