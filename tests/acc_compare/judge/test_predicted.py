"""Predictions against errors that are made: each class of operator computed twice, with rounding of a known size."""

from __future__ import annotations

import math
from typing import Any, get_args

import numpy as np
import pytest
import torch

from acc_compare.judge.predicted import is_one_of_several, predict
from acc_compare.operators import OPERATORS as OPERATORS_KNOWN
from acc_compare.operators import OperatorClass

SIZE = 1e-3
"""Relative error that the inputs are given: far above the rounding of float32."""

OPERATORS = {
    "Torch.add.0.forward": lambda a, b: a + b,
    "Torch.mul.0.forward": lambda a, b: a * b,
    "Torch.matmul.0.forward": lambda a, b: a @ b.T,
    "Functional.gelu.0.forward": lambda a, b: a * (1 + np.tanh(0.8 * (a + 0.045 * a**3))) / 2,
    "Torch.cat.0.forward": lambda a, b: np.concatenate([a, b]),
    "Torch.softmax.0.forward": lambda a, b: np.exp(a) / np.exp(a).sum(-1, keepdims=True),
    "Functional.layer_norm.0.forward": lambda a, b: (a - a.mean(-1, keepdims=True)) / a.std(-1, keepdims=True),
}
UNARY = ("gelu", "softmax", "layer_norm")


def measured(make: Any, name: str, *, size: float = SIZE, seed: int = 0) -> Any:
    """A call on inputs that are off by `size`, without rounding of its own."""
    function = OPERATORS[name]
    bench = [make.normal(48, 64, seed=seed), make.normal(48, 64, seed=seed + 1)]
    npu = [make.off(x, size, seed=seed + 10 + n) for n, x in enumerate(bench)]
    given = 1 if any(part in name for part in UNARY) else 2
    runs = []
    for side in (npu, bench):
        run = make.Run()
        run.call(name, [x.astype("f4") for x in side[:given]], [function(*side).astype("f4")])
        runs.append(run)
    (part,) = make.measured(*runs)
    return part.call


@pytest.mark.parametrize("name", sorted(OPERATORS))
def test_inherited_error_is_of_the_predicted_size(make: Any, name: str) -> None:
    call = measured(make, name)
    (out,) = call.wrote
    found = predict(call, out)
    assert found is not None
    assert found.fresh < 1e-5
    assert math.log(out.relative / found.relative) == pytest.approx(0.0, abs=1.0)


@pytest.mark.parametrize("name", sorted(OPERATORS))
def test_equal_inputs_leave_rounding_alone(make: Any, name: str) -> None:
    call = measured(make, name, size=0.0)
    found = predict(call, call.wrote[0])
    assert found is not None
    assert found.inherited == 0.0
    assert found.fresh <= 2.0**-20


def test_a_copy_does_not_round(make: Any) -> None:
    found = predict(measured(make, "Torch.cat.0.forward", size=0.0), measured(make, "Torch.cat.0.forward").wrote[0])
    assert found is not None
    assert found.relative == 0.0


def test_a_mean_amplifies_what_a_normalisation_reads(make: Any) -> None:
    def gain(mean: float) -> float:
        runs = []
        for size in (SIZE, 0.0):
            x = make.off(make.normal(16, 64) + np.float32(mean), size)
            run = make.Run()
            run.call("Functional.layer_norm.0.forward", [x.astype("f4")], [make.normal(16, 64, seed=3)])
            runs.append(run)
        (part,) = make.measured(*runs)
        found = predict(part.call, part.call.wrote[0])
        assert found is not None
        return found.inherited

    assert gain(20.0) > 10 * gain(0.0)


def test_flips_go_with_the_root_of_the_error(make: Any) -> None:
    call = measured(make, "Functional.gelu.0.forward")
    runs = []
    for size in (SIZE, 0.0):
        x = make.off(make.normal(48, 64), size)
        run = make.Run()
        run.call("Torch.relu.0.forward", [x], [np.maximum(x, 0)])
        gradient = make.normal(48, 64, seed=5)
        run.call("Torch.relu.0.backward", [gradient], [gradient * (x > 0)])
        runs.append(run)
    forward, backward = (part.call for part in make.measured(*runs))
    found = predict(backward, backward.wrote[0], forward)
    assert found is not None
    assert found.inherited == pytest.approx(math.sqrt(0.8 * forward.read[0].relative), rel=0.7)
    smooth = predict(call, call.wrote[0])
    assert smooth is not None
    assert found.inherited > 5 * smooth.inherited


def test_nothing_is_said_of_zeros_and_of_what_is_off_by_nobody_knows_how_much(make: Any) -> None:
    runs = []
    for bad in (np.inf, 1.0):
        x = make.normal(8, 8)
        x[0, 0] = bad
        run = make.Run()
        run.call("Torch.abs.0.forward", [x], [np.zeros((8, 8), "f4")])
        run.call("Torch.exp.0.forward", [x], [make.normal(8, 8, seed=2)])
        runs.append(run)
    for part in make.measured(*runs):
        assert predict(part.call, part.call.wrote[0]) is None


def test_products_of_lowered_operands_are_off_by_their_rounding(make: Any) -> None:
    call = measured(make, "Torch.matmul.0.forward", size=0.0)
    plain, lowered = predict(call, call.wrote[0]), predict(call, call.wrote[0], lowered=2.0**-11)
    assert plain is not None
    assert lowered is not None
    assert lowered.fresh == pytest.approx(0.6 * 2.0**-11, rel=0.2)
    assert plain.fresh < 1e-5
    other = measured(make, "Torch.mul.0.forward", size=0.0)
    assert predict(other, other.wrote[0], lowered=2.0**-11) == predict(other, other.wrote[0])


