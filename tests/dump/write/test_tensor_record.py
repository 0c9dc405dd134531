"""The record of a tensor, as more than one writer tells it."""

from __future__ import annotations

import json
import math

import pytest
import torch

from dump.format import encode
from dump.record import statistics
from dump.record.entries import Entry, Measured
from dump.record.identity import Identity
from dump.write.tensor_record import TensorRecords


def _entry(*values: float) -> Entry:
    tensor = torch.tensor(values)
    return Entry(
        tensor.dtype,
        tensor.shape,
        False,
        Measured(statistics=statistics.measure(tensor)),
        Identity(3, 1, (), fresh=False),
    )


def _read(record: object) -> dict[str, object]:
    found: dict[str, object] = json.loads(encode.body({"of": record}))["of"]
    return found


@pytest.mark.parametrize("values", [(1.0, -2.5), (math.inf, 1.0), (math.inf, -math.inf), (math.nan, 1.0)])
def test_a_value_is_told_alike_each_time(values: tuple[float, ...]) -> None:
    entry, records = _entry(*values), TensorRecords()
    first = _read(records.of(entry))
    assert _read(records.of(entry)) == first
    assert _read(records.of(entry, "f.npy")) == {**first, "data_name": "f.npy"}
    assert _read(TensorRecords().of(entry)) == first


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("requires_grad", True),
        ("grad_fn", "AddBackward0"),
        ("unrecorded", "nested"),
        ("stride", (2,)),
        ("partition", [1, 2]),
    ],
)
def test_what_one_mention_says_no_other_does(key: str, said: object) -> None:
    entry, records = _entry(1.0, 2.0), TensorRecords()
    before = _read(records.of(entry))
    was = getattr(entry, key)
    setattr(entry, key, said)
    told = _read(records.of(entry))
    assert told == {**before, key: list(said) if isinstance(said, tuple) else said}
    setattr(entry, key, was)
    assert _read(records.of(entry)) == before


def test_what_failed_since_is_told() -> None:
    entry, records = _entry(1.0), TensorRecords()
    records.of(entry)
    assert entry.measured is not None
    entry.measured.failure = "no room"
    assert _read(records.of(entry))["unrecorded"] == "no room"


def test_more_values_than_are_kept_are_told_alike() -> None:
    records = TensorRecords()
    entry = _entry(1.0, 2.0)
    first = _read(records.of(entry))
    for value in range(5000):
        entry.identity = Identity(value, 1, (), fresh=False)
        assert _read(records.of(entry)) == {**first, "value": value}


def test_each_writer_has_its_own_word_for_nan() -> None:
    entry = _entry(math.nan, 1.0)
    assert _read(TensorRecords().of(entry))["Max"] is None
    assert math.isnan(_read(TensorRecords(nan=encode.NAN_WORD).of(entry))["Max"])  # type: ignore[arg-type]


def test_of_what_was_not_measured_nothing_is_told() -> None:
    tensor = torch.ones(2)
    record = _read(TensorRecords().of(Entry(tensor.dtype, tensor.shape, True, None, None)))
    assert record == {"type": "torch.Tensor", "dtype": "torch.float32", "shape": [2], "requires_grad": True}


def test_the_extremes_of_nothing_are_null() -> None:
    record = _read(TensorRecords().of(_entry()))
    assert [record[key] for key in ("Max", "Min", "Mean", "Norm")] == [None] * 4
