from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from acc_compare.judge.patterns_from_files import real_shape

GELU = "Functional.gelu.0.forward"


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
    ("change", "name", "text"),
    [
        (
            last_columns,
            "last_tile: zero",
            "the last 8 of the 64 columns of output.0 are off, the rest agrees to rounding; what is off is zero on the"
            " NPU side",
        ),
        (lambda x: x * np.float32(1.001), "factor", "output.0 as a whole is the bench's times 1.001"),
        (lambda x: x + x * x, "", "nearly all elements of output.0 are off, with no pattern that has a name"),
        (
            lambda x: x * (1 + np.float32(2.4e-4) * np.sign(np.sin(1e4 * x))),
            "",
            "the size of rounding to float16, TF32 or HF32 (about 2.4e-4 of each element)",
        ),
    ],
)
def test_a_suspect_in_real_data_says_what_it_looks_like(
    network: Any, make: Any, tmp_path: Path, change: Any, name: str, text: str
) -> None:
    first = compared(network, make, tmp_path, change).suspects[0]
    assert (first.name, first.shape, first.shape_of_error) == (GELU, name, text)


def test_only_the_first_suspects_are_looked_at(make: Any, tmp_path: Path) -> None:
    def run(factor: float) -> Any:
        one = make.Run(mode="tensor")
        for n, api in enumerate(["relu", "tanh", "exp", "log", "sin", "cos", "erf"]):
            x = make.normal(16, 16, seed=n)
            one.call(f"Torch.{api}.0.forward", [x], [x * np.float32(factor)])
        return one

    npu, bench = run(1.5).write(tmp_path / "npu"), run(1.0).write(tmp_path / "bench")
    suspects = make.judged(make.read(npu), make.read(bench)).suspects
    assert [suspect.shape for suspect in suspects] == ["factor"] * 5 + ["", ""]


def test_in_statistics_mode_the_words_say_that_they_are_estimated(network: Any) -> None:
    (suspect,) = network.compare({GELU: lambda x: x * np.float32(1.001)}).suspects
    assert (suspect.shape, suspect.shape_of_error[-27:]) == ("", "(estimated from the sketch)")


def test_without_files_there_is_nothing_to_look_at(make: Any) -> None:
    dump = make.Run().dump()
    assert real_shape(make.argument("output.0", make.normal(4, 4), make.normal(4, 4)), None, dump, dump) is None
