from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from acc_compare.align.calls import align, plain_path
from acc_compare.align.mapping_file import shipped
from acc_compare.align.paths import Renaming
from acc_compare.align.rules import Rules
from acc_compare.messages import say
from acc_compare.model import Alignment
from acc_compare.report.i18n import text
from dump.format.schema import Argument, CallRecord, Dump, Header, TensorRecord

BLOCK = ("layer_norm", "linear", "gelu", "linear")


def dump(
    calls: Sequence[str],
    *,
    owners: dict[str, str | None] | None = None,
    shapes: dict[str, tuple[int, ...]] | None = None,
) -> Dump:
    """Calls by full name, or by the api alone and numbered as a recording does."""
    counts: Counter[str] = Counter()
    names = []
    for call in calls:
        names.append(call if "." in call else f"Functional.{call}.{counts[call]}.forward")
        counts[call] += 1
    records = [
        CallRecord(name, index, (Argument("input.0", TensorRecord("torch.float32", (shapes or {}).get(name, (2,)))),))
        for index, name in enumerate(names)
    ]
    return Dump(Path("test"), Header("statistics", "L1"), tuple(records), owners or {})


def names(alignment: Alignment) -> list[tuple[str | None, str | None]]:
    return [(p.npu.name if p.npu else None, p.bench.name if p.bench else None) for p in alignment.pairs]


def partners(alignment: Alignment) -> dict[str, str | None]:
    return {npu: bench for npu, bench in names(alignment) if npu is not None}


def lone(alignment: Alignment) -> list[tuple[str | None, str | None]]:
    return [pair for pair in names(alignment) if None in pair]


def test_equal_names_answer_to_each_other() -> None:
    one = dump(BLOCK)
    assert names(align(one, one)) == [(call.name, call.name) for call in one.calls]


def test_equal_names_in_another_order_still_do() -> None:
    found = align(dump(["gelu", "relu"]), dump(["relu", "gelu"]))
    assert all(npu == bench for npu, bench in names(found))


@pytest.mark.parametrize("extra_on_npu", [True, False])
@pytest.mark.parametrize("block", range(4))
def test_an_extra_call_in_a_block_shifts_nothing_after_it(block: int, extra_on_npu: bool) -> None:
    plain = dump(BLOCK * 4)
    calls = list(BLOCK * 4)
    calls.insert(4 * block + 2, "gelu")  # of the kind that is there already, so that every later number shifts
    longer = dump(calls)
    found = align(longer, plain) if extra_on_npu else align(plain, longer)
    assert len(lone(found)) == 1
    for npu, bench in names(found):
        if npu is None or bench is None:
            continue
        place = (
            [call.name for call in found.npu.calls].index(npu),
            [call.name for call in found.bench.calls].index(bench),
        )
        assert place[0] - place[1] in ((0, 1) if extra_on_npu else (0, -1))
    assert partners(found)["Functional.linear.7.forward"] == "Functional.linear.7.forward"


def test_an_extra_call_is_found_by_its_module() -> None:
    def owned(path: str) -> str:
        return f"Module.{path}.Block.forward.0"

    plain = dump(["mul", "mul"], owners={f"Functional.mul.{n}.forward": owned(f"b.{n}") for n in range(2)})
    longer = dump(["mul"] * 3, owners={f"Functional.mul.{n}.forward": owned(f"b.{n // 2}") for n in range(3)})
    assert partners(align(longer, plain))["Functional.mul.2.forward"] == "Functional.mul.1.forward"


@pytest.mark.parametrize(("why", "pairs"), [("parts.differ", 4), (None, 3)])
def test_a_call_whose_parts_could_not_be_put_together_answers_to_that_of_its_name(why: str | None, pairs: int) -> None:
    """Of four calls one has another shape on one side, since nobody knows that of the whole."""
    owners: dict[str, str | None] = {call.name: "Module.a.A.forward.0" for call in dump(BLOCK).calls}
    ours, theirs = dump((*BLOCK, "relu"), owners=owners), dump((*BLOCK, "tanh"), owners=owners)
    *first, last, lone = ours.calls
    *before, answer, other = theirs.calls
    written, whole = (Argument("output.0", TensorRecord("torch.float32", shape)) for shape in ((5,), (9,)))
    odd = msgspec.structs.replace(
        last, outputs=(Argument("output.0", msgspec.structs.replace(written.leaf, unrecorded=why)),)
    )
    full = msgspec.structs.replace(answer, outputs=(whole,))
    found = align(replace(ours, calls=(*first, odd, lone)), replace(theirs, calls=(*before, full, other)))
    assert len([pair for pair in names(found) if None not in pair]) == pairs