@pytest.mark.parametrize("kind", sorted(get_args(OperatorClass)))
@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_something_is_predicted_for_every_class(make: Any, kind: str, direction: str) -> None:
    api = next((name for name, row in OPERATORS_KNOWN.items() if row.kind == kind), "nobody_knows_this")
    values = make.normal(8, 8)
    npu, bench = make.Run(), make.Run()
    for run, off in ((npu, SIZE), (bench, 0.0)):
        run.call(f"Torch.{api}.0.{direction}", [make.off(values, off, seed=1)], [values * np.float32(1 + off)])
    (part,) = make.measured(npu, bench)
    assert predict(part.call, part.call.wrote[0]) is not None


STEEP = {
    "Torch.tan.0.forward": (np.tan, lambda rng: rng.uniform(-1.57, 1.57, (16, 16))),
    "Torch.exp.0.forward": (np.exp, lambda rng: rng.uniform(-9, 9, (16, 16))),
    "Torch.atanh.0.forward": (np.arctanh, lambda rng: rng.uniform(-1, 1, (16, 16)) * 0.9999),
    "Torch.sigmoid.0.forward": (lambda x: 1 / (1 + np.exp(-x)), lambda rng: rng.uniform(-9, -8, (4, 4))),
    "Torch.pow.0.forward": (lambda x: x**6, lambda rng: rng.uniform(0, 9, (16, 16))),
}


@pytest.mark.parametrize("name", sorted(STEEP))
@pytest.mark.parametrize("seed", range(4))
def test_where_a_function_is_steep_its_ends_rule_the_error(make: Any, name: str, seed: int) -> None:
    function, drawn = STEEP[name]
    bench = drawn(np.random.default_rng(seed)).astype("f4").astype("f8")
    runs = []
    for x in (make.off(bench, 1e-5, seed=seed + 50), bench):
        run = make.Run()
        run.call(name, [x.astype("f4")], [function(x).astype("f4")])
        runs.append(run)
    (part,) = make.measured(*runs)
    found = predict(part.call, part.call.wrote[0])
    assert found is not None
    assert part.call.wrote[0].relative < 8 * found.relative


def test_ends_do_not_rule_where_many_elements_do(make: Any) -> None:
    x = make.normal(64, 64)
    runs = []
    for given in (make.off(x, SIZE), x):
        run = make.Run()
        run.call("Torch.sigmoid.0.forward", [given], [(1 / (1 + np.exp(-given))).astype("f4")])
        runs.append(run)
    (part,) = make.measured(*runs)
    found = predict(part.call, part.call.wrote[0])
    assert found is not None
    assert found.inherited == pytest.approx(part.call.read[0].relative, rel=0.05)


def _symmetric(make: Any, size: float) -> Any:
    x = make.normal(12, 12).astype("f8")
    x = x + x.T + size * make.normal(12, 12, seed=4)
    return (x + x.T) / 2


def test_eigenvalues_are_predicted_and_eigenvectors_are_not(make: Any) -> None:
    runs = []
    for size in (SIZE, 0.0):
        x = _symmetric(make, size)
        values, vectors = np.linalg.eigh(x)
        run = make.Run()
        run.call("Torch.linalg.eigh.0.forward", [x.astype("f4")], [values.astype("f4"), vectors.astype("f4")])
        runs.append(run)
    (part,) = make.measured(*runs)
    values, vectors = part.call.wrote
    found = predict(part.call, values)
    assert found is not None
    assert found.inherited == pytest.approx(part.call.read[0].distance / values.norm, rel=0.01)
    assert values.relative <= 1.5 * found.relative
    assert is_one_of_several(part.call, vectors)
    assert predict(part.call, vectors) is None


def test_what_solves_a_system_moves_by_the_condition_of_its_matrix(make: Any) -> None:
    def gain(smallest: float) -> float:
        rotation, _ = np.linalg.qr(make.normal(12, 12).astype("f8"))
        x = rotation @ np.diag(np.linspace(1.0, smallest, 12)) @ rotation.T
        runs = []
        for given in (make.off(x, 1e-4), x):
            run = make.Run()
            run.call("Torch.linalg.inv.0.forward", [given.astype("f4")], [np.linalg.inv(given).astype("f4")])
            runs.append(run)
        (part,) = make.measured(*runs)
        found = predict(part.call, part.call.wrote[0])
        assert found is not None
        assert part.call.wrote[0].relative < 5 * found.relative
        return found.inherited / part.call.read[0].relative

    assert gain(0.5) < 3.0
    assert gain(0.01) > 10.0


def test_logits_of_attention_turn_relative_into_absolute_error(make: Any) -> None:
    def gain(scale: float) -> float:
        query, key, value = (make.normal(2, 4, 16, 64, seed=n) * np.float32(scale) for n in range(3))
        runs = []
        for given in (make.off(query, SIZE), query):
            run = make.Run()
            run.call(
                "Functional.scaled_dot_product_attention.0.forward",
                [given, key, value],
                [make.normal(2, 4, 16, 64, seed=7)],
            )
            runs.append(run)
        (part,) = make.measured(*runs)
        found = predict(part.call, part.call.wrote[0])
        assert found is not None
        return found.inherited / part.call.read[0].relative

    assert gain(3.0) / gain(1.0) == pytest.approx(9.0, rel=0.2)


def _loss(make: Any, logits: Any, targets: Any, *, total: bool = False) -> tuple[Any, Any]:
    shifted = logits - logits.max(-1, keepdims=True)
    log = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    rows = np.arange(len(targets))
    share = 1.0 if total else 1.0 / len(targets)
    gradient = np.exp(log)
    gradient[rows, targets] -= 1.0
    return -(log[rows, targets]).sum() * share, gradient * share


