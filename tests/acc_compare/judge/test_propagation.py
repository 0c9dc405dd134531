from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from acc_compare.report.i18n import text


def scaled(values: Any) -> Any:
    return values * np.float32(1.01)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ("Functional.gelu.0.forward", "it reaches Tensor.mean.0.forward (the loss) as"),
        ("Tensor.mean.0.forward", "it reaches Tensor.mean.0.forward (the loss) as 1e-2"),
        ("Torch.tanh.0.backward", "of the 2 calls after it carry the difference"),
    ],
)
def test_how_far_an_error_reaches(network: Any, call: str, expected: str) -> None:
    (suspect,) = network.compare({call: scaled}).suspects
    assert expected in text(suspect.spread)


def test_calls_that_carry_it_are_counted(network: Any) -> None:
    (suspect,) = network.compare({"Torch.tanh.0.backward": scaled}).suspects
    assert text(suspect.spread) == "2 of the 2 calls after it carry the difference"


def test_the_last_call_reaches_nothing(network: Any) -> None:
    (suspect,) = network.compare({"Functional.gelu.0.backward": scaled}).suspects
    assert suspect.spread is None


def test_a_loss_that_does_not_show_it(make: Any) -> None:
    def run(off: float) -> Any:
        one = make.Run()
        x = make.normal(8, 8)
        one.call("Functional.gelu.0.forward", [x], [make.off(x, off)])
        loss = one.mark(np.ones((), "f4"), requires_grad=True)
        one.call("Tensor.mean.0.forward", [x], [loss])
        return one

    (suspect,) = make.judged(run(1e-3), run(0)).suspects
    assert text(suspect.spread) == "0 of the 1 calls after it carry the difference; the loss does not show it"


@pytest.mark.parametrize(
    ("is_read", "told"),
    [(False, "it reaches Tensor.mean.0.forward (the loss) as"), (True, "the loss does not show it")],
)
def test_one_of_several_losses_shows_it(make: Any, is_read: bool, told: str) -> None:
    def run(off: float) -> Any:
        one = make.Run()
        x = make.normal(8, 8)
        y = make.off(x, off)
        one.call("Functional.gelu.0.forward", [x], [y])
        actor = one.mark(np.asarray(y.mean() + off, "f4"), requires_grad=True)
        one.call("Tensor.mean.0.forward", [y], [actor])
        one.call("Torch.ones_like.0.forward", [actor], [np.ones((), "f4")])  # of its backward pass
        critic = one.mark(np.ones((), "f4"), requires_grad=True)
        one.call("Tensor.mean.1.forward", [actor if is_read else x], [critic])
        return one

    first, *_ = make.judged(run(1e-2), run(0)).suspects
    assert told in text(first.spread)


def test_a_loss_of_nan_is_reached_without_a_size(make: Any) -> None:
    def run(*, broken: bool) -> Any:
        one = make.Run()
        x = make.normal(8, 8)
        y = make.off(x, 0)
        if broken:
            y[0, 0] = np.nan
        one.call("Functional.gelu.0.forward", [x], [y])
        loss = one.mark(np.asarray(y.mean()), requires_grad=True)
        one.call("Tensor.mean.0.forward", [y], [loss])
        return one

    (suspect,) = make.judged(run(broken=True), run(broken=False)).suspects
    assert text(suspect.spread).endswith("it reaches Tensor.mean.0.forward (the loss)")