def test_missing_calls_say_why() -> None:
    found = align(dump([*BLOCK, "tanh"]), dump(["layer_norm", "linear", "linear", "relu"]))
    reasons = {(p.npu or p.bench).name: text(p.reason) for p in found.pairs if p.reason}  # type: ignore[union-attr]
    assert reasons == {
        "Functional.gelu.0.forward": "the bench side has no call of the operator",
        "Functional.tanh.0.forward": "the bench side has no call of the operator",
        "Functional.relu.0.forward": "the NPU side has no call of the operator",
    }
    counted = align(dump(["gelu", "gelu", "relu"]), dump(["gelu", "relu"]))
    assert [text(p.reason) for p in counted.pairs if p.reason] == [
        "the bench side has 1 call of the operator, this side 2"
    ]


def test_a_call_of_the_bench_alone_stands_where_it_ran() -> None:
    found = align(dump(["layer_norm", "gelu"]), dump(["layer_norm", "relu", "gelu", "tanh"]))
    assert [bench for _, bench in names(found)] == [
        "Functional.layer_norm.0.forward",
        "Functional.relu.0.forward",
        "Functional.gelu.0.forward",
        "Functional.tanh.0.forward",
    ]


def test_backward_calls_follow_their_forward_calls() -> None:
    plain = dump(["gelu", "linear", "Functional.linear.0.backward", "Functional.gelu.0.backward"])
    extra = dump(
        [
            "gelu",
            "gelu",
            "linear",
            "Functional.linear.0.backward",
            "Functional.gelu.1.backward",
            "Functional.gelu.0.backward",
        ],
        shapes={"Functional.gelu.0.forward": (3,)},
    )
    found = partners(align(extra, plain))
    assert found["Functional.gelu.1.forward"] == "Functional.gelu.0.forward"
    assert found["Functional.gelu.1.backward"] == "Functional.gelu.0.backward"
    assert found["Functional.gelu.0.backward"] is None


def test_backward_calls_alone_go_by_name() -> None:
    ours = dump(["Functional.linear.0.backward", "Functional.gelu.0.backward"])
    found = align(ours, dump(["Functional.linear.0.backward"]))
    assert partners(found)["Functional.linear.0.backward"] == "Functional.linear.0.backward"


@pytest.mark.parametrize(
    ("path", "plain"),
    [
        ("layer.0.conv", "layer.0.conv"),
        ("module.layer.0.conv", "layer.0.conv"),
        ("module.module.layer.0.conv", "layer.0.conv"),
        ("_orig_mod.layer.0", "layer.0"),
        ("module.layer._fsdp_wrapped_module.0", "layer.0"),
        ("my_module.layer", "my_module.layer"),
        ("layer.module.conv", "layer.conv"),
    ],
)
def test_wrappers_fall_out_of_a_path(path: str, plain: str) -> None:
    assert plain_path(path) == plain


def test_modules_in_ddp_answer_to_modules_without() -> None:
    ddp = dump(["Module.module.fc.Linear.forward.0", "Module.module.fc.Linear.parameters_grad.0"])
    plain = dump(["Module.fc.Linear.forward.0", "Module.fc.Linear.parameters_grad.0"])
    assert not lone(align(ddp, plain))


def test_owners_in_ddp_are_the_same_place() -> None:
    name = "Functional.linear.0.forward"
    ddp = dump(["linear", "relu"], owners={name: "Module.module.fc.Linear.forward.0"})
    plain = dump(["linear"], owners={name: "Module.fc.Linear.forward.0"})
    assert partners(align(ddp, plain))[name] == name


def test_a_left_over_call_of_other_shapes_is_another_call() -> None:
    wide = {"Functional.linear.1.forward": (9, 9)}
    found = align(
        dump(["gelu", "relu", "linear", "linear", "tanh"], shapes=wide), dump(["gelu", "relu", "linear", "linear"])
    )
    assert partners(found)["Functional.linear.1.forward"] is None
    reason = next(pair.reason for pair in found.pairs if pair.npu and pair.npu.name == "Functional.linear.1.forward")
    assert reason == say("alone.other_place", what=say("the_operator"), side=say("name.bench"))