@pytest.mark.parametrize("total", [False, True], ids=["mean", "sum"])
@pytest.mark.parametrize("scale", [0.3, 1.0, 3.0])
@pytest.mark.parametrize("is_learned", [False, True], ids=["untrained", "trained"])
def test_a_loss_is_off_by_its_logits_over_the_root_of_the_rows_and_its_gradient_by_their_probabilities(
    make: Any, total: bool, scale: float, is_learned: bool
) -> None:
    rows, classes = 64, 50
    ratios: dict[str, list[float]] = {"forward": [], "backward": []}
    for seed in range(12):
        random = np.random.default_rng(seed)
        targets = random.integers(classes, size=rows)
        logits = random.normal(size=(rows, classes)) * scale
        if is_learned:
            logits[np.arange(rows), targets] += 6.0
        given = logits + random.normal(size=logits.shape) * 1e-3 * scale
        runs = []
        for read in (given, logits):
            loss, gradient = _loss(make, read, targets, total=total)
            run = make.Run()
            x, y, one = read.astype("f4"), np.array(loss, "f4"), np.array(1.0, "f4")
            kwargs = {"reduction": "sum"} if total else {}
            run.call("Functional.cross_entropy.0.forward", [x, targets], [y], kwargs=kwargs)
            run.call("Functional.cross_entropy.0.backward", [one], [gradient.astype("f4")])
            runs.append(run)
        forward, backward = (part.call for part in make.measured(*runs))
        for call, before in ((forward, None), (backward, forward)):
            found = predict(call, call.wrote[0], before)
            assert found is not None
            ratios[call.name.direction].append(call.wrote[0].relative / found.relative)
    for direction, found_ratios in ratios.items():
        middle = math.log(sorted(found_ratios)[6])
        # Of rows that are nearly certain, the spread of all logits says little: more is allowed, never less.
        assert (-2.5 if is_learned else -1.5) < middle < 1.0, (direction, found_ratios)


@pytest.mark.parametrize("what", ["logits", "targets"])
@pytest.mark.parametrize("is_soft", [False, True], ids=["one target a row", "a teacher's probabilities"])
def test_the_gradient_of_soft_targets_is_off_by_what_cancels_in_it(make: Any, is_soft: bool, what: str) -> None:
    """What comes into log_softmax is -t, what leaves it p - t, and p near t for a student that has learned."""
    rows, classes = 32, 8
    ratios = []
    for seed in range(12):
        random = np.random.default_rng(seed)
        logits = random.normal(size=(rows, classes)) * 0.5
        targets = np.eye(classes)[random.integers(classes, size=rows)]
        if is_soft:
            targets = _softmax(logits + random.normal(size=logits.shape) * 0.02)
        runs = []
        off = random.normal(size=logits.shape) * 1e-3
        for error in (off, 0.0):
            run = make.Run()
            read, wanted = (logits + error, targets) if what == "logits" else (logits, targets * (1 + error))
            x, y = read.astype("f4"), np.log(_softmax(read)).astype("f4")
            run.call("Functional.log_softmax.0.forward", [x], [y])
            gradient = (-wanted / rows).astype("f4")
            left = ((_softmax(read) * wanted.sum(-1, keepdims=True) - wanted) / rows).astype("f4")
            run.call("Functional.log_softmax.0.backward", [gradient], [left])
            runs.append(run)
        forward, backward = (part.call for part in make.measured(*runs))
        found = predict(backward, backward.wrote[0], forward)
        assert found is not None
        ratios.append(backward.wrote[0].relative / found.relative)
    assert 0.2 < sorted(ratios)[6] < 3.0, ratios


def _softmax(logits: Any) -> Any:
    exponentials = np.exp(logits)
    return exponentials / exponentials.sum(-1, keepdims=True)


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_a_loss_inherits_the_error_of_the_weights_of_its_classes(make: Any, direction: str) -> None:
    logits, targets = make.normal(64, 10, seed=1), np.arange(64) % 10
    weights = np.abs(make.normal(10, seed=2)) + 1
    runs = []
    for given in (make.off(weights, 1e-2, seed=3), weights):
        run = make.Run()
        loss, one = np.asarray(given.mean(), "f4"), np.ones((), "f4")
        run.call("Functional.cross_entropy.0.forward", [logits, targets, given], [loss])
        run.call("Functional.cross_entropy.0.backward", [one], [logits * given])
        runs.append(run)
    forward, backward = (part.call for part in make.measured(*runs))
    call, before = (forward, None) if direction == "forward" else (backward, forward)
    found = predict(call, call.wrote[0], before)
    assert found is not None
    assert 0.5e-2 < found.relative < 2e-2


def test_a_logarithm_near_zero_is_off_by_what_its_argument_is_off_by_over_the_least_of_it(make: Any) -> None:
    magnitudes = np.abs(make.normal(16, 64, seed=1)).astype("f8")
    magnitudes[0, 0] = 1e-5
    runs = []
    for side in (0, 1):
        run = make.Run()
        off = np.random.default_rng(2).normal(size=magnitudes.shape) * 1e-6 if side == 0 else 0.0
        x = np.clip(magnitudes + off, 1e-6, None)
        run.call("Torch.log.0.forward", [x.astype("f4")], [np.log(x).astype("f4")])
        runs.append(run)
    (part,) = make.measured(*runs)
    found = predict(part.call, part.call.wrote[0])
    assert found is not None
    assert part.call.wrote[0].relative < 10 * found.relative


def test_what_is_joined_keeps_its_error_and_what_is_repeated_carries_it_along(make: Any) -> None:
    def relative(name: str, function: Any) -> tuple[float, float]:
        runs = []
        for side in (0, 1):
            run = make.Run()
            parts = [make.normal(8, 4, seed=n) for n in range(12)]
            given = [make.off(x, SIZE, seed=50 + n) if side == 0 else x for n, x in enumerate(parts)]
            read, wrote = function([x.astype("f4") for x in given])
            run.call(name, read, [wrote])
            runs.append(run)
        (part,) = make.measured(*runs)
        found = predict(part.call, part.call.wrote[0])
        assert found is not None
        return part.call.wrote[0].relative, found.relative

    for name, function in (
        ("Torch.stack.0.forward", lambda parts: (parts, np.stack(parts))),
        ("Tensor.repeat.0.forward", lambda parts: (parts[:1], np.tile(parts[0], (6, 1)))),
    ):
        seen, expected = relative(name, function)
        assert seen == pytest.approx(expected, rel=0.3), name


