"""A tensor is read without a call of anything that a subclass or a script has put before what torch gave it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from dump.record import deferred, reading
from dump.record.statistics import Statistics

PROPERTIES = (
    "shape",
    "dtype",
    "device",
    "layout",
    "requires_grad",
    "grad_fn",
    "is_cpu",
    "is_meta",
    "output_nr",
    "grad",
)
NAN = float("nan")
METHODS = ("data_ptr", "numel", "stride", "size", "storage_offset", "untyped_storage", "is_contiguous", "element_size",
           "detach", "contiguous", "cpu", "is_conj", "is_neg", "resolve_conj", "resolve_neg", "as_strided", "view",
           "reshape", "narrow", "select", "to", "clone", "copy_", "numpy", "item", "dim", "__getitem__")  # fmt: skip


def _heard(*_: Any, **__: Any) -> Any:
    raise AssertionError("the recorder asked")


def _hostile(base: type) -> Any:
    own: dict[str, Any] = {name: property(_heard) for name in PROPERTIES} | dict.fromkeys(METHODS, _heard)
    return type(
        "Hostile", (base,), {**own, "__getattribute__": _heard, "__torch_function__": torch.Tensor.__torch_function__}
    )


def test_it_reads_what_torch_says() -> None:
    x = torch.ones(2, 3, requires_grad=True).t()
    assert reading.shape_of(x) == (3, 2)
    assert reading.strides_of(x) == (1, 3)
    assert (reading.dtype_of(x), reading.layout_of(x)) == (torch.float32, torch.strided)
    assert (reading.count_of(x), reading.bytes_of_one(x), reading.offset_of(x)) == (6, 4, 0)
    assert reading.address_of(x) == x.data_ptr()
    assert reading.maker_of(x) is x.grad_fn
    assert not reading.is_lazily_changed(x)
    z = torch.ones(2, dtype=torch.complex64).conj()
    assert reading.is_lazily_changed(z)
    assert not reading.is_lazily_changed(reading.resolved(z))


@pytest.mark.parametrize("settings", [{}, {"task": "tensor", "remeasure": True}, {"summary_mode": "md5"}])
@pytest.mark.parametrize("view", [lambda x: x, lambda x: x.t(), lambda x: x[:1].expand(40, 5)], ids=str)
def test_a_subclass_hears_nothing(view: Any, settings: dict[str, Any], record: Any) -> None:
    x = view(torch.randn(40, 5)).as_subclass(_hostile(torch.Tensor))
    with torch._C.DisableTorchFunctionSubclass():
        recorded = record(lambda: torch.exp(x), **settings)
    leaf = recorded.leaf("Torch.exp.0.forward", "input.0")
    assert leaf.unrecorded is None


AUDITED = {"level": "mix", "audit": True, "summary_mode": "md5"}


@contextmanager
def _replaced(heard: list[str]) -> Iterator[None]:
    """What a script has put in the place of torch's: each notes its name."""
    with pytest.MonkeyPatch.context() as patched:
        for name in METHODS:
            original = getattr(torch.Tensor, name)

            def heeds(self: Any, *args: Any, original: Any = original, name: str = name, **kwargs: Any) -> Any:
                heard.append(name)
                return original(self, *args, **kwargs)

            patched.setattr(torch.Tensor, name, heeds)
        for name in PROPERTIES:
            original = getattr(torch.Tensor, name)

            def heeds_too(self: Any, original: Any = original, name: str = name) -> Any:
                heard.append(name)
                return original.__get__(self)

            patched.setattr(torch.Tensor, name, property(heeds_too))
        yield


def _of_every_way() -> list[torch.Tensor]:
    """Tensors that are measured in different ways."""
    complex_ones = torch.ones(6, 4, dtype=torch.complex64)
    return [
        *(torch.tensor([1.0, NAN]), torch.tensor([0.0, -1e9] * 4), torch.arange(5), torch.randn(1 << 20)),
        *(complex_ones.conj(), torch.ones(40_000).bfloat16()),
    ]


@pytest.mark.parametrize("settings", [{"level": "mix"}, {"task": "tensor"}, AUDITED])
def test_a_script_that_replaces_what_tensors_have_hears_nothing(settings: dict[str, Any], record: Any) -> None:
    layer, x, heard = torch.nn.Linear(4, 4), torch.randn(6, 4), list[str]()
    others = [*_of_every_way(), torch.randn(70, 1).expand(70, 9000), x.to_sparse()]

    def act() -> None:
        with _replaced(heard):
            torch.exp(layer(x).T).backward(torch.ones(4, 6))
            for other in others:
                torch.neg(other)

    act()
    alone = list(heard)
    heard.clear()
    record(act, **settings)
    assert heard == alone


def test_nor_does_it_hear_how_tensors_get_into_a_device_s_batches() -> None:
    queue, heard = deferred.Queue(), list[str]()
    tensors = _of_every_way()
    with _replaced(heard):
        taken = [queue.take(tensor) for tensor in tensors]
    assert heard == []
    assert all(isinstance(found, Statistics) for found in deferred.fetch(taken))


FACTS = {
    "plain": (lambda: torch.ones(2, 3), True),
    "parameter": (lambda: torch.nn.Parameter(torch.ones(2)), True),
    "transposed": (lambda: torch.ones(2, 3).t(), True),
    "a view": (lambda: torch.arange(6)[2:], True),
    "empty": (lambda: torch.empty(0), True),
    "conjugated": (lambda: torch.ones(2, dtype=torch.complex64).conj(), False),
    "negated": (lambda: torch.ones(2, dtype=torch.complex64).conj().imag, False),
    "sparse": (lambda: torch.ones(2, 2).to_sparse(), False),
    "meta": (lambda: torch.ones(2, device="meta"), False),
    "a subclass": (lambda: torch.ones(2).as_subclass(type("Mine", (torch.Tensor,), {})), False),
    "zeros without memory": (lambda: torch._efficientzerotensor(2), False),
}


@pytest.mark.parametrize("kind", FACTS)
@pytest.mark.parametrize("way", ["as it is", "in Python"])
def test_facts_of_ordinary_tensors_alone(kind: str, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if way == "in Python":
        monkeypatch.setattr(reading, "_read", reading._read_in_python)
    make, is_ordinary = FACTS[kind]
    tensor = make()
    found = reading.facts_of(tensor)
    assert (found is not None) is is_ordinary
    if found is not None:
        layout, storage, *rest = found
        assert layout is torch.strided
        assert storage.data_ptr() == tensor.untyped_storage().data_ptr()
        told = (tensor._version, tensor.storage_offset(), tensor.dtype, tensor.shape, tensor.is_contiguous())
        assert tuple(rest) == (*told, tensor.numel(), tensor.requires_grad, True)


def test_a_tensor_whose_writes_nobody_counts_has_no_facts() -> None:
    with torch.inference_mode():
        tensor = torch.ones(2)
    assert reading.facts_of(tensor) is None
