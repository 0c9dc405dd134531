"""Names, attributes, lists, defaults and closures hold the other object; what is equal needs none of that."""

from __future__ import annotations

import copy
import pickle
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from types import BuiltinFunctionType

import torch

from dump.intercept.references import exchange
from dump.intercept.stand_ins import StandIn


class Holder:
    kind = torch.cosh

    def __init__(self) -> None:
        self.thing = torch.cosh


def _closure() -> Callable[[], object]:
    inside = torch.cosh
    return lambda: inside


def _default(thing: object = torch.cosh) -> object:
    return thing


def test_every_reference_is_exchanged_and_put_back() -> None:
    original = StandIn(torch.cosh).original  # held by a slot, which is left alone
    box = StandIn(original)
    stand_in = StandIn(original)
    holder, closure = Holder(), _closure()
    places: list[Callable[[], object]] = [
        lambda: torch.cosh,
        lambda: Holder.kind,
        lambda: holder.thing,
        closure,
        _default,
    ]
    del original
    exchange({id(box.original): stand_in})
    try:
        assert [place() is stand_in for place in places] == [True] * len(places)
    finally:
        exchange({id(stand_in): box.original})
    assert [place() is box.original for place in places] == [True] * len(places)


def test_a_list_with_empty_places_is_left_alone() -> None:
    parser = ElementTree.XMLPullParser()
    parser.feed("<open><elements>")  # keeps them in a list of twenty places, which the heap's search finds
    stand_in, items = StandIn(torch.cosh), [torch.cosh, 1]
    original = stand_in.original
    exchange({id(original): stand_in})
    try:
        assert items[0] is stand_in
    finally:
        exchange({id(stand_in): original})
    assert items[0] is original
    parser.feed("</elements></open>")
    parser.close()


class Unhashable(type):
    def __eq__(cls, other: object) -> bool:
        raise RuntimeError("compared")

    def __getattribute__(cls, name: str) -> object:
        raise RuntimeError(name)


class Hostile(metaclass=Unhashable):
    def __getattribute__(self, name: str) -> object:
        raise RuntimeError(name)


class HostileKey:
    is_hashed = False

    def __hash__(self) -> int:
        if self.is_hashed:
            raise RuntimeError("hashed")
        return 1


def test_no_method_of_what_is_found_reaches_the_caller() -> None:
    held = object.__new__(Hostile)
    object.__setattr__(held, "thing", torch.cosh)
    key, stand_in = HostileKey(), StandIn(torch.cosh)
    table = {key: torch.cosh}
    key.is_hashed = True
    original = stand_in.original
    exchange({id(original): stand_in})
    try:
        assert object.__getattribute__(held, "thing") is stand_in
        assert next(iter(table.values())) is original
    finally:
        exchange({id(stand_in): original})
    assert object.__getattribute__(held, "thing") is original


def test_a_stand_in_is_equal_to_its_original_and_known_by_its_names() -> None:
    stand_in, other = StandIn(torch.sinh), StandIn(torch.cosh)
    assert stand_in == torch.sinh == stand_in == StandIn(stand_in)
    assert {torch.sinh: 1}[stand_in] == {stand_in: 1}[torch.sinh] == 1
    assert stand_in not in (torch.cosh, other, None)
    assert isinstance(stand_in, BuiltinFunctionType)
    assert (stand_in.__name__, stand_in.__module__) == (torch.sinh.__name__, torch.sinh.__module__)
    assert pickle.dumps(stand_in) == pickle.dumps(torch.sinh)
    assert copy.deepcopy([stand_in])[0] is stand_in
    assert torch.equal(stand_in(torch.ones(2)), torch.sinh(torch.ones(2)))