def chosen(make: Any, compare: str, rows: int, *, choose: str = "getitem") -> Dump:
    """Rows of x that `compare` chooses, and what is made of them; an extra call shifts the numbers where they are 5."""
    run = make.Run()
    x, mask, y = make.normal(8, 3), make.normal(8), make.normal(rows, 3)
    run.call(f"Tensor.{compare}.0.forward", [x], [mask])
    run.call("Tensor.add.0.forward", [x], [make.normal(8, 3, seed=1)])
    if rows == 5:
        run.call("Tensor.exp.0.forward", [x], [make.normal(8, 3, seed=2)])
    number = int(rows == 5)
    run.call(f"Tensor.{choose}.0.forward", [x, mask], [y])
    run.call(f"Tensor.exp.{number}.forward", [y], [z := make.normal(rows, 3, seed=3)])
    run.call(f"Tensor.exp.{number + 1}.forward", [make.normal(rows)], [make.normal(rows, seed=4)])
    run.call("Tensor.mean.0.forward", [z], [w := make.normal(1)])
    for again in range(6):
        run.call(f"Tensor.neg.{again}.forward", [w], [make.normal(1, seed=5)])
    return cast("Dump", run.dump())


def test_calls_whose_shapes_follow_from_other_values_answer_to_each_other(make: Any) -> None:
    found = partners(align(chosen(make, "le", 5), chosen(make, "lt", 4)))
    assert found["Tensor.le.0.forward"] is None
    assert found["Tensor.getitem.0.forward"] == "Tensor.getitem.0.forward"
    assert found["Tensor.exp.1.forward"] == "Tensor.exp.0.forward"
    assert found["Tensor.exp.2.forward"] is None  # nothing that was chosen goes into it
    assert found["Tensor.mean.0.forward"] == "Tensor.mean.0.forward"


def test_calls_of_other_shapes_that_no_value_decides_are_other_calls(make: Any) -> None:
    found = partners(align(chosen(make, "le", 5, choose="narrow"), chosen(make, "lt", 4, choose="narrow")))
    assert found["Tensor.narrow.0.forward"] is None
    assert found["Tensor.exp.1.forward"] is None


def test_where_all_shapes_are_others_names_still_pair() -> None:
    ours = dump(["gelu", "linear", "tanh"], shapes={f"Functional.{api}.0.forward": (7,) for api in ("gelu", "linear")})
    assert partners(align(ours, dump(["gelu", "linear"]))) == {
        "Functional.gelu.0.forward": "Functional.gelu.0.forward",
        "Functional.linear.0.forward": "Functional.linear.0.forward",
        "Functional.tanh.0.forward": None,
    }


def test_a_shifted_number_never_crosses_a_pair() -> None:
    # relu.0 ran first here and last there: to pair them by name would cross the two that agree.
    ours = dump(["relu", "gelu", "linear"], shapes={"Functional.relu.0.forward": (3,)})
    theirs = dump(["gelu", "linear", "relu", "tanh"], shapes={"Functional.relu.0.forward": (3,)})
    assert partners(align(ours, theirs))["Functional.relu.0.forward"] is None


CALLS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "Functional.gelu.{}.forward",
                "Functional.gelu.{}.backward",
                "Torch.add.{}.forward",
                "Module.module.a.B.forward.{}",
                "Module.a.B.backward.{}",
                "Optimizer.SGD.{}.forward",
                "odd {}",
            ]
        ),
        st.integers(0, 4),
        st.sampled_from([(2,), (3,)]),
    ),
    max_size=16,
    unique_by=lambda call: call[:2],
)


def _drawn(calls: list[tuple[str, int, tuple[int, ...]]]) -> Dump:
    shapes = {name.format(number): shape for name, number, shape in calls}
    records = [
        CallRecord(name, index, (Argument("input.0", TensorRecord("torch.float32", shape)),))
        for index, (name, shape) in enumerate(shapes.items())
    ]
    return Dump(Path("test"), Header("statistics", "L1"), tuple(records))


@given(CALLS, CALLS)
def test_every_call_of_both_sides_appears_once_in_order(
    ours: list[tuple[str, int, tuple[int, ...]]], theirs: list[tuple[str, int, tuple[int, ...]]]
) -> None:
    npu, bench = _drawn(ours), _drawn(theirs)
    found = align(npu, bench)
    assert [pair.npu for pair in found.pairs if pair.npu is not None] == list(npu.calls)
    seen = [pair.bench.name for pair in found.pairs if pair.bench is not None]
    assert sorted(seen) == sorted(call.name for call in bench.calls)
    assert all(bool(pair.reason) == (pair.npu is None or pair.bench is None) for pair in found.pairs)


