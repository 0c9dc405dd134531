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
    assert re.search(r"output\.0 differs by (9\.?\d*e-4|1(\.\d)?e-3): \d+ times what float32 gelu", suspect.message)
    assert suspect.shape_of_error.startswith("a constant factor of 1.00")
    assert "measured by the sketch, which is right within about a third" in suspect.evidence


def test_advice_ends_in_a_command_that_names_the_call(network: Any) -> None:
    (suspect,) = network.compare({GELU: scaled(1.001)}).suspects
    assert any("acc dump --task tensor -s --list Functional.gelu.0 SCRIPT" in line for line in suspect.advice)


def test_by_digests_the_message_speaks_of_bits(network: Any) -> None:
    finding = network.compare({GELU: scaled(1.001)}, mode="md5")
    assert finding.suspects[0].message == "everything it read is equal bit by bit, output.0 is not"


def test_nan_names_the_tensor(network: Any) -> None:
    (suspect,) = network.compare({GELU: scaled(np.nan)}).suspects
    assert suspect.message == "output.0 holds NaN on the NPU side only, all that gelu read is finite"


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


def test_a_floor_that_was_measured_is_evidence(network: Any) -> None:
    floor = {(GELU, "output.0"): 1e-5}
    (suspect,) = network.compare({GELU: scaled(1.01)}, setting={"floor": floor}).suspects
    assert "two bench runs differ by 1e-5 here" in suspect.evidence


def test_a_product_off_by_a_rounding_asks_for_the_switch_first(network: Any) -> None:
    def lowered(values: Any) -> Any:
        mantissa, exponent = np.frexp(values)
        return np.ldexp(np.round(mantissa * 2**11) / 2**11, exponent).astype("f4")

    (product,) = network.compare({"Functional.linear.0.forward": lowered}).suspects
    assert any("allow_hf32" in line for line in product.advice)
    (other,) = network.compare({GELU: lowered}).suspects
    assert not any("allow_hf32" in line for line in other.advice)
