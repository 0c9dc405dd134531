"""Optimizer steps, made by real update rules in numpy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from acc_compare.align.calls import align
from acc_compare.judge.optimizer import OptimizerFault, judge_optimizer
from acc_compare.measured.pairs import measure_pairs
from acc_compare.report.i18n import text


def sgd(w: Any, g: Any, lr: float) -> Any:
    return w - lr * g


def adam(w: Any, g: Any, lr: float, *, beta1: float = 0.9, beta2: float = 0.999, step: int = 1) -> Any:
    """Kingma and Ba 2015, algorithm 1, from a state of zeros after `step` equal gradients."""
    m = (1 - beta1**step) * g / (1 - 0.9**step)
    v = (1 - beta2**step) * g * g / (1 - 0.999**step)
    return w - lr * m / (np.sqrt(v) + 1e-8)


def recorded(
    make: Any,
    rule: Any,
    *,
    gradients: Any,
    lr: float = 0.1,
    mode: str = "statistics",
    settings: dict[str, Any] | None = None,
    optimizer: str = "",
    **of_rule: Any,
) -> Any:
    """One step over as many parameters as there are gradients."""
    run = make.Run(mode=mode)
    old = {f"p{n}": run.parameter(make.normal(*g.shape, seed=100 + n)) for n, g in enumerate(gradients)}
    grads = {f"p{n}": g for n, g in enumerate(gradients)}
    new = {name: rule(w.astype("f8"), grads[name].astype("f8"), lr, **of_rule).astype("f4") for name, w in old.items()}
    name = optimizer or ("Adam" if rule is adam else "SGD")
    kwargs = {"grad": grads, "param": old, "group.0": {"lr": lr, **(settings or {})}}
    run.call(f"Optimizer.{name}.0.forward", kwargs=kwargs)
    run.bodies[f"Optimizer.{name}.0.forward"]["output"] = [run._nested(new)]
    return run


def judged(npu: Any, bench: Any) -> OptimizerFault | None:
    (part,) = measure_pairs(align(npu.dump(), bench.dump()), npu.mode)
    assert part.call is not None
    assert part.call.is_optimizer
    return judge_optimizer(part.call)


def some(make: Any, *, noise: float = 0.0, count: int = 4, size: float = 1e-2) -> list[Any]:
    return [make.off(make.normal(64, 16, seed=n) * np.float32(size), noise, seed=50 + n) for n in range(count)]


@pytest.mark.parametrize("rule", [sgd, adam])
@pytest.mark.parametrize("noise", [0.0, 1e-6, 1e-3])
def test_updates_that_their_gradients_explain(make: Any, rule: Any, noise: float) -> None:
    npu = recorded(make, rule, gradients=some(make, noise=noise))
    assert judged(npu, recorded(make, rule, gradients=some(make))) is None


@pytest.mark.parametrize("rule", [sgd, adam])
def test_a_wrong_learning_rate(make: Any, rule: Any) -> None:
    gradients = some(make)
    fault = judged(recorded(make, rule, gradients=gradients, lr=0.11), recorded(make, rule, gradients=gradients))
    assert fault is not None
    assert (fault.suspicious, fault.judged) == (4, 4)
    assert fault.worst.relative == pytest.approx(0.1, rel=0.05)
    assert fault.worst.factor == pytest.approx(1.1, rel=0.01)
    assert tuple(map(text, fault.settings)) == ("lr 0.11 against 0.1",)


def test_a_wrong_constant_that_no_setting_shows(make: Any) -> None:
    gradients = some(make)
    fault = judged(
        recorded(make, adam, gradients=gradients, beta1=0.95, step=3), recorded(make, adam, gradients=gradients, step=3)
    )
    assert fault is not None
    assert fault.settings == ()


def test_a_setting_that_differs_and_shows_nowhere_is_no_fault(make: Any) -> None:
    gradients = some(make)
    npu = recorded(make, sgd, gradients=gradients, settings={"lr": 5.0})
    assert judged(npu, recorded(make, sgd, gradients=gradients)) is None


def test_one_parameter_of_many_that_is_scaled(make: Any) -> None:
    def run(*, wrong: bool) -> Any:
        gradients = some(make)
        rates = iter([0.2 if wrong else 0.1, 0.1, 0.1, 0.1])
        return recorded(make, lambda w, g, lr: sgd(w, g, next(rates)), gradients=gradients)

    fault = judged(run(wrong=True), run(wrong=False))
    assert fault is not None
    assert (fault.worst.parameter, fault.suspicious, fault.judged) == ("p0", 1, 4)


@pytest.mark.parametrize("noise", [0.0, 1e-6, 1e-2])
def test_a_lost_update_of_one_parameter(make: Any, noise: float) -> None:
    number = iter(range(6))

    def losing(w: Any, g: Any, lr: float) -> Any:
        return w if next(number) == 2 else adam(w, g, lr)

    npu = recorded(make, losing, optimizer="Adam", gradients=some(make, noise=noise, count=6))
    fault = judged(npu, recorded(make, adam, gradients=some(make, count=6)))
    assert fault is not None
    assert (fault.worst.parameter, fault.suspicious) == ("p2", 1)


@pytest.mark.parametrize(("factor", "blamed"), [(1.0, False), (1.1, True), (0.9, True)])
def test_all_updates_together_are_scaled_in_noise(make: Any, factor: float, blamed: bool) -> None:
    """No single update of sixteen is told from noise, all together are."""
    npu = recorded(make, adam, gradients=some(make, noise=3e-2, count=16), lr=0.1 * factor)
    fault = judged(npu, recorded(make, adam, gradients=some(make, count=16)))
    assert (fault is not None) is blamed


@pytest.mark.parametrize(("momentum", "factor", "blamed"), [(0.9, 0.995, False), (0.0, 0.995, True), (0.9, 0.9, True)])
def test_a_step_goes_along_earlier_gradients_which_may_have_been_shorter(
    make: Any, momentum: float, factor: float, blamed: bool
) -> None:
    """A bias of which rounding towards zero loses a little in each step."""
    settings = {"momentum": momentum, "lr": 0.1}
    npu = recorded(make, sgd, gradients=some(make, noise=4e-3, count=16), lr=0.1 * factor, settings=settings)
    fault = judged(npu, recorded(make, sgd, gradients=some(make, count=16), settings=settings))
    assert (fault is not None) is blamed


def test_gradients_of_pure_noise_are_not_judged(make: Any) -> None:
    """Adam makes full-size steps of gradients that are rounding alone."""
    noise = [make.normal(64, seed=n) * np.float32(1e-9) for n in range(4)]
    other = [make.normal(64, seed=70 + n) * np.float32(1e-9) for n in range(4)]
    assert judged(recorded(make, adam, gradients=noise), recorded(make, adam, gradients=other)) is None


@pytest.mark.parametrize(("setting", "blamed"), [({}, False), ({"fused": True}, False), ({"eps": 1.0}, True)])
def test_one_gradient_that_is_noise_in_part_is_chance(make: Any, setting: dict[str, Any], blamed: bool) -> None:
    """Adam moves the elements of uncertain sign by whole steps, as in the key's part of an attention's one bias.  It
    is taken for chance unless a setting that counts differs; how a step is computed does not count."""

    def gradients(seed: int) -> list[Any]:
        found = some(make, size=1.0)
        found[0][:32] = make.normal(32, 16, seed=seed) * np.float32(1e-4)
        return found

    npu = recorded(make, adam, gradients=gradients(200), settings=setting)
    bench = recorded(make, adam, gradients=gradients(300), settings=dict.fromkeys(setting, 0))
    assert (judged(npu, bench) is not None) is blamed


@pytest.mark.parametrize(("settings", "blamed"), [({}, True), ({"lr": 0.1}, False)])
def test_a_small_change_shows_beside_uncertain_gradients_where_settings_differ(
    make: Any, settings: dict[str, Any], blamed: bool
) -> None:
    """The update is off by a thousandth, which Adam may make of gradients that are off by 1e-6."""
    npu = recorded(make, adam, gradients=some(make, noise=1e-6), settings=settings, lr=0.1001)
    bench = recorded(make, adam, gradients=some(make), settings=settings, lr=0.1)
    assert (judged(npu, bench) is not None) is blamed


def test_a_step_that_one_side_skipped(make: Any) -> None:
    gradients = some(make)
    moved, skipped = (recorded(make, sgd, gradients=gradients, lr=lr, settings={"lr": 1.0}) for lr in (0.1, 0.0))
    for npu, bench in ((moved, skipped), (skipped, moved)):
        fault = judged(npu, bench)
        assert fault is not None
        assert fault.worst.relative == (math.inf if npu is moved else pytest.approx(1.0))
    assert judged(skipped, skipped) is None


def test_digests_of_equal_gradients_and_other_parameters(make: Any) -> None:
    gradients = some(make)
    npu = recorded(make, sgd, gradients=gradients, lr=0.2, mode="md5")
    fault = judged(npu, recorded(make, sgd, gradients=gradients, mode="md5"))
    assert fault is not None
    assert math.isinf(fault.worst.relative)
    assert judged(npu, npu) is None


def test_digests_of_other_gradients_say_nothing(make: Any) -> None:
    npu, bench = (recorded(make, sgd, gradients=some(make, noise=noise), mode="md5") for noise in (1e-6, 0.0))
    assert judged(npu, bench) is None


@pytest.mark.parametrize("mode", ["statistics", "md5"])
def test_a_fault_is_a_suspect(make: Any, mode: str) -> None:
    gradients = some(make)
    npu, bench = (recorded(make, sgd, gradients=gradients, lr=lr, mode=mode) for lr in (0.2, 0.1))
    (suspect,) = make.judged(npu, bench).suspects
    assert (suspect.kind, suspect.name) == ("optimizer", "Optimizer.SGD.0.forward")
    assert "settings differ: lr 0.2 against 0.1" in list(map(text, suspect.evidence))
    if mode == "md5":
        assert suspect.rel_l2 is None
        assert "equal bit by bit" in text(suspect.message)
    else:
        assert suspect.pattern.size == pytest.approx(2, rel=1e-3)
        assert suspect.excess > 10


def test_a_parameter_of_other_shape_is_left_to_others(make: Any) -> None:
    npu = recorded(make, sgd, gradients=[make.normal(8, 4)])
    assert judged(npu, recorded(make, sgd, gradients=[make.normal(4, 8)])) is None


@pytest.mark.parametrize(("own", "blamed"), [([], True), (["p0", "p2"], True), (["p1", "p3"], False)])
def test_what_another_rank_updates_is_not_this_ones_fault(make: Any, own: list[str], blamed: bool) -> None:
    """Ranks share out the parameters, and give each other what they made of them; p2 is wrong."""

    def run(*, wrong: bool) -> Any:
        rates = iter([0.1, 0.1, 0.15 if wrong else 0.1, 0.1])
        settings = {"own": own} if own else {}
        one = recorded(make, lambda w, g, lr: sgd(w, g, next(rates)), gradients=some(make))
        one.bodies["Optimizer.SGD.0.forward"]["input_kwargs"] |= {k: one._nested(v) for k, v in settings.items()}
        return one

    fault = judged(run(wrong=True), run(wrong=False))
    assert (fault is not None) == blamed


@pytest.mark.parametrize(
    ("npu", "bench", "told"),
    [
        (("a", "b"), ("a", "b"), None),
        (("a",), ("a", "b"), "on the bench side only, and are not updated on the other: b."),
        (("a", "b"), ("a",), "on the NPU side only, and are not updated on the other: b."),
        (("a", "b"), ("a", "c"), None),
        (("a",), ("a", "zero"), None),
    ],
)
def test_a_parameter_that_one_side_alone_updates_is_told(
    make: Any, npu: tuple[str, ...], bench: tuple[str, ...], told: str | None
) -> None:
    """Of a gradient of zeros nothing comes, and other names are no other parameters."""

    def run(names: tuple[str, ...]) -> Any:
        one = make.Run()
        gradients = {n: make.normal(8, 8, seed=5) * np.float32(n != "zero") for n in names}
        given = {"grad": gradients, "param": {n: make.normal(8, 8, seed=1) for n in names}}
        one.call("Optimizer.SGD.0.forward", kwargs=given)
        return one

    notes = [text(note) for note in make.judged(run(npu), run(bench)).notes if note.key == "note.updated_alone"]
    assert [note.partition(" gradient ")[2] for note in notes] == ([told] if told else [])
