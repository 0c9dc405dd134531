from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

GELU = "Functional.gelu.0.forward"


def scaled(factor: float) -> Any:
    return lambda values: values * np.float32(factor)


def test_an_operator_says_what_went_in_and_what_came_out(network: Any) -> None:
    (suspect,) = network.compare({GELU: scaled(1.001)}).suspects
    assert suspect.message.startswith("its inputs agree to ")
    size = r"(9\.?\d*e-4|1(\.\d)?e-3)"
    told = rf"but output\.0 differs by {size} of its size: \d+ times the \S+ that they and rounding in float32 explain$"
    assert re.search(told, suspect.message)
    assert suspect.shape_of_error.startswith("a constant factor of 1.00")
    assert "measured by the sketch, which is right within about a third" in suspect.evidence


def test_by_digests_the_message_speaks_of_bits(network: Any) -> None:
    finding = network.compare({GELU: scaled(1.001)}, mode="md5")
    assert finding.suspects[0].message == "everything it read is equal bit by bit, output.0 is not"


def test_nan_names_the_tensor(network: Any) -> None:
    (suspect,) = network.compare({GELU: scaled(np.nan)}).suspects
    assert (
        suspect.message
        == "output.0 holds NaN on the NPU side only, in 1,024 of 1,024 elements; all that gelu read is finite"
    )


def test_all_that_differs_from_the_start_is_one_suspect(make: Any) -> None:
    def run(size: float) -> Any:
        one = make.Run()
        for n in range(5):
            x = make.off(make.normal(8, 8, seed=n), size)
            one.call(f"Functional.gelu.{n}.forward", [x], [x])
        return one

    (suspect,) = make.judged(run(0.1), run(0)).suspects
    assert (suspect.kind, suspect.calls, suspect.others) == ("input", 1, ())
    expected = ", ".join(f"input.0 of Functional.gelu.{n}.forward" for n in range(3))
    assert suspect.evidence == (f"what differs from the start: {expected} and 2 more",)


@pytest.mark.parametrize(("eps", "told"), [(1e-6, True), (1e-5, False)])
def test_settings_that_differ_are_evidence(make: Any, eps: float, told: bool) -> None:
    def run(value: float, size: float) -> Any:
        one = make.Run()
        x = make.normal(8, 8)
        one.call("Functional.layer_norm.0.forward", [x, "cpu"], [make.off(x, size)], kwargs={"eps": value})
        return one

    (suspect,) = make.judged(run(eps, 1e-2), run(1e-5, 0)).suspects
    assert ("called with other settings: input.eps 1e-06 against 1e-05" in suspect.evidence) is told


def test_a_floor_that_was_measured_is_what_is_normal(network: Any) -> None:
    floor = {(GELU, "output.0"): 1e-5}
    (suspect,) = network.compare({GELU: scaled(1.01)}, setting={"floor": floor}).suspects
    assert suspect.message.endswith(" times the 1e-5 that two bench runs differ by")


def test_kin_are_named_where_they_say_what_is_normal(make: Any) -> None:
    def run(sizes: list[float]) -> Any:
        one = make.Run()
        for n, size in enumerate(sizes):
            x = make.normal(16, 64, seed=n)
            one.call(f"Functional.gelu.{n}.forward", [x], [make.off(x, size, seed=90 + n)])
        return one

    (suspect,) = make.judged(run([5e-8] * 5 + [4e-6]), run([0.0] * 6)).suspects
    assert "that other calls of gelu show at most" in suspect.message


def test_a_foreign_dump_does_not_count_what_is_not_finite(network: Any) -> None:
    (suspect, *_) = network.compare({GELU: scaled(np.nan)}, foreign=True).suspects
    assert suspect.message == "output.0 holds NaN on the NPU side only, all that gelu read is finite"
