from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from acc_compare.judge.noise import Noise
from acc_compare.judge.predicted import predict

LIKE, UNLIKE = 1.0, 0.0
SIZE = 1e-3


def measured(make: Any, side: Any) -> list[Any]:
    """What `side` records of both sides: with the error and without."""
    runs = []
    for size in (SIZE, 0.0):
        run = make.Run()
        side(run, size)
        runs.append(run)
    return [part.call for part in make.measured(*runs)]


def within(call: Any, place: int, forward: Any = None, back: Any = None) -> tuple[bool, bool]:
    """Is the error of a result within what independent errors come to, and within what those that go one way do?"""
    out = call.wrote[place]
    alone, found = (predict(call, out, forward, back=back, parted=parted) for parted in (False, True))
    assert alone is not None
    assert found is not None
    assert alone.one_way == 0.0
    assert found.relative == alone.relative
    return out.relative < 2 * found.relative, out.relative < 1.5 * found.one_way


def trained(make: Any, like: float) -> list[Any]:
    """A linear layer whose weight the last step's gradient has moved too far; its rows are alike or not."""
    rows, before = (like * make.normal(64, seed=1) + 0.2 * make.normal(96, 64, seed=n) for n in (2, 3))
    weight, gradient = make.normal(32, 64, seed=4), make.normal(96, 32, seed=5) + 0.5 * make.normal(32, seed=6)
    moved = gradient.T @ before if like else make.normal(32, 64, seed=7)

    def side(run: Any, size: float) -> None:
        w = (weight + size * moved * np.linalg.norm(weight) / np.linalg.norm(moved)).astype("f4")
        run.call("Functional.linear.0.forward", [rows, w, make.normal(32, seed=8)], [rows @ w.T])
        run.call("Functional.linear.0.backward", [gradient], [gradient @ w, gradient.T @ rows, gradient.sum(0)])

    return measured(make, side)


def test_a_weight_that_moved_along_its_gradient_moves_the_result_as_far_as_values_are(make: Any) -> None:
    forward, backward = trained(make, LIKE)
    assert within(forward, 0, back=backward) == (False, True)


def test_of_rows_that_are_not_alike_no_more_is_expected(make: Any) -> None:
    forward, backward = trained(make, UNLIKE)
    found = predict(forward, forward.wrote[0], back=backward, parted=True)
    assert found is not None
    assert found.one_way < 2 * found.relative


def test_without_a_backward_call_the_product_itself_tells(make: Any) -> None:
    """Rows that lean to one side stretch what leans, too."""
    rows, weight = 1.0 + 0.2 * make.normal(96, 64, seed=1), make.normal(32, 64, seed=2)

    def side(run: Any, size: float) -> None:
        w = (weight + size).astype("f4")
        run.call("Functional.linear.0.forward", [rows, w], [rows @ w.T])

    (forward,) = measured(make, side)
    assert within(forward, 0) == (False, True)


def test_a_convolution_takes_an_element_as_often_as_it_has_taps(make: Any) -> None:
    pixels, weight = 1.0 + 0.2 * make.normal(2, 4, 10, 10, seed=1), make.normal(6, 4, 3, 3, seed=2)

    def side(run: Any, size: float) -> None:
        w = (weight + size).astype("f4")
        windows = np.lib.stride_tricks.sliding_window_view(pixels, (3, 3), axis=(2, 3))
        run.call("Functional.conv2d.0.forward", [pixels, w], [np.einsum("nchwij,ocij->nohw", windows, w)])

    (forward,) = measured(make, side)
    assert within(forward, 0) == (False, True)


@pytest.mark.parametrize(
    ("name", "place"), [("Functional.linear.0", 2), ("Tensor.__add__.0", 1), ("Functional.layer_norm.0", 2)]
)
def test_the_gradient_of_what_stands_in_all_rows_is_off_by_all_of_them_alike(make: Any, name: str, place: int) -> None:
    x, gradient, weight, bias = (
        make.normal(*shape, seed=len(shape)) for shape in ((96, 32), (96, 32), (32, 32), (32,))
    )
    off = make.normal(32, seed=9)
    given = {"linear": [x, weight, bias], "__add__": [x, bias], "layer_norm": [x, bias, bias]}[name.split(".")[1]]

    def side(run: Any, size: float) -> None:
        read = (gradient + size * off).astype("f4")
        run.call(f"{name}.forward", given, [x.copy()])
        wrote = [read, *([make.normal(*each.shape, seed=3) for each in given[1:-1]]), read.sum(0)]
        run.call(f"{name}.backward", [read], wrote)

    forward, backward = measured(make, side)
    assert within(backward, place, forward) == (False, True)