def test_places_to_read_at_count_in_elements(make: Any) -> None:
    grid = np.random.default_rng(1).uniform(-1, 1, (2, 10, 10, 2)).astype("f4")
    runs = []
    for given in (make.off(grid, 1e-4), grid):
        run = make.Run()
        run.call("Functional.grid_sample.0.forward", [make.normal(2, 3, 32, 32), given], [make.normal(2, 3, 10, 10)])
        runs.append(run)
    (part,) = make.measured(*runs)
    found = predict(part.call, part.call.wrote[0])
    assert found is not None
    assert found.inherited / part.call.read[1].relative == pytest.approx(32 / 2 * math.sqrt(2 / 3), rel=0.15)


@pytest.mark.parametrize("least", [0.0, 1.0], ids=["from zero on", "from one on"])
def test_the_root_of_what_cancels_to_nothing_is_off_by_the_root_of_its_error(make: Any, least: float) -> None:
    """A squared distance is a difference of sums: the same absolute error everywhere, at zero too."""
    random = np.random.default_rng(3)
    distances = random.uniform(4.0, 9.0, (16, 16)) + least
    distances[np.arange(3), np.arange(3)] = least
    off = np.clip(distances + random.normal(size=distances.shape) * 1e-5, 1e-12, None)
    runs = []
    for x in (off, np.clip(distances, 1e-12, None)):
        run = make.Run()
        one = np.ones(x.shape, "f4")
        run.call("Tensor.sqrt.0.forward", [x.astype("f4")], [np.sqrt(x).astype("f4")])
        run.call("Tensor.sqrt.0.backward", [one], [(0.5 / np.sqrt(x)).astype("f4")])
        runs.append(run)
    forward, backward = (part.call for part in make.measured(*runs))
    for call, before in ((forward, None), (backward, forward)):
        found = predict(call, call.wrote[0], before)
        assert found is not None
        wide = found.relative > 1e-4 if least == 0.0 else found.relative < 1e-5
        assert wide, (call.full_name, found)
        assert call.wrote[0].relative < 4.0 * found.relative, (call.full_name, found)


@pytest.mark.parametrize("mean", [0.0, 300.0])
def test_rows_with_means_of_their_own_show_in_the_gradient_of_a_normalisation(make: Any, mean: float) -> None:
    random = np.random.default_rng(5)
    x = random.normal(size=(32, 64)) * 0.03 + np.where(np.arange(32) % 2, mean, -mean)[:, None]
    left = x - x.mean(-1, keepdims=True)
    gradient = random.normal(size=x.shape)
    deviation = left.std(-1, keepdims=True)
    normal = left / deviation
    back = (
        gradient - gradient.mean(-1, keepdims=True) - normal * (gradient * normal).mean(-1, keepdims=True)
    ) / deviation
    run = make.Run()
    run.call("Functional.layer_norm.0.forward", [x.astype("f4")], [normal.astype("f4")])
    run.call("Functional.layer_norm.0.backward", [gradient.astype("f4")], [back.astype("f4")])
    forward, backward = (part.call for part in make.measured(run, run))
    found = predict(backward, backward.wrote[0], forward)
    assert found is not None
    assert found.fresh > 1e-4 if mean else found.fresh < 1e-6


def _lists(make: Any, name: str, function: Any, errors: list[float]) -> Any:
    runs = []
    for side in (0, 1):
        run = make.Run()
        parts = [make.normal(8, 8, seed=n) for n in range(len(errors))]
        given = [
            make.off(x, size, seed=50 + n) if side == 0 else x
            for n, (x, size) in enumerate(zip(parts, errors, strict=True))
        ]
        run.call(name, [given], [function(x) for x in given])
        runs.append(run)
    (part,) = make.measured(*runs)
    return part.call


def test_of_lists_each_result_comes_from_what_stands_at_its_place(make: Any) -> None:
    call = _lists(make, "Torch._foreach_mul.0.forward", lambda x: 2 * x, [1e-3, 1e-6])
    first, second = (predict(call, out) for out in call.wrote)
    assert first is not None
    assert second is not None
    assert first.inherited == pytest.approx(call.wrote[0].relative, rel=0.5)
    assert second.inherited == pytest.approx(call.wrote[1].relative, rel=0.5)


def test_norms_are_no_further_apart_than_what_they_are_of(make: Any) -> None:
    norms = _lists(make, "Torch._foreach_norm.0.forward", lambda x: np.asarray(np.linalg.norm(x), "f4"), [1e-3, 1e-6])
    found = [predict(norms, out) for out in norms.wrote]
    assert [each.assured if each else None for each in found] == pytest.approx(
        [norms.read[0].relative, norms.read[1].relative]
    )
    products = _lists(make, "Torch._foreach_mul.0.forward", lambda x: 2 * x, [1e-3, 1e-6])
    assert [each.assured if each else None for each in (predict(products, out) for out in products.wrote)] == [0, 0]


@pytest.mark.parametrize(("hook", "unit"), [("fp16_compress_hook", 2.0**-11), ("allreduce_hook", 2.0**-24)])
def test_gradients_that_a_hook_compresses_are_off_by_its_rounding(make: Any, hook: str, unit: float) -> None:
    runs = []
    for _ in (0, 1):
        run = make.Run()
        gradient = make.normal(64)
        run.call("Distributed.ddp_all_reduce.0.forward", [gradient], [gradient], kwargs={"hook": hook})
        runs.append(run)
    (part,) = make.measured(*runs)
    found = predict(part.call, part.call.wrote[0])
    assert found is not None
    assert unit <= found.fresh < 4 * unit


@pytest.mark.parametrize(
    ("name", "dtype", "is_fast"),
    [
        ("Functional.conv2d.0.forward", None, True),
        ("Functional.linear.0.forward", None, False),
        ("Functional.conv2d.0.forward", "torch.bfloat16", False),
    ],
)
def test_a_convolution_may_be_a_fast_one(make: Any, name: str, dtype: str | None, is_fast: bool) -> None:
    run = make.Run()
    x, weight, y = make.normal(4, 8, 6, 6), make.normal(8, 8, 3, 3, seed=1), make.normal(4, 8, 4, 4, seed=2)
    for value in (x, weight, y) if dtype else ():
        run.mark(value, dtype=dtype)
    run.call(name, [x, weight], [y])
    call = make.measured(run, run)[0].call
    found = predict(call, call.wrote[0])
    assert found is not None
    assert found.fresh > 0
    assert found.assured == (pytest.approx(6 * found.fresh) if is_fast else 0)


