from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from dump.record.identity import CheckedIdentities, Identities


@pytest.fixture
def identities() -> Iterator[Identities]:
    found = Identities()
    yield found
    found.close()


def _value(identities: Identities, tensor: torch.Tensor) -> int:
    identity = identities.identify(tensor)
    assert identity is not None
    return identity.value


SAME: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "itself": lambda x: x,
    "detached": lambda x: x.detach(),
    "a view of all": lambda x: x.view(6, 4),
    "an alias": lambda x: x[:],
    "data": lambda x: x.data,
    "there and back": lambda x: x.t().t(),
    "bits there and back": lambda x: x.view(torch.int32).view(torch.float32),
}
OTHER: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "a copy": lambda x: x.clone(),
    "a result": lambda x: x * 1,
    "transposed": lambda x: x.t(),
    "a part": lambda x: x[1:],
    "flattened": lambda x: x.view(-1),
    "other dtype, same bytes": lambda x: x.view(torch.int32),
    "expanded": lambda x: x.unsqueeze(0).expand(2, 6, 4),
}


@pytest.mark.parametrize("make", SAME.values(), ids=SAME)
def test_the_same_bytes_have_the_same_value(
    identities: Identities, make: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    tensor = torch.randn(6, 4)
    first = identities.identify(tensor)
    second = identities.identify(make(tensor))
    assert first is not None
    assert second is not None
    assert (first.fresh, second.fresh) == (True, False)
    assert (first.value, first.storage, first.content) == (second.value, second.storage, second.content)


@pytest.mark.parametrize("make", OTHER.values(), ids=OTHER)
def test_other_bytes_have_other_values(identities: Identities, make: Callable[[torch.Tensor], torch.Tensor]) -> None:
    tensor = torch.randn(6, 4)
    other = make(tensor)
    assert _value(identities, tensor) != _value(identities, other)


def test_a_reshaped_tensor_has_the_same_content(identities: Identities) -> None:
    tensor = torch.randn(6, 4)
    whole, flat = identities.identify(tensor), identities.identify(tensor.view(-1))
    part, turned = identities.identify(tensor[1:]), identities.identify(tensor.t())
    assert whole is not None
    assert flat is not None
    assert part is not None
    assert turned is not None
    assert whole.content == flat.content
    assert len({whole.content, part.content, turned.content}) == 3
    assert {whole.storage, flat.storage, part.storage, turned.storage} == {whole.storage}


WRITES: dict[str, Callable[[torch.Tensor], object]] = {
    "in place": lambda x: x.add_(1),
    "an element": lambda x: x.__setitem__(0, 1.0),
    "out=": lambda x: torch.add(x, 1, out=x),
    "through a view": lambda x: x.view(-1)[2:].mul_(2),
    "copied into": lambda x: x.copy_(torch.zeros(6, 4)),
    "foreach": lambda x: torch._foreach_add_([x], 1.0),
    "another storage": lambda x: setattr(x, "data", torch.zeros(6, 4)),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_a_write_makes_a_new_value(identities: Identities, write: Callable[[torch.Tensor], object]) -> None:
    tensor = torch.randn(6, 4)
    before = _value(identities, tensor)
    write(tensor)
    assert _value(identities, tensor) != before


def test_lazy_bits_tell_values_apart(identities: Identities) -> None:
    base = torch.randn(3, dtype=torch.complex64)
    views = [base, base.conj(), torch._neg_view(base), torch._neg_view(base.conj())]
    assert len({_value(identities, view) for view in views}) == 4
    contents = {identity.content for view in views if (identity := identities.identify(view)) is not None}
    assert len(contents) == 4


def test_a_write_that_no_version_counts_must_be_declared(identities: Identities) -> None:
    with torch.inference_mode():
        tensor = torch.randn(4)
        before = _value(identities, tensor)
        tensor.add_(1)
        assert _value(identities, tensor) == before
        identities.touch(tensor)
        after = _value(identities, tensor)
        assert after != before
        assert _value(identities, tensor) == after


def test_touching_one_view_renews_all(identities: Identities) -> None:
    tensor, other = torch.randn(6), torch.randn(6)
    before = [_value(identities, t) for t in (tensor, tensor[2:], other)]
    identities.touch(tensor[:1].data)
    after = [_value(identities, t) for t in (tensor, tensor[2:], other)]
    assert [a == b for a, b in zip(before, after, strict=True)] == [False, False, True]


def test_touching_what_was_never_met_does_nothing(identities: Identities) -> None:
    identities.touch(torch.randn(2))
    identities.touch(torch.eye(2).to_sparse())


def test_data_counts_its_own_writes(identities: Identities) -> None:
    # Both counters pass the same versions, with other bytes each time.  As in a record, what a call writes to
    # is met before it and after.
    tensor = torch.zeros(3)
    seen: dict[int, list[float]] = {}

    def note(view: torch.Tensor) -> None:
        assert seen.setdefault(_value(identities, view), view.tolist()) == view.tolist()

    alias = tensor.data
    for written in (tensor, alias, alias, tensor, alias, tensor, tensor, alias):
        note(written)
        written.add_(1)
        note(written)
    note(tensor)
    note(tensor.data)


def test_an_address_that_is_used_again_is_another_value(identities: Identities) -> None:
    values = set()
    addresses = set()
    for number in range(2000):
        tensor = torch.full((64,), float(number))
        addresses.add(tensor.data_ptr())
        values.add(_value(identities, tensor))
        del tensor
    assert len(addresses) < 2000, "the allocator used no address twice: this test proves nothing"
    assert len(values) == 2000


def test_storages_numbers_are_never_used_again(identities: Identities) -> None:
    storages = [identity.storage for _ in range(300) if (identity := identities.identify(torch.ones(8)))]
    assert storages == list(range(300))


def test_memory_is_not_kept(identities: Identities) -> None:
    tensor = torch.ones(1000)
    reference = tensor.untyped_storage()._weak_ref()
    _value(identities, tensor)
    del tensor
    gc.collect()
    try:
        assert torch.UntypedStorage._expired(reference)
    finally:
        torch.UntypedStorage._free_weak_ref(reference)


@pytest.mark.parametrize(
    "make",
    [lambda: torch.eye(3).to_sparse(), lambda: torch.eye(3).to_sparse_coo(), lambda: torch.eye(3).to_mkldnn()],
)
def test_a_tensor_without_storage_has_no_identity(identities: Identities, make: Callable[[], torch.Tensor]) -> None:
    assert identities.identify(make()) is None


@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (1, 1)], ids=str)
def test_degenerate_shapes(identities: Identities, shape: tuple[int, ...]) -> None:
    tensor = torch.ones(shape)
    assert _value(identities, tensor) == _value(identities, tensor)
    assert _value(identities, tensor) != _value(identities, torch.ones(shape))


# ---- memory that is written past the version counter


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
def test_a_check_of_each_shape(shape: tuple[int, ...]) -> None:
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
