from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from acc_compare.judge.suspects import merge_alike
from acc_compare.messages import listed, say
from acc_compare.model import Suspect
from acc_compare.report.i18n import text


def lowered(values: Any) -> Any:
    """Rounded to 10 bits behind the point, as TF32 does, with the size that inputs rounded so leave."""
    mantissa, exponent = np.frexp(values)
    return np.ldexp(np.round(mantissa * 2**11) / 2**11, exponent).astype("f4")


OPERATORS = ("Functional.linear", "Torch.bmm", "Functional.gelu")


def branches(make: Any, *, low: Sequence[str] = (), wrong: dict[str, float] | None = None) -> Any:
    """Calls side by side, each from data of its own."""
    one = make.Run()
    for n in range(3):
        for api in OPERATORS:
            x, w = make.normal(64, 64, seed=10 + n), make.normal(64, 64, seed=n)
            name = f"{api}.{n}.forward"
            y = np.tanh(x) if "gelu" in api else x @ w
            y = lowered(y) if api in low else y
            y = make.off(y, (wrong or {}).get(name, 0.0))
            one.call(name, [x] if "gelu" in api else [x, w], [y], owner=f"Module.blocks.{n}.Block.forward.0")
    return one


def test_the_first_of_an_operator_is_named_with_its_module(make: Any) -> None:
    wrong = {f"Functional.gelu.{n}.forward": 0.1 for n in (1, 2)}
    (suspect,) = make.judged(branches(make, wrong=wrong), branches(make)).suspects
    assert (suspect.name, suspect.calls, suspect.module) == ("Functional.gelu.1.forward", 2, "blocks.1")


def test_calls_that_begin_alike_are_counted_and_named(make: Any) -> None:
    def run(size: float) -> Any:
        one = make.Run()
        for n in range(4):
            x = make.normal(16, 16, seed=n)
            one.call(f"Functional.gelu.{n}.forward", [x], [make.off(x, size)])
        return one

    (suspect,) = make.judged(run(1e-2), run(0)).suspects
    assert suspect.calls == 4
    assert suspect.others == tuple(f"Functional.gelu.{n}.forward" for n in (1, 2, 3))


def test_calls_of_one_side_alone_are_counted_by_what_they_are_and_not_by_their_readers(make: Any) -> None:
    def run(calls: Sequence[str], *, alone: bool, reader: str = "") -> Any:
        one, made = make.Run(), []
        for n, call in enumerate(calls):
            x = make.normal(16, 16, seed=n)
            if alone:
                one.call(f"Tensor.{call}.forward", [x], [x := make.off(x, 1e-3 * 100**n)])
            made.append(x)
            if not reader:
                one.call(f"Torch.neg.{n}.forward", [x], [-x])
        if reader:
            one.call(reader, made, [np.concatenate(made)])
        return one

    def told(calls: Sequence[str], reader: str = "") -> list[tuple[str, int, tuple[str, ...]]]:
        found = make.judged(run(calls, alone=True, reader=reader), run(calls, alone=False, reader=reader))
        return [(suspect.name, suspect.calls, suspect.others) for suspect in found.suspects]

    assert told(["mul.0", "add.0"]) == [("Tensor.mul.0.forward", 1, ()), ("Tensor.add.0.forward", 1, ())]
    assert told(["mul.0", "mul.1"], "Torch.cat.0.forward") == [("Tensor.mul.0.forward", 2, ("Tensor.mul.1.forward",))]


def test_suspects_stand_in_the_order_in_which_error_began(make: Any) -> None:
    def run(*sizes: float) -> Any:
        one = make.Run()
        for n, size in enumerate(sizes):
            x = make.normal(16, 16, seed=n)
            one.call(f"Torch.{('tanh', 'exp')[n % 2]}.{n}.forward", [x], [make.off(x, size)])
        return one

    finding = make.judged(run(0, 1e-2, 1e-2, 1e-1), run(0, 0, 0, 0))
    assert [suspect.name for suspect in finding.suspects] == ["Torch.exp.1.forward", "Torch.tanh.2.forward"]
    assert text(finding.summary) == "The runs differ. First suspect: Torch.exp.1.forward, and 1 more suspect."


