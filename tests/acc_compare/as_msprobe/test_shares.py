"""Expected values are msprobe's arithmetic by hand: 8.3.3 adds 2**-52 to float32's zeros, 26.2.0 2**-23."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from acc_compare.as_msprobe.shares import Shares, of_files


def _shares(folder: Path, npu: torch.Tensor, bench: torch.Tensor, *, own_dtype: bool) -> Shares:
    for name, tensor in (("npu", npu), ("bench", bench)):
        (folder / name / "dump_tensor_data").mkdir(parents=True)
        torch.save(tensor, folder / name / "dump_tensor_data" / "x.pt")
    places = str(folder / "npu" / "dump.json"), str(folder / "bench")
    return of_files(places, ("x.pt", "x.pt"), own_dtype=own_dtype)


@pytest.mark.parametrize(("own_dtype", "little"), [(True, 2.0**-52), (False, 2.0**-23)])
def test_what_stands_against_zero_is_divided_by_a_little(own_dtype: bool, little: float, tmp_path: Path) -> None:
    found = _shares(tmp_path, torch.tensor([1.0, 2.0]), torch.tensor([0.0, 2.0]), own_dtype=own_dtype)
    assert found == Shares(1 / little, 0.5, 0.5)


def test_a_small_value_against_zero_is_within_a_thousandth_of_the_newers_little(tmp_path: Path) -> None:
    small = torch.tensor([2.0**-40, 0.0, math.nan, math.inf]), torch.tensor([0.0, 0.0, math.nan, math.inf])
    assert _shares(tmp_path / "26", *small, own_dtype=False) == Shares(2.0**-17, 1.0, 1.0)
    assert _shares(tmp_path / "8", *small, own_dtype=True) == Shares(2.0**12, 0.75, 0.75)


def test_in_half_precision_the_older_has_no_little_and_no_largest(tmp_path: Path) -> None:
    half = torch.tensor([0.0, 1.0], dtype=torch.float16), torch.tensor([0.0, 2.0], dtype=torch.float16)
    assert math.isnan(_shares(tmp_path / "8", *half, own_dtype=True).largest)
    assert _shares(tmp_path / "26", *half, own_dtype=False) == Shares(0.5, 0.5, 0.5)


def test_integers_and_bfloat16_are_widened(tmp_path: Path) -> None:
    whole = torch.tensor([3, 4]), torch.tensor([0, 4])
    assert _shares(tmp_path / "int", *whole, own_dtype=False) == Shares(3 * 2.0**52, 0.5, 0.5)
    short = torch.tensor([3.0, 4.0]).bfloat16(), torch.tensor([0.0, 4.0]).bfloat16()
    assert _shares(tmp_path / "bf16", *short, own_dtype=False) == Shares(3 * 2.0**23, 0.5, 0.5)
