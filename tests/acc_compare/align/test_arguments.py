from __future__ import annotations

from acc_compare.align.arguments import pair_arguments
from dump.format.schema import Argument, CallRecord, Leaf, ScalarRecord, TensorRecord

FORWARD, BACKWARD = "Functional.linear.0.forward", "Functional.linear.0.backward"


def tensor(*shape: int) -> TensorRecord:
    return TensorRecord("torch.float32", shape)


def call(name: str, inputs: dict[str, Leaf] | None = None, outputs: dict[str, Leaf] | None = None) -> CallRecord:
    def group(leaves: dict[str, Leaf] | None) -> tuple[Argument, ...]:
        return tuple(Argument(key, leaf) for key, leaf in (leaves or {}).items())

    return CallRecord(name, 0, group(inputs), group(outputs))


def paired(npu: CallRecord | None, bench: CallRecord | None) -> list[tuple[str, str]]:
    """(NPU name, bench name), "" for a side that has none."""
    return [(pair.name, pair.bench_name) for pair in pair_arguments(npu, bench)]


def test_arguments_go_by_name_and_inputs_come_first() -> None:
    npu = call(FORWARD, {"input.0": tensor(2), "input.bias": tensor(3)}, {"output.0": tensor(4)})
    bench = call(FORWARD, {"input.bias": tensor(3), "input.0": tensor(2)}, {"output.0": tensor(4)})
    assert paired(npu, bench) == [("input.0", "input.0"), ("input.bias", "input.bias"), ("output.0", "output.0")]
    assert [pair.bench for pair in pair_arguments(npu, bench)] == [tensor(2), tensor(3), tensor(4)]


def test_an_argument_of_one_side_has_no_name_on_the_other() -> None:
    npu = call(FORWARD, {"input.0": tensor(2), "input.1": ScalarRecord("int", 1)})
    bench = call(FORWARD, {"input.0": tensor(2), "input.2": None})
    assert paired(npu, bench) == [("input.0", "input.0"), ("input.1", ""), ("", "input.2")]


def test_a_lone_call_has_all_its_arguments() -> None:
    lone = call(FORWARD, {"input.0": tensor(2)}, {"output.0": tensor(2)})
    assert paired(lone, None) == [("input.0", ""), ("output.0", "")]
    assert paired(None, lone) == [("", "input.0"), ("", "output.0")]


def test_parameters_are_read_and_written_tensors_are_outputs() -> None:
    one = CallRecord(
        "Module.m.Linear.forward.0",
        0,
        parameters=(Argument("parameters.weight", tensor(2)),),
        outputs=(Argument("output.0", tensor(2)),),
        written=(Argument("written.input.0", tensor(2)),),
    )
    names = ["parameters.weight", "output.0", "written.input.0"]
    assert paired(one, one) == [(name, name) for name in names]


def test_gradients_in_another_order_are_matched_by_shape() -> None:
    npu = call(BACKWARD, {"input.0": tensor(8, 4)}, {"output.0": tensor(8, 2), "output.1": tensor(4, 2)})
    bench = call(BACKWARD, {"input.0": tensor(8, 4)}, {"output.0": tensor(4, 2), "output.1": tensor(8, 2)})
    assert paired(npu, bench)[1:] == [("output.0", "output.1"), ("output.1", "output.0")]


def test_outputs_of_a_forward_call_are_never_matched_by_shape() -> None:
    npu = call(FORWARD, outputs={"output.0": tensor(8), "output.1": tensor(4)})
    bench = call(FORWARD, outputs={"output.0": tensor(4), "output.1": tensor(8)})
    assert paired(npu, bench) == [("output.0", "output.0"), ("output.1", "output.1")]


def test_gradients_whose_places_agree_go_by_name() -> None:
    same = call(BACKWARD, outputs={"output.0": tensor(4), "output.1": tensor(4), "output.2": None})
    assert paired(same, same) == [(f"output.{place}", f"output.{place}") for place in range(3)]


def test_a_shape_that_two_gradients_share_settles_nothing() -> None:
    npu = call(BACKWARD, outputs={"output.0": tensor(2), "output.1": tensor(4), "output.2": tensor(4)})
    bench = call(BACKWARD, outputs={"output.0": tensor(4), "output.1": tensor(4), "output.2": tensor(2)})
    assert paired(npu, bench) == [
        ("output.0", "output.2"),
        ("output.1", ""),
        ("output.2", ""),
        ("", "output.0"),
        ("", "output.1"),
    ]


def test_what_is_no_tensor_keeps_its_row_beside_gradients_matched_by_shape() -> None:
    npu = call(BACKWARD, outputs={"output.0": tensor(2), "output.1": tensor(4), "output.2": None})
    bench = call(BACKWARD, outputs={"output.0": tensor(4), "output.1": tensor(2), "output.2": None})
    assert paired(npu, bench)[-1] == ("output.2", "output.2")
    assert len(paired(npu, bench)) == 3
