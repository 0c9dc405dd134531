from __future__ import annotations

import pytest
import torch

from dump import native

core = native.core
if not hasattr(core, "read"):
    pytest.skip(f"the native core is {native.state}, or older than this", allow_module_level=True)

_BASE = torch._C.TensorBase if hasattr(torch._C, "TensorBase") else torch._C._TensorBase  # type: ignore[attr-defined]
_SHAPE, _COUNT = _BASE.shape, _BASE.numel


def test_descriptors_and_functions_are_asked_in_their_order() -> None:
    tensor = torch.zeros(2, 3)
    assert core.read(tensor, (), (_SHAPE, _COUNT, len)) == (torch.Size([2, 3]), 6, 2)
    assert core.read(tensor, (), ()) == ()


def test_a_tuple_of_a_subclass_is_given_as_a_plain_one() -> None:
    (shape,) = core.read(torch.zeros(2, 3), (), (_SHAPE,))
    assert (type(shape), shape) == (tuple, (2, 3))
    assert core.read(torch.zeros(()), (), (_SHAPE,)) == ((),)


def test_the_first_yes_ends_it() -> None:
    asked: list[str] = []
    refused = (lambda _: asked.append("first"), lambda _: True, lambda _: asked.append("third"))
    assert core.read(1, refused, (lambda _: asked.append("read"),)) is None
    assert asked == ["first"]


def test_what_a_reader_raises_is_raised() -> None:
    sparse = torch.zeros(2).to_sparse()
    with pytest.raises(RuntimeError):
        core.read(sparse, (), (_SHAPE, _BASE.untyped_storage))
    with pytest.raises(ZeroDivisionError):
        core.read(0, (lambda number: 1 / number,), ())
    with pytest.raises(TypeError):
        core.read(1, (), (_SHAPE,))


@pytest.mark.parametrize("given", [(), (1,), (1, (), []), (1, [], ())])
def test_other_arguments_are_refused(given: tuple[object, ...]) -> None:
    with pytest.raises(TypeError):
        core.read(*given)
