from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

import dump.sim
from dump.environment import numerics

SIMULATED = pytest.mark.skipif(not hasattr(dump.sim, "kernels"), reason="this torch has no simulated device")


@pytest.fixture(autouse=True)
def _everything_restored() -> Iterator[None]:
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    was = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    flags = cudnn.deterministic, cudnn.benchmark, matmul.allow_bf16_reduced_precision_reduction
    yield
    torch.use_deterministic_algorithms(was[0], warn_only=was[1])
    cudnn.deterministic, cudnn.benchmark, matmul.allow_bf16_reduced_precision_reduction = flags
    torch.set_float32_matmul_precision("highest")
    torch.set_default_dtype(torch.float32)
    torch.set_flush_denormal(False)


def test_switches_of_torch() -> None:
    before = numerics.in_force()
    assert before["float32_matmul.cuda"] == "full"
    assert before["default_dtype"] == "torch.float32"
    assert not before["flush_denormals"]
    torch.set_float32_matmul_precision("high")
    torch.set_default_dtype(torch.float64)
    torch.backends.cudnn.deterministic = True
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
    torch.use_deterministic_algorithms(True, warn_only=True)
    after = numerics.in_force()
    changed = {key: after[key] for key in before if after[key] != before[key]}
    expected = {
        "deterministic_algorithms": True,
        "cudnn.deterministic": True,
        "float32_matmul.cuda": "tf32",
        "bfloat16_reduction.cuda": False,
        "default_dtype": "torch.float64",
    }
    assert expected.items() <= changed.items()
    assert {key for key in changed if key not in expected} <= {"float32_matmul.cpu"}


@pytest.mark.skipif(not hasattr(torch.backends.cuda.matmul, "fp32_precision"), reason="this torch has no new switches")
def test_new_switches_of_torch_which_the_old_ones_refuse_to_be_read_beside() -> None:
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    try:
        with pytest.raises(RuntimeError):
            torch.get_float32_matmul_precision()
        assert numerics.in_force()["float32_matmul.cuda"] == "tf32"
    finally:
        torch.backends.cuda.matmul.fp32_precision = "none"


def test_denormals() -> None:
    if not torch.set_flush_denormal(True):
        pytest.skip("this CPU cannot flush denormals")
    assert numerics.in_force()["flush_denormals"]


def test_looking_changes_nothing() -> None:
    state, errors = torch.get_rng_state(), np.geterr()
    numerics.in_force()
    assert torch.equal(torch.get_rng_state(), state)
    assert np.geterr() == errors


def test_variables_are_those_that_are_set_and_cut_to_a_length() -> None:
    environment = {"NVIDIA_TF32_OVERRIDE": "0", "HOME": "/home/user", "MKL_CBWR": "x" * 1000}
    assert numerics.variables(environment) == {"NVIDIA_TF32_OVERRIDE": "0", "MKL_CBWR": "x" * 200}


@SIMULATED
def test_the_switches_of_an_npu() -> None:
    dump.sim.enable()
    assert numerics.in_force()["float32_matmul.npu"] == "full"
    npu = torch.npu  # type: ignore[attr-defined]
    try:
        npu.matmul.allow_hf32 = True
        found = numerics.in_force()
        assert (found["float32_matmul.npu"], found["float32_conv.npu"]) == ("hf32", "full")
    finally:
        npu.matmul.allow_hf32 = False