@given(CALLS)
def test_a_dump_answers_to_itself(calls: list[tuple[str, int, tuple[int, ...]]]) -> None:
    one = _drawn(calls)
    assert all(pair.npu is pair.bench for pair in align(one, one).pairs)


def test_what_one_side_alone_recorded_as_written_separates_no_calls() -> None:
    """msprobe does not record the running statistics that batch_norm writes."""
    ours = dump(["batch_norm", "relu", "batch_norm"])
    written = (Argument("written.input.1", TensorRecord("torch.float32", (7,))),)
    calls = tuple(
        msgspec.structs.replace(call, written=written) if "batch_norm" in call.name else call for call in ours.calls
    )
    theirs = dump(["relu", "batch_norm", "relu", "batch_norm"])  # another set of names: aligned as sequences
    assert partners(align(replace(ours, calls=calls), theirs)) == {
        "Functional.batch_norm.0.forward": "Functional.batch_norm.0.forward",
        "Functional.relu.0.forward": "Functional.relu.1.forward",
        "Functional.batch_norm.1.forward": "Functional.batch_norm.1.forward",
    }


# Renamed, fuzzy


def rules(**tables: dict[str, str]) -> Rules:
    return Rules(
        Renaming(**{**{key: {} for key in ("modules", "classes", "apis", "calls")}, **tables}), source="map.yaml"
    )


def test_renamed_operators_and_modules_answer_to_each_other() -> None:
    ours = dump(["linear", "NPU.npu_fast_gelu.0.forward", "Module.enc.0.attn.A.forward.0"])
    theirs = dump(["linear", "gelu", "Module.dec.0.attention.B.forward.0"])
    assert len(lone(align(ours, theirs))) == 4
    found = align(
        ours,
        theirs,
        rules(
            apis={"NPU.npu_fast_gelu": "Functional.gelu", "NPU.other": "Functional.silu"},
            modules={"enc.*.attn": "dec.*.attention"},
            classes={"A": "B"},
        ),
    )
    assert not lone(found)
    assert tuple(map(text, found.notes)) == ("map.yaml: apis 'NPU.other' renames nothing in this dump.",)


def test_a_single_call_can_be_renamed() -> None:
    ours, theirs = dump(["gelu", "linear"]), dump(["linear", "gelu", "gelu"])
    named = rules(calls={"Functional.gelu.0.forward": "Functional.gelu.1.forward"})
    assert partners(align(ours, theirs, named))["Functional.gelu.0.forward"] in (None, "Functional.gelu.1.forward")


def test_renamed_modules_are_one_place_for_their_calls() -> None:
    def owned(path: str) -> dict[str, str | None]:
        return {f"Functional.mul.{n}.forward": f"Module.{path}.{n}.B.forward.0" for n in range(2)}

    ours = dump(["mul", "mul", "relu"], owners=owned("enc"))
    theirs = dump(["mul", "mul"], owners=owned("dec"))
    found = align(ours, theirs, rules(modules={"enc": "dec"}))
    assert len(lone(found)) == 1


def test_fuzzy_pairs_what_is_left_by_the_operator_alone() -> None:
    ours = dump(["linear", "Tensor.add_.0.forward", "relu", "Tensor.mul.0.forward"])
    theirs = dump(["linear", "Torch.add.0.forward", "relu", "tanh"], shapes={"Torch.add.0.forward": (3,)})
    assert len(lone(align(ours, theirs))) == 4
    fuzzy = partners(align(ours, theirs, Rules(is_fuzzy=True)))
    assert fuzzy["Tensor.add_.0.forward"] == "Torch.add.0.forward"
    assert fuzzy["Tensor.mul.0.forward"] is None


def test_fuzzy_never_leaves_its_gap() -> None:
    ours = dump(["Tensor.add.0.forward", "linear", "relu"])
    theirs = dump(["linear", "relu", "Torch.add.0.forward"])
    assert partners(align(ours, theirs, Rules(is_fuzzy=True)))["Tensor.add.0.forward"] is None


@given(CALLS, CALLS)
def test_fuzzy_too_has_every_call_once(
    ours: list[tuple[str, int, tuple[int, ...]]], theirs: list[tuple[str, int, tuple[int, ...]]]
) -> None:
    npu, bench = _drawn(ours), _drawn(theirs)
    found = align(npu, bench, Rules(is_fuzzy=True, fused=shipped()))
    assert [pair.npu for pair in found.pairs if pair.npu is not None] == list(npu.calls)
    assert sorted(pair.bench.name for pair in found.pairs if pair.bench is not None) == sorted(
        call.name for call in bench.calls
    )
