"""Memory that is written past the version counter is a new value, for who looks."""

from __future__ import annotations

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
