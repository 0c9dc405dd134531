"""Attributes are put back exactly, and nobody else's patch is disturbed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from dump.intercept.patching import Patches


class Base:
    def inherited(self) -> str:
        return "base"


class Marked(torch.Tensor):
    pass


class Child(Base):
    own = "own"


def test_replaced_attributes_are_put_back_as_they_were() -> None:
    before = dict(vars(Child))
    with Patches() as patches:
        patches.replace(Child, "own", "ours")
        patches.replace(Child, "inherited", lambda self: "ours")
        assert (Child.own, Child().inherited()) == ("ours", "ours")
    assert dict(vars(Child)) == before
    assert Child().inherited() == "base"


def test_what_is_replaced_twice_comes_back_to_its_first_state() -> None:
    patches = Patches()
    patches.replace(Child, "own", "first")
    patches.replace(Child, "own", "second")
    patches.restore()
    assert Child.own == "own"


@pytest.mark.parametrize("kind", [torch.Tensor, Marked])
def test_a_tensor_whose_indexing_is_replaced_does_not_become_a_sequence(kind: type[torch.Tensor]) -> None:
    original, seen = torch.Tensor.__getitem__, []

    def indexed(tensor: torch.Tensor, index: Any) -> Any:
        seen.append(index)
        return original(tensor, index)

    number = torch.tensor(2.0).as_subclass(kind)
    with Patches() as patches:
        patches.replace(torch.Tensor, "__getitem__", indexed)
        assert torch.tensor([number, 1]).tolist() == [2, 1]
        with patches.suspended():
            assert torch.tensor([number.detach()]).tolist() == [2]
        assert torch.tensor([[number.detach()]]).tolist() == [[2]]
        assert torch.ones(2)[0] == 1
        assert seen == [0]
    assert "__getitem__" not in vars(torch.Tensor)
    assert torch.ones(2)[1] == 1
    assert seen == [0]


def test_everything_is_put_back_when_the_block_raises() -> None:
    def fails() -> None:
        with Patches() as patches:
            patches.replace(Child, "own", "ours")
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert Child.own == "own"


def test_while_suspended_everything_is_as_before() -> None:
    with Patches() as patches:
        patches.replace(Child, "own", "ours")
        patches.replace(Child, "inherited", lambda self: "ours")
        with patches.suspended():
            assert (Child.own, Child().inherited()) == ("own", "base")
            with patches.suspended():
                assert Child.own == "own"
            assert Child.own == "own"
        assert (Child.own, Child().inherited()) == ("ours", "ours")
    assert Child.own == "own"


def test_a_patch_that_somebody_put_over_ours_stays() -> None:
    patches = Patches()
    patches.replace(Child, "own", "ours")
    Child.own = "theirs"
    with patches.suspended():
        assert Child.own == "theirs"
    patches.restore()
    assert Child.own == "theirs"
    Child.own = "own"


def test_a_block_that_raises_leaves_what_was_there_before_it() -> None:
    owner = SimpleNamespace(a=1, b=1)
    with Patches() as patches:
        patches.replace(owner, "a", 2)
        with pytest.raises(ZeroDivisionError), patches.all_or_nothing():
            _half_way(owner, patches)
        assert (owner.a, owner.b) == (2, 1)
    assert owner.a == 1


def _half_way(owner: Any, patches: Patches) -> None:
    patches.replace(owner, "a", 3)
    patches.replace(owner, "b", 3)
    raise ZeroDivisionError
