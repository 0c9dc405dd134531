from __future__ import annotations

import pytest

from dump.intercept.naming import OperatorNames


@pytest.mark.parametrize(
    ("qualified", "key"),
    [
        ("aten::relu", "Aten.relu"),
        ("npu::npu_rms_norm", "NPU.npu_rms_norm"),
        ("npu::_npu_dropout", "NPU._npu_dropout"),
        ("mine::f", "Torch.mine.f"),
    ],
)
def test_an_operator_is_named_by_its_namespace(qualified: str, key: str) -> None:
    assert OperatorNames().key(qualified) == key


def test_what_the_user_says_wins_until_it_is_taken_back() -> None:
    names = OperatorNames()
    assert names.key("mine::f") == "Torch.mine.f"
    names.name_namespace("mine", "mine")
    assert (names.key("mine::f"), names.key("mine::later"), names.key("other::f")) == (
        "mine.f",
        "mine.later",
        "Torch.other.f",
    )
    names.name_operator("mine::f", "Fused")
    assert (names.key("mine::f"), names.key("mine::g")) == ("Fused.f", "mine.g")
    assert names.forget_operator("mine::f")
    assert names.key("mine::f") == "mine.f"
    assert names.forget_namespace("mine")
    assert names.key("mine::f") == "Torch.mine.f"
    assert not names.forget_operator("mine::f")
    assert not names.forget_namespace("mine")