@pytest.mark.parametrize("empty", [1e-6, 0.3])
def test_the_gradient_of_an_angle_is_as_uncertain_as_its_smallest_number(make: Any, empty: float) -> None:
    """Near zero an angle turns with the smallest error, and there its gradient is largest."""
    x, gradient = make.normal(64), make.normal(64, seed=1)
    x = np.where(np.abs(x) < 0.3, np.float32(0.3), x)
    x[5] = empty
    runs = []
    for off in (1e-6, 0.0):
        run = make.Run()
        read = x + np.float32(off) * make.normal(64, seed=2)
        run.call("Torch.angle.0.forward", [read], [np.angle(read.astype("c8") * 1j).astype("f4")])
        run.call("Torch.angle.0.backward", [gradient], [gradient / read])
        runs.append(run)
    forward, backward = (part.call for part in make.measured(*runs))
    found = predict(backward, backward.wrote[0], forward)
    assert found is not None
    assert backward.wrote[0].relative < 3 * found.inherited
    assert found.inherited > 0.1 if empty < 1e-3 else found.inherited < 1e-3


@pytest.mark.parametrize(("mean", "is_known"), [(300.0, True), (300.0, False), (0.0, True)])
def test_a_gradient_tells_what_is_left_of_rows_with_means_of_their_own(make: Any, mean: float, is_known: bool) -> None:
    """The mean of all is zero, that of each row is not: what a row is divided by stands in its gradient alone."""
    spread, unit = np.float32(0.05), make.normal(16, 64)
    unit = (unit - unit.mean(1, keepdims=True)) / unit.std(1, keepdims=True)
    x = spread * unit + np.tile(np.float32([mean, -mean]), 8)[:, None]
    gradient, run = make.normal(16, 64, seed=1), make.Run()
    run.call("Functional.layer_norm.0.forward", [make.off(x, 1e-7)], [make.off(unit, 1e-4)])
    run.call("Functional.layer_norm.0.backward", [gradient], [gradient / spread])
    other = make.Run()
    other.call("Functional.layer_norm.0.forward", [x], [unit])
    other.call("Functional.layer_norm.0.backward", [gradient], [gradient / spread])
    forward, backward = (part.call for part in make.measured(run, other))
    found = predict(forward, forward.wrote[0], back=backward if is_known else None)
    assert found is not None
    gain = found.inherited / forward.read[0].relative
    assert gain == pytest.approx(mean / spread if is_known and mean else 1.0, rel=0.3)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_the_gradient_of_a_weight_inherits_the_error_of_the_input_wherever_it_stands(
    make: Any, order: tuple[int, ...]
) -> None:
    # msprobe records what addmm's node returns: bias, input, transposed weight.
    x, weight, bias = make.normal(4, 32, seed=1), make.normal(24, 32, seed=2), make.normal(24, seed=3)
    gradient = make.normal(4, 24, seed=4).astype("f4")
    runs = []
    for read in (make.off(x, SIZE, seed=5).astype("f4"), x.astype("f4")):
        run = make.Run()
        run.call("Functional.linear.0.forward", [read, weight, bias], [read @ weight.T + bias])
        grads = [gradient @ weight, gradient.T @ read, gradient.sum(0)]
        if order != (0, 1, 2):
            grads[1] = np.ascontiguousarray(grads[1].T)
        run.call("Functional.linear.0.backward", [gradient], [grads[place].astype("f4") for place in order])
        runs.append(run)
    forward, backward = (part.call for part in make.measured(*runs))
    found = predict(backward, backward.wrote[order.index(1)], forward)
    assert found is not None
    assert found.inherited == pytest.approx(SIZE, rel=0.3)


@pytest.mark.parametrize(
    ("name", "given", "options"),
    [
        ("Tensor.add_.0.forward", (0.0, SIZE), {"alpha": -0.01}),
        ("Torch.sub.0.forward", (0.0, SIZE), {"alpha": 0.01}),
        ("Tensor.lerp_.0.forward", (0.0, SIZE), {"weight": 0.01}),
        ("Tensor.lerp.0.forward", (SIZE, 0.0), {"weight": 0.99}),
        ("Tensor.add_.0.forward", (0.0, SIZE), {}),
    ],
)
def test_a_sum_takes_the_error_of_what_it_scales_as_it_scales_it(
    make: Any, name: str, given: tuple[float, float], options: dict[str, float]
) -> None:
    # As optimizers and averages of weights do, whose steps are small.
    bench = [make.normal(48, 64, seed=1), make.normal(48, 64, seed=2)]
    sums = {
        "add_": lambda a, b, alpha=1.0: a + alpha * b,
        "sub": lambda a, b, alpha: a - alpha * b,
        "lerp": lambda a, b, weight: a + weight * (b - a),
        "lerp_": lambda a, b, weight: a + weight * (b - a),
    }
    runs = []
    for side in ([make.off(x, e, seed=7 + n) for n, (x, e) in enumerate(zip(bench, given, strict=True))], bench):
        run = make.Run()
        result = sums[name.split(".")[1]](*side, **options)
        run.call(name, [x.astype("f4") for x in side], [result.astype("f4")], kwargs=options)
        runs.append(run)
    (part,) = make.measured(*runs)
    (out,) = part.call.wrote
    found = predict(part.call, out)
    assert found is not None
    assert math.log(out.relative / found.relative) == pytest.approx(0.0, abs=0.3)


