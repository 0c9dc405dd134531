from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dump.config import DumpConfig
from dump.coverage import Coverage
from dump.write.header import closing_keys, opening_keys


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {"summary_mode": "statistics", "hash": None, "dump_data_dir": None}),
        ({"summary_mode": "md5"}, {"summary_mode": "md5", "hash": "md5", "dump_data_dir": None}),
        ({"summary_mode": "md5", "hash": "crc32"}, {"hash": "crc32"}),
        ({"summary_mode": "hash"}, {"summary_mode": "md5", "hash": "xxh3", "dump_data_dir": None}),
        ({"task": "tensor", "summary_mode": "md5"}, {"summary_mode": None, "hash": None}),
    ],
    ids=str,
)
def test_the_first_line_says_what_was_asked_for(
    config: DumpConfig, tmp_path: Path, changes: dict[str, str], expected: dict[str, object]
) -> None:
    found = opening_keys(replace(config, **changes), tmp_path)
    assert expected.items() <= found.items()
    assert found["torch_version"] == torch.__version__


def test_tensors_are_told_where_they_lie(config: DumpConfig, tmp_path: Path) -> None:
    found = opening_keys(replace(config, task="tensor"), tmp_path)
    assert found["dump_data_dir"] == str(tmp_path / "dump_tensor_data")


@pytest.mark.parametrize(("kinds", "device"), [(set(), "cpu"), ({"cpu"}, "cpu")])
def test_the_last_line_names_the_device(kinds: set[str], device: str) -> None:
    found = closing_keys(kinds, Coverage(calls=3).header(), complete=False)
    assert found["device"] == device
    assert found["complete"] is False
    assert found["coverage"] == Coverage(calls=3).header()


@pytest.mark.parametrize("remeasure", [True, False])
def test_whether_memory_was_looked_at_anew(config: DumpConfig, tmp_path: Path, remeasure: bool) -> None:
    environment = opening_keys(replace(config, remeasure=remeasure), tmp_path)["environment"]
    assert isinstance(environment, dict)
    assert ("remeasured" in environment) == remeasure
