from __future__ import annotations

import operator
import sys
from types import FrameType

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


class Link:
    def __init__(self, number: int, following: Link | None) -> None:
        self.number, self.following = number, following


_FOLLOWING, _NUMBER = operator.attrgetter("following"), operator.attrgetter("number")


def test_a_chain_is_read_to_its_end() -> None:
    chain = Link(1, Link(2, Link(3, None)))
    assert core.read_along(chain, _FOLLOWING, (_NUMBER, type)) == (1, Link, 2, Link, 3, Link)
    assert core.read_along(chain, _FOLLOWING, ()) == ()
    assert core.read_along(None, _FOLLOWING, (_NUMBER,)) == ()


def test_members_and_properties_of_frames_are_readers() -> None:
    frame = sys._getframe()
    found = core.read_along(frame, FrameType.f_back, (FrameType.f_code, FrameType.f_trace_lines))
    assert found[:4] == (frame.f_code, True, frame.f_back.f_code, True)


def test_what_a_reader_of_a_chain_raises_is_raised() -> None:
    with pytest.raises(AttributeError):
        core.read_along(Link(1, Link(2, None)), _FOLLOWING, (_NUMBER, operator.attrgetter("gone")))
    with pytest.raises(AttributeError):
        core.read_along(1, _FOLLOWING, ())
    with pytest.raises(TypeError):
        core.read_along(1, _FOLLOWING, [])
    with pytest.raises(TypeError):
        core.read_along(1, _FOLLOWING)


@pytest.mark.parametrize("given", [(), (1,), (1, (), []), (1, [], ())])
def test_other_arguments_are_refused(given: tuple[object, ...]) -> None:
    with pytest.raises(TypeError):
        core.read(*given)