@pytest.mark.parametrize("edge", [-1.0, -0.5])
def test_beside_a_pole_nobody_knows_how_steep_a_derivative_is(make: Any, edge: float) -> None:
    # Of what lies next to a pole the extremes do not tell: they are the pole itself.
    runs = []
    for near in (-0.99, -0.98):
        run = make.Run()
        x = np.abs(make.normal(64, seed=3)).astype("f4")
        x[0], x[1] = edge, near if edge == -1.0 else edge
        with np.errstate(divide="ignore"):
            run.call("Torch.log1p.0.forward", [x], [np.log1p(x)])
            run.call("Torch.log1p.0.backward", [np.ones_like(x)], [1 / (1 + x)])
        runs.append(run)
    forward, backward = (part.call for part in make.measured(*runs))
    found = predict(backward, backward.wrote[0], forward)
    assert found is not None
    if edge == -1.0:
        assert backward.wrote[0].relative < found.relative
    else:
        assert found.relative < 1e-3


@pytest.mark.parametrize("is_alike", [True, False])
def test_a_weight_may_be_off_in_the_direction_of_rows_that_are_alike(make: Any, is_alike: bool) -> None:
    # Nothing but rounding moves a weight whose gradient vanishes, and that in the direction of what it reads.
    common = make.normal(64, seed=1)
    rows = np.stack([common] * 128) + 0.2 * make.normal(128, 64, seed=2) if is_alike else make.normal(128, 64, seed=2)
    weight, gradient = make.normal(48, 64, seed=3), make.normal(128, 48, seed=4) * 0.3 + make.normal(48, seed=5)
    moved = weight.copy()
    moved[7] += 0.02 * np.sign(common)
    runs = []
    for side in (moved, weight):
        run = make.Run()
        run.call("Functional.linear.0.forward", [rows, side.astype("f4")], [rows @ side.T])
        run.call("Functional.linear.0.backward", [gradient], [gradient @ side, gradient.T @ rows])
        runs.append(run)
    forward, backward = (part.call for part in make.measured(*runs))
    (out,) = forward.wrote
    found = predict(forward, out, back=backward)
    assert found is not None
    if is_alike:
        assert 2 * found.relative < out.relative < 2 * found.assured
    else:
        assert found.assured == 0.0
        assert out.relative < 2 * found.relative
    without = predict(forward, out)
    assert without is not None
    assert without.assured == 0.0


@pytest.mark.parametrize(
    ("wrong", "reduction", "rows"), [(1.3, None, 1), (1.3, "mean", 1), (1.0, "sum", 64), (1.0, "left out", 64)]
)
def test_a_loss_that_is_wrong_is_not_taken_for_a_sum(make: Any, wrong: float, reduction: str, rows: int) -> None:
    logits = make.normal(64, 100, seed=1) * np.float32(0.1)
    losses = np.log(np.exp(logits).sum(-1)) - logits[:, 3]
    loss = losses.sum() if rows > 1 else losses.mean()
    kwargs = {"reduction": reduction} if reduction in ("mean", "sum") else {}
    runs = []
    for side, factor in ((make.off(logits, 0.01, seed=2), wrong), (logits, 1.0)):
        run = make.Run()
        run.call("Functional.cross_entropy.0.forward", [side], [np.asarray(loss * factor, "f4")], kwargs=kwargs)
        runs.append(run)
    (part,) = make.measured(*runs)
    found = predict(part.call, part.call.wrote[0])
    assert found is not None
    assert found.relative < 2e-3


@pytest.mark.parametrize(
    ("dtype", "off", "hides"), [("bfloat16", 1e-6, True), ("bfloat16", 1e-3, False), ("float32", 1e-6, False)]
)
def test_a_sketch_may_hide_two_elements_of_a_narrow_tensor(make: Any, dtype: str, off: float, hides: bool) -> None:
    """One step of a bfloat16 up in one place, one down in another."""
    table = make.normal(200, 48, seed=1)
    runs = []
    for side in (make.off(table, off, seed=2), table):
        run = make.Run()
        for value in (side, rows := side[:96]):
            run.mark(value, dtype=f"torch.{dtype}")
        run.call("Functional.embedding.0.forward", [side], [rows])
        runs.append(run)
    (part,) = make.measured(*runs)
    found = predict(part.call, part.call.wrote[0])
    assert found is not None
    assert (found.flips >= 2.0) is hides


@pytest.mark.parametrize("cancels", [True, False])
def test_a_sum_of_rows_that_cancel_may_be_off_by_what_all_of_them_are(make: Any, cancels: bool) -> None:
    """As the gradient of a bias before a softmax over the rows, which is nothing but rounding."""
    x, weight, gradient = make.normal(64, 32, seed=1), make.normal(16, 32, seed=2), make.normal(64, 16, seed=3)
    if cancels:
        gradient -= 0.98 * gradient.mean(0)
    runs = []
    for by in (np.float32(2e-3), np.float32(0.0)):
        side = gradient + by
        run = make.Run()
        run.call("Functional.linear.0.forward", [x, weight, make.normal(16, seed=4)], [x @ weight.T])
        run.call("Functional.linear.0.backward", [side], [None, side.T @ x, side.sum(0)])
        runs.append(run)
    forward, backward = (part.call for part in make.measured(*runs))
    out = backward.wrote[-1]
    found = predict(backward, out, forward)
    assert found is not None
    assert out.relative > 2 * found.relative
    assert (out.relative < 2 * found.assured) is cancels


@pytest.mark.parametrize(
    ("dtype", "in_step", "is_assured"), [("bfloat16", 1.0, True), ("bfloat16", 0.0, False), ("float32", 1.0, False)]
)
def test_rows_in_step_may_be_added_up_in_the_type_that_they_have(
    make: Any, dtype: str, in_step: float, is_assured: bool
) -> None:
    x, gradient = make.normal(384, 64, seed=1), make.normal(384, 64, seed=2) + np.float32(in_step)
    run = make.Run()
    for value in (x, gradient, total := gradient.sum(0)):
        run.mark(value, dtype=f"torch.{dtype}")
    run.call("Functional.layer_norm.0.forward", [x], [x])
    run.call("Functional.layer_norm.0.backward", [gradient], [gradient, None, total])
    forward, backward = (part.call for part in make.measured(run, run))
    found = predict(backward, backward.wrote[-1], forward)
    assert found is not None
    assert found.assured == (pytest.approx(2.0**-8 * 384 / 4) if is_assured else 0.0)


