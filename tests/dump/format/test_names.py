from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dump.format.names import CallName, forward_name, parse, without_wrappers

KNOWN = [
    ("Functional.gelu.2.forward", CallName("Functional", "gelu", "", 2, "forward")),
    ("Torch.mul.0.backward", CallName("Torch", "mul", "", 0, "backward")),
    ("Tensor.__add__.17.forward", CallName("Tensor", "__add__", "", 17, "forward")),
    ("Aten.add.Tensor.0.forward", CallName("Aten", "add.Tensor", "", 0, "forward")),
    ("Optimizer.AdamW.0.forward", CallName("Optimizer", "AdamW", "", 0, "forward")),
    ("Distributed.all_reduce.3.forward", CallName("Distributed", "all_reduce", "", 3, "forward")),
    ("Mint.nn.relu.1.forward", CallName("Mint", "nn.relu", "", 1, "forward")),
    ("Module.fc.Linear.forward.0", CallName("Module", "Linear", "fc", 0, "forward")),
    ("Module.a.0.b.Conv2d.backward.12", CallName("Module", "Conv2d", "a.0.b", 12, "backward")),
    ("Module.fc.Linear.parameters_grad.0", CallName("Module", "Linear", "fc", 0, "parameters_grad")),
    ("Module.ResNet.forward.0", CallName("Module", "ResNet", "", 0, "forward")),
    ("Module.forward.Linear.forward.0", CallName("Module", "Linear", "forward", 0, "forward")),
    ("Cell.fc.Dense.forward.0", CallName("Cell", "Dense", "fc", 0, "forward")),
]

UNKNOWN = [
    ("", "forward"),
    ("Functional", "forward"),
    ("Functional.gelu", "forward"),
    ("Functional.gelu.forward", "forward"),
    ("Functional..0.forward", "forward"),
    (".gelu.0.forward", "forward"),
    ("Functional.gelu.02.forward", "forward"),
    ("Functional.gelu.-1.forward", "forward"),
    ("Functional.gelu.²." + "forward", "forward"),
    ("Functional.gelu." + "9" * 5000 + ".forward", "forward"),
    ("Functional.gelu.0.parameters_grad", "parameters_grad"),
    ("Module.forward.0", "forward"),
    ("Module..Linear.forward.0", "forward"),
    ("Module.fc.Linear.backward.x", "backward"),
    ("Unknown.gelu.0.forward", "forward"),
    ("x\n.\0", "forward"),
]


@pytest.mark.parametrize(("text", "expected"), KNOWN, ids=[text for text, _ in KNOWN])
def test_a_name_is_taken_apart_and_printed_again(text: str, expected: CallName) -> None:
    assert parse(text) == expected
    assert str(expected) == text


@pytest.mark.parametrize(("text", "direction"), UNKNOWN, ids=range(len(UNKNOWN)))
def test_another_shape_is_unknown_and_kept(text: str, direction: str) -> None:
    assert parse(text) == CallName("Unknown", text, "", 0, direction)
    assert str(parse(text)) == text


def test_only_modules_are_modules() -> None:
    assert parse("Module.fc.Linear.forward.0").is_module
    assert not parse("Functional.linear.0.forward").is_module
    assert not parse("Module").is_module


def test_names_are_frozen_and_shared() -> None:
    name = parse("Functional.gelu.2.forward")
    assert parse("Functional.gelu.2.forward") is name
    with pytest.raises(dataclasses.FrozenInstanceError):
        name.api = "relu"  # type: ignore[misc]


_PIECES = st.sampled_from(
    [
        "Module",
        "Functional",
        "Unknown",
        "",
        "fc",
        "Linear",
        "forward",
        "backward",
        "parameters_grad",
        "0",
        "12",
        "01",
    ]
)


@settings(max_examples=150, deadline=None)
@given(st.one_of(st.text(), st.lists(_PIECES, max_size=7).map(".".join)))
def test_every_text_survives_a_round_trip(text: str) -> None:
    name = parse(text)
    assert str(name) == text
    assert name.number >= 0
    assert name.direction in ("forward", "backward", "parameters_grad")


@pytest.mark.parametrize(
    ("backward", "forward"),
    [
        ("Functional.gelu.2.backward", "Functional.gelu.2.forward"),
        ("Module.blocks.0.act.GELU.backward.3", "Module.blocks.0.act.GELU.forward.3"),
        ("Module.net.backward.fc.Linear.backward.0", "Module.net.backward.fc.Linear.forward.0"),
    ],
)
def test_the_forward_call_of_a_backward_call(backward: str, forward: str) -> None:
    assert forward_name(backward) == forward


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("fc.weight", "fc.weight"),
        ("_orig_mod.fc.weight", "fc.weight"),
        ("_fsdp_wrapped_module.0._fsdp_wrapped_module.weight", "0.weight"),
        ("layers.0._checkpoint_wrapped_module.fc.weight", "layers.0.fc.weight"),
        ("layers.0._checkpoint_wrapped_module", "layers.0"),
        ("_orig_mod", ""),
        ("module.fc.weight", "module.fc.weight"),
        ("_fpw_module.fc.weight", "fc.weight"),
        ("fc.parametrizations.weight.original", "fc.weight"),
        ("fc.parametrizations.weight.original0", "fc.parametrizations.weight.original0"),
        ("original", "original"),
        ("my_orig_module._orig_mod_like.weight", "my_orig_module._orig_mod_like.weight"),
    ],
)
def test_wrappers_fall_out_of_a_path(name: str, expected: str) -> None:
    assert without_wrappers(name) == expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("module.fc.weight", "fc.weight"),
        ("module.module._orig_mod.fc", "fc"),
        ("module", ""),
        ("my_module.fc", "my_module.fc"),
    ],
)
def test_what_data_parallel_puts_in_falls_out_where_it_may(path: str, expected: str) -> None:
    assert without_wrappers(path, data_parallel=True) == expected