@pytest.mark.parametrize("name", ["Functional.cross_entropy.0.forward", "Torch.mean.0.forward"])
def test_a_mean_is_off_as_its_rows_are(make: Any, name: str) -> None:
    logits = make.normal(256, 10, seed=1)
    rows = np.arange(256)
    losses = {
        "cross_entropy": lambda x: (np.log(np.exp(x).sum(-1)) - x[rows, rows % 3]).mean(),
        "mean": lambda x: x.mean(),
    }
    alike = 1.0 + make.normal(10, seed=2)

    def side(run: Any, size: float) -> None:
        x = (logits + 5 * size * alike).astype("f4")
        run.call(name, [x], [np.asarray(losses[name.split(".")[1]](x), "f4")])

    (forward,) = measured(make, side)
    assert within(forward, 0) == (False, True)


def test_attention_averages_what_differs_and_passes_on_what_is_alike(make: Any) -> None:
    q, k, v = (make.normal(4, 64, 16, seed=n) for n in range(3))
    alike = make.normal(16, seed=3)

    def side(run: Any, size: float) -> None:
        value = (v + size * alike).astype("f4")
        weights = np.exp(q @ k.transpose(0, 2, 1) / 16)
        weights /= weights.sum(-1, keepdims=True)
        run.call("Functional.scaled_dot_product_attention.0.forward", [q, k, value], [weights @ value])

    (forward,) = measured(make, side)
    assert within(forward, 0) == (False, True)


def test_what_is_computed_element_by_element_adds_up_nothing(make: Any) -> None:
    def side(run: Any, size: float) -> None:
        x = make.off(make.normal(16, 16, seed=1), size)
        run.call("Functional.gelu.0.forward", [x], [x])

    (forward,) = measured(make, side)
    assert within(forward, 0) == (True, False)


@pytest.mark.parametrize(
    ("setting", "fault", "accused"),
    [
        ({"step": 1, "previous": "judged"}, 0.0, True),  # nothing parted then
        ({"step": 1, "previous": "suspect"}, 0.0, True),  # by a setting
        ({"step": 1, "previous": "suspect", "parted": 1.0}, 0.0, False),
        ({"step": 5}, 0.0, False),  # apart as the recording begins
        ({"step": 6, "previous": "judged", "parted": 1e-3}, 0.0, False),
        ({"step": 1, "previous": "suspect", "parted": 1.0}, 0.1, True),
        ({"step": 5}, 0.1, True),
    ],
)
def test_behind_parameters_that_parted_faults_alone_are_accused(
    make: Any, setting: dict[str, Any], fault: float, accused: bool
) -> None:
    runs = []
    for size in (8e-4, 0.0):
        run = make.Run()
        for n in range(6):
            rows, weight, bias = make.normal(96, 64, seed=n), make.normal(32, 64, seed=30 + n), make.normal(32, seed=n)
            w = run.parameter(make.off(weight, size))
            run.call(f"Functional.linear.{n}.forward", [rows, w, bias], [rows @ w.T + bias])
            gradient = make.normal(96, 32, seed=20 + n)
            is_alike = n == 3  # its rows are off alike, those of the others are not
            off = make.normal(32, seed=50) if is_alike else make.normal(96, 32, seed=60 + n)
            gradient = (gradient + size * off).astype("f4")
            summed = make.off(gradient.sum(0), fault if size and is_alike else 0.0)
            run.call(f"Functional.linear.{n}.backward", [gradient], [None, gradient.T @ rows, summed])
        runs.append(run)
    suspects = [each.name for each in make.judged(*runs, **setting).suspects if each.kind == "operator"]
    assert suspects == (["Functional.linear.3.backward"] if accused else [])


@pytest.mark.parametrize("parted", [False, True])
def test_what_goes_one_way_is_no_narrower_type(make: Any, parted: bool) -> None:
    """A setting is looked for where products are off by more than what is known beforehand."""
    rows, weight = 1.0 + 0.2 * make.normal(96, 1024, seed=1), make.normal(32, 1024, seed=2)

    def side(run: Any, size: float) -> None:
        w = (weight + size * (1.0 + make.normal(32, 1024, seed=3))).astype("f4")
        run.call("Functional.linear.0.forward", [rows, w], [rows @ w.T])

    noise = Noise(measured(make, side), parted=parted)
    assert noise.is_beyond_prior(("Functional.linear.0.forward", "output.0")) is not parted