def test_a_running_sum_rounds_as_often_as_it_has_terms(make: Any) -> None:
    """Made one by one in float32, and in float64."""
    x = np.abs(make.normal(4, 20000, seed=1))
    runs = []
    for dtype in ("f4", "f8"):
        sums = np.cumsum(x, -1, dtype=dtype).astype("f4")
        run = make.Run()
        run.call("Torch.cumsum.0.forward", [x], [sums])
        runs.append(run)
    (part,) = make.measured(*runs)
    (out,) = part.call.wrote
    found = predict(part.call, out)
    assert found is not None
    assert out.relative > 1e-6
    assert 0.1 < out.relative / found.relative < 2.0


@pytest.mark.parametrize("steps", [20, 60, 200])
def test_the_gradient_of_the_likelihood_of_paths_rounds_as_sums_of_all_their_steps(make: Any, steps: int) -> None:
    """Of alignments (CTC), in float32 and in float64."""
    logits = torch.from_numpy(make.normal(steps, 4, 11, seed=1)).log_softmax(-1)
    labels = torch.from_numpy(np.random.default_rng(2).integers(1, 11, (4, 6)))
    runs = []
    for dtype in (torch.float32, torch.float64):
        read = logits.detach().to(dtype).requires_grad_()
        loss = torch.nn.functional.ctc_loss(read, labels, [steps] * 4, [6] * 4)
        loss.backward()
        assert read.grad is not None
        run = make.Run()
        run.call(
            "Functional.ctc_loss.0.forward",
            [logits.numpy(), labels.numpy()],
            [np.asarray(loss.item(), "f4")],
            kwargs={"reduction": "mean"},
        )
        run.call("Functional.ctc_loss.0.backward", [np.ones((), "f4")], [read.grad.numpy().astype("f4")])
        runs.append(run)
    forward, backward = (part.call for part in make.measured(*runs))
    (out,) = backward.wrote
    found = predict(backward, out, forward)
    assert found is not None
    assert out.relative > 1e-6
    assert 0.1 < out.relative / found.relative < 1.0


@pytest.mark.parametrize(("name", "is_steep"), [("log", True), ("exp", False)])
def test_near_a_pole_errors_of_one_size_rule_the_gradient(make: Any, name: str, is_steep: bool) -> None:
    x = np.abs(make.normal(64, seed=1)) + np.float32(0.2)
    x[5] = 2e-3
    runs = []
    for side in (x + np.float32(1e-5) * make.normal(64, seed=2), x):
        run = make.Run()
        value, slope = (np.log(side), 1 / side) if is_steep else (np.exp(side), np.exp(side))
        run.call(f"Torch.{name}.0.forward", [side], [value])
        run.call(f"Torch.{name}.0.backward", [np.ones_like(side)], [slope])
        runs.append(run)
    forward, backward = (part.call for part in make.measured(*runs))
    (out,) = backward.wrote
    found = predict(backward, out, forward)
    assert found is not None
    read = forward.read[0].relative
    assert (out.relative > 20 * read) is is_steep
    assert out.relative / 4 < found.relative < 20 * max(out.relative, read)


@pytest.mark.parametrize("name", ["Torch.exp.0", "Torch.mul.0", "Torch.mul.0.forward"])
@pytest.mark.parametrize("apart", [True, False])
def test_errors_are_multiplied_by_factors_where_what_they_are_of_is_not(make: Any, name: str, apart: bool) -> None:
    """A gradient that decay has left nothing of where factors are large, with errors of one size everywhere; and one
    that has nothing to do with them."""
    factor = np.repeat([[1.0, 2.0, 4.0, 8.0]], 64, axis=0).astype("f4")
    runs = []
    for size in (SIZE, 0.0):
        gradient = make.normal(64, 4, seed=1) / (factor**3 if apart else np.float32(1))
        gradient = (gradient + size * make.normal(64, 4, seed=2)).astype("f4")
        run = make.Run()
        if name.endswith(".forward"):
            run.call(name, [gradient, factor], [gradient * factor])
        else:
            function = np.log(factor) if "exp" in name else make.normal(64, 4, seed=3)
            run.call(f"{name}.forward", [function] if "exp" in name else [function, factor], [factor])
            run.call(f"{name}.backward", [gradient], [gradient * factor])
        runs.append(run)
    *forward, call = (part.call for part in make.measured(*runs))
    found = predict(call, call.wrote[0], *forward)
    assert found is not None
    assert (call.wrote[0].relative > 2 * found.relative) is apart
    assert call.wrote[0].relative == pytest.approx(found.assured, rel=0.4)


def _assert_much_comes_of_little(make: Any, runs: list[Any], *, is_much: bool) -> None:
    """A backward is as far off as predicted: a hundred times as far as what its forward call read, or less."""
    forward, backward = (part.call for part in make.measured(*runs))
    (out,) = backward.wrote
    found = predict(backward, out, forward)
    assert found is not None
    assert (out.relative > 100 * forward.read[0].relative) is is_much
    assert out.relative / 2 < found.relative < 2 * out.relative


