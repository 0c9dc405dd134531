from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest

from acc_compare.judge.evidence import Comparand, has_other_settings, message_of
from acc_compare.judge.origins import Expected, Judged, Origin
from acc_compare.judge.systematic import Shift
from acc_compare.messages import listed, say
from dump.format.schema import CollectiveRecord

GELU = "Functional.gelu.0.forward"


def scaled(factor: float) -> Any:
    return lambda values: values * np.float32(factor)


def test_an_operator_says_what_went_in_and_what_came_out(network: Any) -> None:
    (suspect,) = network.compare({GELU: scaled(1.001)}).suspects
    values = dict(suspect.message.values)
    assert suspect.message.key == "happened.computed"
    assert values["agree"].key == "agree.to"
    assert values["size"] == pytest.approx(1e-3, rel=0.3)
    assert values["source"].key == "source.arithmetic"
    assert (suspect.pattern.kind, suspect.pattern.size) == ("factor", pytest.approx(1.001, rel=1e-4))
    assert say("evidence.sketch") in suspect.evidence


def test_by_digests_the_message_speaks_of_bits(network: Any) -> None:
    finding = network.compare({GELU: scaled(1.001)}, mode="md5")
    assert finding.suspects[0].message == say("happened.digest", tensor="output.0")


def test_nan_names_the_tensor(network: Any) -> None:
    (suspect,) = network.compare({GELU: scaled(np.nan)}).suspects
    values = dict(suspect.message.values)
    assert suspect.message.key == "happened.nonfinite_counted"
    assert (values["side"], values["kind"], values["bad"], values["all"]) == (say("name.npu"), "NaN", 1024, 1024)


def test_a_shift_of_a_channel_is_told_where_the_size_is_normal(make: Any) -> None:
    """A factor far below the noise of single elements moves the norm."""

    def run(factor: float, noise: float) -> Any:
        one = make.Run()
        for n in range(8):
            x = make.normal(64, 64, seed=n)
            y = make.off(x, noise, seed=50 + n) * np.float32(factor if n == 5 else 1.0)
            one.call(f"Functional.gelu.{n}.forward", [x.astype("f2")], [y.astype("f2")])
        return one

    (suspect,) = make.judged(run(1.001, 4e-4), run(1.0, 0.0)).suspects
    assert suspect.name == "Functional.gelu.5.forward"
    assert suspect.message.key.startswith("happened.shifted_")


def test_all_that_differs_from_the_start_is_one_suspect(make: Any) -> None:
    def run(size: float) -> Any:
        one = make.Run()
        for n in range(5):
            x = make.off(make.normal(8, 8, seed=n), size)
            one.call(f"Functional.gelu.{n}.forward", [x], [x])
        return one

    (suspect,) = make.judged(run(0.1), run(0)).suspects
    assert (suspect.kind, suspect.calls, suspect.others) == ("input", 1, ())
    (start,) = suspect.evidence
    assert start.key == "evidence.start"
    assert dict(dict(start.values)["names"].values)["number"] == 2


@pytest.mark.parametrize(
    ("coverage", "is_parameter", "key"),
    [
        ({"compiled": {"graphs": 1}}, False, "happened.input_compiled"),
        ({"compiled": {"graphs": 1}}, True, "happened.input_differs"),
        ({}, False, "happened.input_differs"),
    ],
)
def test_beside_compiled_code_what_no_call_made_may_be_its_result(
    make: Any, coverage: Any, is_parameter: bool, key: str
) -> None:
    def run(size: float) -> Any:
        one = make.Run(coverage=coverage)
        x = one.parameter(make.off(make.normal(8, 8), size)) if is_parameter else make.off(make.normal(8, 8), size)
        one.call("Functional.gelu.0.forward", [x], [make.off(x, 0)])
        return one

    (suspect,) = make.judged(run(0.1), run(0)).suspects
    assert suspect.message.key == key


def test_of_data_and_of_a_parameter_of_another_size_the_size_is_told_too(make: Any) -> None:
    def run(width: int, size: float) -> Any:
        one = make.Run()
        x, w = make.off(make.normal(8, 8), size), make.normal(width, 8, seed=1)
        one.call("Functional.linear.0.forward", [x, w], [x @ w.T])
        return one

    first, *_ = make.judged(run(4, 0.1), run(6, 0)).suspects
    assert first.kind == "input"
    sizes = say("shapes", npu="[4, 8]", bench="[6, 8]")
    (told,) = [each for each in first.evidence if each.key == "evidence.reshaped"]
    assert dict(told.values)["shapes"] == sizes


