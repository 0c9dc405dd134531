from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from acc_compare.judge.patterns import constant_factor, pattern_in_files, pattern_of

GELU = "Functional.gelu.0.forward"


def rounded(values: Any, bits: int) -> Any:
    """To `bits` bits of significand, nearest even."""
    mantissa, exponent = np.frexp(values.astype("f8"))
    return np.ldexp(np.round(mantissa * 2**bits) / 2**bits, exponent).astype("f4")


@pytest.mark.parametrize(
    ("change", "kind", "size", "dtype"),
    [
        (lambda x: x * np.float32(1.001), "factor", 1.001, ""),
        (lambda x: x / np.float32(8), "factor", 0.125, ""),
        (lambda x: -x, "sign", -1.0, ""),
        (lambda x: rounded(x, 8), "rounding", 2.0**-9, "bfloat16"),
        (lambda x: rounded(x, 11), "rounding", 2.0**-12, "tf32"),
    ],
)
def test_what_an_error_looks_like(make: Any, change: Any, kind: str, size: float, dtype: str) -> None:
    x = make.normal(64, 64)
    found = pattern_of(make.argument("output.0", change(x), x))
    assert found is not None
    assert (found.kind, found.dtype, found.confidence) == (kind, dtype, "estimated")
    assert found.size == pytest.approx(size)


@pytest.mark.parametrize("change", [lambda x: x + np.float32(0.3) * np.roll(x, 1), lambda x: x])
def test_what_has_no_name_is_no_pattern(make: Any, change: Any) -> None:
    x = make.normal(64, 64)
    assert pattern_of(make.argument("output.0", change(x), x)) is None


def test_a_narrower_type_is_no_pattern(make: Any) -> None:
    x = make.normal(64, 64)
    assert pattern_of(make.argument("output.0", x.astype("f2"), x.astype("f2"))) is None


def test_a_factor_needs_sketches_of_one_shape_and_some_elements(make: Any) -> None:
    x = make.normal(8)
    assert constant_factor(make.tensor(2 * x), make.tensor(x)) == pytest.approx(2)
    assert constant_factor(make.tensor(2 * x, sketch=None), make.tensor(x)) is None
    assert constant_factor(make.tensor(2 * x), make.tensor(make.normal(4))) is None
    assert constant_factor(make.tensor(2 * x[:3]), make.tensor(x[:3])) is None
    assert constant_factor(make.tensor(x), make.tensor(x)) is None
    assert constant_factor(make.tensor(x), make.tensor(np.zeros(8, "f4"))) is None


def compared(network: Any, make: Any, folder: Path, change: Any) -> Any:
    """A step in real data whose gelu is changed, against one that is not."""
    npu = network.Network(make, mode="tensor", noise=3e-8).step({GELU: change}).write(folder / "npu")
    bench = network.Network(make, mode="tensor").step().write(folder / "bench")
    return make.judged(make.read(npu), make.read(bench))


def last_columns(values: Any) -> Any:
    found = values.copy()
    found[:, -8:] = 0
    return found


@pytest.mark.parametrize(
    ("change", "kind", "name"),
    [
        (last_columns, "zero", "last_tile: zero"),
        (lambda x: x * np.float32(1.001), "factor", "factor"),
        (lambda x: x + x * x, "none", ""),
        (lambda x: x * (1 + np.float32(2.4e-4) * np.sign(np.sin(1e4 * x))), "rounding", ""),
    ],
)
def test_in_real_data_a_suspect_has_the_pattern_of_its_elements(
    network: Any, make: Any, tmp_path: Path, change: Any, kind: str, name: str
) -> None:
    first = compared(network, make, tmp_path, change).suspects[0]
    assert (first.name, first.pattern.kind, first.pattern.name) == (GELU, kind, name)


def test_only_the_first_suspects_are_looked_at(make: Any, tmp_path: Path) -> None:
    def run(factor: float) -> Any:
        one = make.Run(mode="tensor")
        for n, api in enumerate(["relu", "tanh", "exp", "log", "sin", "cos", "erf"]):
            x = make.normal(16, 16, seed=n)
            one.call(f"Torch.{api}.0.forward", [x], [x * np.float32(factor)])
        return one

    npu, bench = run(1.5).write(tmp_path / "npu"), run(1.0).write(tmp_path / "bench")
    suspects = make.judged(make.read(npu), make.read(bench)).suspects
    assert [suspect.pattern.confidence for suspect in suspects] == ["measured"] * 5 + ["estimated"] * 2


def test_without_files_there_is_nothing_to_look_at(make: Any) -> None:
    dump = make.Run().dump()
    argument = make.argument("output.0", make.normal(4, 4), make.normal(4, 4))
    assert pattern_in_files(argument, None, dump, dump) is None