@pytest.mark.parametrize(("apart", "is_hidden"), [(1e-3, True), (1.0, False)])
def test_a_difference_may_be_off_by_what_no_sketch_of_its_terms_shows(make: Any, apart: float, is_hidden: bool) -> None:
    """Weights of two steps of which a few elements are off by one rounding."""
    weight, step = make.normal(256, 256, seed=1), make.normal(256, 256, seed=2)
    runs = []
    for off in (True, False):
        moved = (weight + np.float32(apart) * step).astype("f4")
        if off:
            moved[3, 4:8] = np.nextafter(moved[3, 4:8], np.float32([9, -9, 9, -9]))
        run = make.Run()
        run.call("Tensor.__sub__.0.forward", [moved, weight], [moved - weight])
        runs.append(run)
    (call,) = (part.call for part in make.measured(*runs))
    (out,) = call.wrote
    found = predict(call, out)
    assert found is not None
    assert call.read[0].relative <= 2e-7
    assert (found.inherited > 1e-5) is is_hidden


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("apart", [1e-3, 1.0])
def test_what_cancels_in_a_difference_does_not_cancel_in_its_error(make: Any, apart: float, reduction: str) -> None:
    """A teacher that began as a copy of its pupil: the gradient of their squared distance is what rounding left."""
    target, moved = make.normal(64, 64, seed=1), np.float32(apart) * make.normal(64, 64, seed=2)
    runs = []
    for size in (SIZE, 0.0):
        given = (target + moved + np.float32(size) * make.normal(64, 64, seed=3)).astype("f4")
        squares = (given - target) ** 2
        loss = {"mean": squares.mean(), "sum": squares.sum(), "none": squares}[reduction]
        gradient = np.ones_like(loss)
        run = make.Run()
        run.call("Functional.mse_loss.0.forward", [given, target], [np.asarray(loss)], kwargs={"reduction": reduction})
        slope = 2 * (given - target) / (given.size if reduction == "mean" else 1)
        run.call("Functional.mse_loss.0.backward", [np.asarray(gradient)], [slope.astype("f4")])
        runs.append(run)
    _assert_much_comes_of_little(make, runs, is_much=apart < 1)


@pytest.mark.parametrize("name", ["normalize", "cosine_similarity"])
@pytest.mark.parametrize("apart", [1e-3, 1.0])
def test_what_a_projection_takes_out_of_a_gradient_stays_in_its_error(make: Any, apart: float, name: str) -> None:
    """Of a gradient along the vector whose length or angle it is of, next to nothing is left."""
    target = make.normal(64, 64, seed=1)
    source = target + np.float32(apart) * make.normal(64, 64, seed=2)
    along = target / np.linalg.norm(target, axis=1, keepdims=True)
    runs = []
    for size in (SIZE, 0.0):
        given = (source + np.float32(size) * make.normal(64, 64, seed=3)).astype("f4")
        length = np.linalg.norm(given.astype("f8"), axis=1, keepdims=True)
        unit = given / length
        slope = ((along - unit * (unit * along).sum(1, keepdims=True)) / length).astype("f4")
        run = make.Run()
        if name == "normalize":
            run.call("Functional.normalize.0.forward", [given], [unit.astype("f4")])
            run.call("Functional.normalize.0.backward", [along.astype("f4")], [slope])
        else:
            cosine = (unit * along).sum(1).astype("f4")
            run.call("Functional.cosine_similarity.0.forward", [given, target], [cosine])
            run.call("Functional.cosine_similarity.0.backward", [np.ones_like(cosine)], [slope, None])
        runs.append(run)
    forward, backward = (part.call for part in make.measured(*runs))
    out = backward.wrote[0]
    found = predict(backward, out, forward)
    assert found is not None
    assert (out.relative > 50 * forward.read[0].relative) is (apart < 1)
    assert out.relative / 2 < found.relative < 2.5 * out.relative


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("name", ["l1_loss", "mse_loss"])
@pytest.mark.parametrize("apart", [1e-5, 1.0])
def test_errors_of_what_nearly_agrees_add_up_in_a_loss(make: Any, apart: float, name: str, reduction: str) -> None:
    if (name, reduction) == ("l1_loss", "sum"):
        pytest.skip("nothing is said of it beyond what is said of any sum")
    target = make.normal(64, 64, seed=1)
    runs = []
    for size in (1e-4, 0.0):
        moved = np.float32(apart) * make.normal(64, 64, seed=2) + np.float32(size) * make.normal(64, 64, seed=3)
        given = (target + moved).astype("f4")
        each = np.abs(given - target) ** (1 if name == "l1_loss" else 2)
        loss = {"mean": each.mean(), "sum": each.sum(), "none": each}[reduction]
        run = make.Run()
        run.call(f"Functional.{name}.0.forward", [given, target], [np.asarray(loss)], kwargs={"reduction": reduction})
        runs.append(run)
    (part,) = make.measured(*runs)
    out = part.call.wrote[0]
    found = predict(part.call, out, None)
    assert found is not None
    assert (found.relative > 0.5) is (apart < 1)
    assert out.relative / 2 < found.relative


@pytest.mark.parametrize("apart", [1e-3, 1.0])
def test_the_direction_from_one_to_another_turns_by_their_errors_over_the_distance(make: Any, apart: float) -> None:
    target = make.normal(64, 64, seed=1)
    runs = []
    for size in (SIZE, 0.0):
        moved = np.float32(apart) * make.normal(64, 64, seed=2) + np.float32(size) * make.normal(64, 64, seed=3)
        length = np.linalg.norm(moved, axis=1)
        run = make.Run()
        run.call("Functional.pairwise_distance.0.forward", [(target + moved).astype("f4"), target], [length])
        run.call("Functional.pairwise_distance.0.backward", [np.ones_like(length)], [moved / length[:, None]])
        runs.append(run)
    _assert_much_comes_of_little(make, runs, is_much=apart < 1)


@pytest.mark.parametrize(("name", "is_assured"), [("sin", True), ("tanh", False)])
def test_a_wave_is_no_further_off_than_what_it_is_of_however_large_that_is(
    make: Any, name: str, is_assured: bool
) -> None:
    """The angles of an encoding of positions."""
    x = make.normal(64, 16, seed=1) * np.float32(100)
    moved = x + make.normal(64, 16, seed=2) * np.float32(0.02)
    runs = []
    for side in (moved, x):
        run = make.Run()
        run.call(f"Torch.{name}.0.forward", [side], [getattr(np, name)(side)])
        runs.append(run)
    (call,) = (part.call for part in make.measured(*runs))
    (out,) = call.wrote
    found = predict(call, out)
    assert found is not None
    assert (found.assured >= out.relative > 0) is is_assured