@pytest.mark.parametrize(("eps", "told"), [(1e-6, True), (1e-5, False)])
def test_settings_that_differ_are_evidence(make: Any, eps: float, told: bool) -> None:
    def run(value: float, size: float) -> Any:
        one = make.Run()
        x = make.normal(8, 8)
        one.call("Functional.layer_norm.0.forward", [x, "cpu"], [make.off(x, size)], kwargs={"eps": value})
        return one

    (suspect,) = make.judged(run(eps, 1e-2), run(1e-5, 0)).suspects
    setting = say("evidence.setting", name="input.eps", npu="1e-06", bench="1e-05")
    expected = say("evidence.settings", settings=listed([setting], by="semicolon"))
    assert (expected in suspect.evidence) is told
    assert has_other_settings(suspect) is told
    assert ("advice.settings" in [line.key for line in suspect.advice]) is told


@pytest.mark.parametrize(
    ("npu", "bench", "told"),
    [
        (
            {"reduction": "sum"},
            {"reduction": "mean"},
            say("evidence.setting", name="input.reduction", npu="sum", bench="mean"),
        ),
        ({"device": "npu:0"}, {"device": "cpu"}, None),
        ({"approximate": "tanh"}, {}, ("npu", say("evidence.value", name="input.approximate", value="tanh"))),
        ({}, {"dim": 1}, ("bench", say("evidence.value", name="input.dim", value="1"))),
        ({"mask": None}, {}, None),
    ],
)
def test_words_are_settings_and_what_one_side_alone_gives_is_told(make: Any, npu: Any, bench: Any, told: Any) -> None:
    def run(given: dict[str, object], size: float) -> Any:
        one = make.Run()
        x = make.normal(8, 8)
        one.call("Functional.gelu.0.forward", [x], [make.off(x, size)], kwargs=given)
        return one

    (suspect,) = make.judged(run(npu, 1e-2), run(bench, 0)).suspects
    found = [said for said in suspect.evidence if said.key in ("evidence.settings", "evidence.given")]
    if told is None:
        assert not found
    elif isinstance(told, tuple):
        side, value = told
        assert found == [
            say("evidence.given", side=say(f"name.{side}"), settings=listed([value], by="semicolon")),
        ]
        assert not has_other_settings(suspect)
    else:
        assert found == [say("evidence.settings", settings=listed([told], by="semicolon"))]
        assert has_other_settings(suspect)
    assert ("advice.settings" in [line.key for line in suspect.advice]) is bool(found)


def test_a_setting_that_is_given_by_its_place_has_the_name_that_the_operator_has_for_it(make: Any) -> None:
    def run(eps: float, size: float) -> Any:
        one = make.Run()
        x = make.normal(8, 8)
        one.call("Functional.group_norm.0.forward", [x, 4, None, None, eps], [make.off(x, size)])
        return one

    (suspect,) = make.judged(run(1e-3, 1e-2), run(1e-5, 0)).suspects
    setting = say("evidence.setting", name="input.4 (eps)", npu="0.001", bench="1e-05")
    assert say("evidence.settings", settings=listed([setting], by="semicolon")) in suspect.evidence


def test_a_backward_call_is_given_the_settings_of_the_call_it_is_of(make: Any) -> None:
    def run(reduction: str, size: float) -> Any:
        one = make.Run()
        x = make.normal(8, 8)
        one.call("Functional.mse_loss.0.forward", [x], [x], kwargs={"reduction": reduction})
        one.call("Functional.mse_loss.0.backward", [x], [make.off(x, size)])
        return one

    (suspect,) = make.judged(run("sum", 1e-2), run("mean", 0)).suspects
    assert suspect.name == "Functional.mse_loss.0.backward"
    assert has_other_settings(suspect)


def test_a_random_operator_with_other_settings_is_no_matter_of_its_numbers(make: Any) -> None:
    def run(p: float, seed: int) -> Any:
        one = make.Run()
        x = make.normal(8, 8)
        one.call("Functional.dropout.0.forward", [x], [make.normal(8, 8, seed=seed)], kwargs={"p": p})
        return one

    for p, key in ((0.2, "happened.computed"), (0.1, "happened.drew")):
        (suspect,) = make.judged(run(p, 1), run(0.1, 2)).suspects
        assert (suspect.kind, suspect.message.key) == ("random", key)
        assert has_other_settings(suspect) is (p == 0.2)
        assert (suspect.advice[0].key == "advice.settings") is (p == 0.2)


