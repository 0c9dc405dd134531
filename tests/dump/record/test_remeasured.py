"""Memory that is written past the version counter is a new value, for who looks."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from dump.record.identity import Identities
from dump.record.remeasured import CheckedIdentities


def _values(identities: Identities, tensor: torch.Tensor, overwrite: bool) -> tuple[int, int]:
    first = identities.identify(tensor)
    if overwrite:
        tensor.numpy()[0] = 7
    second = identities.identify(tensor)
    identities.close()
    assert first is not None
    assert second is not None
    return first.value, second.value


@pytest.mark.parametrize(
    ("identities", "overwrite", "is_new"),
    [(CheckedIdentities, True, True), (CheckedIdentities, False, False), (Identities, True, False)],
)
def test_a_write_by_numpy(identities: type[Identities], overwrite: bool, is_new: bool) -> None:
    first, second = _values(identities(), torch.ones(3), overwrite)
    assert (first != second) == is_new


def test_a_write_shows_in_every_view_of_the_memory() -> None:
    identities = CheckedIdentities()
    whole = torch.ones(4)
    half = whole[2:]
    before = [identities.identify(tensor) for tensor in (whole, half)]
    whole.numpy()[3] = 2
    after = [identities.identify(tensor) for tensor in (half, whole)]
    assert len({identity.value for identity in (*before, *after) if identity is not None}) == 4
    assert identities.overwritten == 1
    identities.close()


def test_a_new_value_was_not_made_by_the_tensors_node() -> None:
    identities = CheckedIdentities()
    made = torch.ones(3, requires_grad=True).exp()
    assert identities.identify(made).fresh  # type: ignore[union-attr]
    made.detach().numpy()[0] = 0
    assert not identities.identify(made).fresh  # type: ignore[union-attr]
    identities.close()


@pytest.mark.parametrize("shape", [(0,), (), (2, 3)])
def test_shapes(shape: tuple[int, ...]) -> None:
    identities = CheckedIdentities()
    tensor = torch.zeros(shape)
    assert identities.identify(tensor).value == identities.identify(tensor).value  # type: ignore[union-attr]
    assert identities.overwritten == 0
    identities.close()


@pytest.mark.parametrize("mode", [{}, {"summary_mode": "md5"}, {"task": "tensor"}], ids=["statistics", "md5", "tensor"])
@pytest.mark.parametrize("remeasure", [True, False])
def test_an_overwritten_input_shows_in_the_record(record: Any, mode: dict[str, Any], remeasure: bool) -> None:
    def act() -> None:
        made = torch.exp(torch.zeros(4))
        made.numpy()[1] = 5
        torch.tanh(made)

    dump = record(act, remeasure=remeasure, **mode)
    wrote, read = dump.leaf("Torch.exp.0.forward", "output.0"), dump.leaf("Torch.tanh.0.forward", "input.0")
    assert wrote.storage == read.storage
    assert ((wrote.value, wrote.max, wrote.md5) != (read.value, read.max, read.md5)) == remeasure
    assert dump.dump.header.coverage.get("overwritten", 0) == (1 if remeasure else 0)
    if remeasure and not mode:
        assert read.max == 5
    if remeasure and mode.get("task"):
        assert dump.tensor("Torch.tanh.0.forward", "input.0").tolist() == [1, 5, 1, 1]
