from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from acc_compare.judge.closer import real_shape, told
from acc_compare.looks.regions import Region
from acc_compare.looks.relations import RELATIONS, Relation
from acc_compare.looks.shapes import ErrorShape

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
            "the size of rounding to float16, TF32 or HF32 (about 2e-04 of each element)",
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


REGIONS = [
    ("last_tile", 1, 56, 64, 64, "the last 8 of the 64 columns of x are"),
    ("last_tile", 1, 63, 64, 64, "the last of the 64 columns of x is"),
    ("flat_tail", -1, 1999, 2048, 2048, "the last 49 of the 2,048 elements of x are"),
    ("rows_after", 0, 20, 32, 32, "x from index 20 on along dimension 0 (of 32) is"),
    ("channel", 1, 3, 4, 64, "channel (or head) 3 of 64 of x, along dimension 1, is"),
    ("column", 1, 3, 4, 64, "one of the 64 columns of x, index 3, is"),
    ("row", 0, 3, 4, 32, "one of the 32 rows of x, index 3 along dimension 0, is"),
    (
        "head",
        1,
        16,
        32,
        64,
        "one block of 16 of the 64 columns of x (indices 16 to 31: one head of 4) is",
    ),
    ("scattered", -1, 65, 300, 2048, "3 of the 2,048 elements of x are (the first at [1, 1])"),
]


@pytest.mark.parametrize(("name", "axis", "start", "stop", "extent", "text"), REGIONS)
def test_every_region_has_words(name: Any, axis: int, start: int, stop: int, extent: int, text: str) -> None:
    shape = ErrorShape(Region(name, axis, start, stop, extent, 3), None, 3, 2048)
    assert told(shape, "x", (32, 64)) == f"{text} off, the rest agrees to rounding"


@pytest.mark.parametrize("name", sorted(RELATIONS))
def test_every_relation_has_words(name: Any) -> None:
    for value in (0.0, 1.0):
        text = told(ErrorShape(None, Relation(name, value, (0, 1)), 9, 9), "x", (32, 64))
        assert text.startswith("x as a whole ")


def test_spread_errors_say_how_many_are_off() -> None:
    assert "50 % of the elements of x are off" in told(ErrorShape(None, None, 8, 16), "x", (4, 4))


def test_one_element_by_itself() -> None:
    one = ErrorShape(Region("scattered", -1, 65, 66, 2048, 1), None, 1, 2048)
    assert told(one, "x", (32, 64)) == "one of the 2,048 elements of x is (at [1, 1]) off, the rest agrees to rounding"
    tail = ErrorShape(Region("last_tile", 0, 15, 16, 16, 1), None, 1, 16)
    assert told(tail, "x", (16,)).startswith("the last of the 16 elements of x is off")