def test_products_in_lower_precision_throughout_are_a_dtype(make: Any) -> None:
    npu = branches(make, low={"Functional.linear", "Torch.bmm"})
    (suspect,) = make.judged(npu, branches(make)).suspects
    assert suspect.kind == "dtype"
    assert suspect.message == say("happened.lowered", operators=listed(["bmm", "linear"]))
    assert "advice.tf32" in [line.key for line in suspect.advice]


def test_one_operator_in_lower_precision_is_at_fault_itself(make: Any) -> None:
    (suspect,) = make.judged(branches(make, low={"Functional.linear"}), branches(make)).suspects
    assert (suspect.kind, suspect.name) == ("operator", "Functional.linear.0.forward")


def test_a_wrong_operator_beside_a_lower_precision_is_still_named(make: Any) -> None:
    npu = branches(make, low={"Functional.linear", "Torch.bmm"}, wrong={"Functional.gelu.0.forward": 0.2})
    finding = make.judged(npu, branches(make))
    assert {suspect.kind for suspect in finding.suspects} == {"dtype", "operator"}
    assert [suspect.name for suspect in finding.suspects if suspect.kind == "operator"] == ["Functional.gelu.0.forward"]


def test_nan_beside_a_lower_precision_is_told_once(make: Any) -> None:
    npu = branches(make, low={"Functional.linear", "Torch.bmm"})
    name = "Functional.linear.2.forward"
    npu.bodies[name]["output"] = [make.described(np.full((64, 64), np.nan, "f4"), value=999, storage=999)]
    finding = make.judged(npu, branches(make))
    assert [(suspect.kind, suspect.calls) for suspect in finding.suspects] == [("dtype", 5), ("nan_inf", 1)]
    assert finding.suspects[1].name == name


def suspect(name: str = "Functional.gelu.2.forward", **fields: Any) -> Suspect:
    values: dict[str, Any] = {
        "kind": "operator",
        "step": 0,
        "rank": None,
        "module": "",
        "tensor": "output.0",
        "rel_l2": 1e-3,
        "expected": 1e-7,
        "excess": 1e4,
        "calls": 2,
        "message": "",
    }
    return Suspect(name=name, **{**values, **fields})


@pytest.mark.parametrize(
    ("second", "merged"),
    [
        (suspect("Functional.gelu.0.forward", step=1), True),
        (suspect("Functional.gelu.0.forward", rank=1), True),
        (suspect("Functional.gelu.0.backward", step=1), False),
        (suspect("Functional.gelu.0.forward", step=1, kind="nan_inf"), False),
        (suspect("Functional.relu.0.forward", step=1), False),
    ],
)
def test_one_operator_over_all_steps_and_ranks_is_one_suspect(second: Suspect, merged: bool) -> None:
    assert len(merge_alike([suspect(), second])) == (1 if merged else 2)


def test_the_earliest_counts_and_names_the_others() -> None:
    later = replace(suspect("Functional.gelu.0.forward"), step=1, rank=3, others=("Functional.gelu.1.forward",))
    (merged,) = merge_alike([suspect(others=("Functional.gelu.5.forward",)), later])
    assert (merged.name, merged.step, merged.calls) == ("Functional.gelu.2.forward", 0, 4)
    assert merged.others == (
        "Functional.gelu.5.forward",
        say(
            "placed",
            name="Functional.gelu.0.forward",
            where=listed([say("place.step", number=1), say("place.rank", number=3)]),
        ),
        "Functional.gelu.1.forward",
    )


@pytest.mark.parametrize(("kind", "left"), [("input", 1), ("dtype", 1), ("random", 2)])
def test_what_differs_from_the_start_and_a_setting_are_one_suspect_wherever_they_show(kind: str, left: int) -> None:
    first = suspect("Functional.conv2d.0.forward", kind=kind)
    second = suspect("Torch.randn.0.forward", kind=kind, step=1)
    assert len(merge_alike([first, second])) == left