def test_another_part_of_the_same_data_is_chosen_by_the_call_that_chooses(make: Any) -> None:
    def run(first: int) -> Any:
        one = make.Run()
        x = make.normal(9, 8)
        one.call("Tensor.__getitem__.0.forward", [x, first], [x[first : first + 4]])
        return one

    (suspect,) = make.judged(run(0), run(4)).suspects
    assert suspect.message.key.startswith("happened.computed")
    assert has_other_settings(suspect)


@pytest.mark.parametrize(
    ("typical", "basis", "allowed"),
    [(1e-6, "peers", "allowed.peers"), (1e-2, "peers", "allowed.rounding"), (1e-6, "prior", "allowed.rounding")],
)
def test_what_calls_of_its_kind_do_is_not_said_of_rounding(make: Any, typical: float, basis: Any, allowed: str) -> None:
    def run(size: float) -> Any:
        one = make.Run()
        x = make.normal(8, 8)
        one.call(GELU, [x], [make.off(x, size)])
        return one

    npu, bench = run(1e-2), run(0)
    call = make.measured(npu, bench)[0].call
    expected = Expected(typical, 1.0, basis, Shift("norm", 1e-2, 1e-6, 9.0))
    origin = Origin("operator", call, Judged(call.wrote[0], "introduced", expected), 0.0)
    message = message_of(origin, Comparand(npu.dump(), 0, 0, "statistics", bench.dump()))
    assert dict(message.values)["allowed"].key == allowed


def test_a_floor_that_was_measured_is_what_is_normal(network: Any) -> None:
    floor = {(GELU, "output.0"): 1e-5}
    (suspect,) = network.compare({GELU: scaled(1.01)}, setting={"floor": floor}).suspects
    values = dict(suspect.message.values)
    assert (values["source"], values["expected"]) == (say("source.floor"), 1e-5)


def test_peers_are_named_where_they_say_what_is_normal(make: Any) -> None:
    def run(sizes: list[float]) -> Any:
        one = make.Run()
        for n, size in enumerate(sizes):
            x = make.normal(16, 64, seed=n)
            one.call(f"Functional.gelu.{n}.forward", [x], [make.off(x, size, seed=90 + n)])
        return one

    (suspect,) = make.judged(run([5e-8] * 5 + [4e-6]), run([0.0] * 6)).suspects
    assert dict(suspect.message.values)["source"] == say("source.peers", operator="gelu")


def test_a_foreign_dump_does_not_count_what_is_not_finite(network: Any) -> None:
    (suspect, *_) = network.compare({GELU: scaled(np.nan)}, foreign=True).suspects
    assert suspect.message.key == "happened.nonfinite"


@pytest.mark.parametrize(
    ("operation", "ranks", "told"),
    [
        ("MAX", (0, 1), say("evidence.setting", name="input.op", npu="MAX", bench="SUM")),
        (
            "SUM",
            (0, 1, 2, 3),
            say(
                "evidence.setting",
                name="ranks",
                npu=listed(["0-3"], by="semicolon"),
                bench=listed(["0-1"], by="semicolon"),
            ),
        ),
    ],
)
def test_a_collective_of_other_ranks_or_another_reduction_is_said_to_be_one(
    make: Any, operation: str, ranks: tuple[int, ...], told: Any
) -> None:
    def run(size: float, op: str, members: tuple[int, ...]) -> Any:
        one = make.Run()
        x = make.normal(8, 8)
        one.call("Distributed.all_reduce.0.forward", [x], [make.off(x, size)], kwargs={"op": op})
        dump = one.dump()
        collective = CollectiveRecord("all_reduce", "0", members, 0)
        calls = tuple(msgspec.structs.replace(call, collectives=(collective,)) for call in dump.calls)
        return replace(dump, calls=calls)

    (suspect,) = make.judged(run(1e-2, operation, ranks), run(0, "SUM", (0, 1))).suspects
    settings = [dict(said.values)["settings"] for said in suspect.evidence if said.key == "evidence.settings"]
    assert settings == [listed([told], by="semicolon")]
