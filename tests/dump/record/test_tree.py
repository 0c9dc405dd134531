from __future__ import annotations

import enum
from collections import OrderedDict, UserDict, namedtuple
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from dump.record import tree
from dump.record.tree import Plain, capture, tensors_of, tuples_of

A, B, C = torch.ones(1), torch.ones(2), torch.ones(3)
Pair = namedtuple("Pair", ["left", "right"])


@dataclass
class Output:
    logits: torch.Tensor
    states: list[torch.Tensor]
    loss: float | None = None
    late: int = field(init=False)


class Mode(str, enum.Enum):
    FAST = "fast"

    def __str__(self) -> str:
        raise AssertionError("a user's code must not run while recording")


class Level(enum.IntEnum):
    HIGH = 3


class Odd:
    def __repr__(self) -> str:
        raise AssertionError("a user's code must not run while recording")


def _names(thing: Any) -> Any:
    return capture(thing, "input", on_tensor=lambda tensor, path: f"<{tensor.numel()} at {path}>")


@pytest.mark.parametrize(
    ("thing", "expected"),
    [
        (A, "<1 at input>"),
        ((A, [B, 2.5]), ["<1 at input.0>", ["<2 at input.1.0>", 2.5]]),
        ({"x": A, "y": {"z": B}, 3: C}, {"x": "<1 at input.x>", "y": {"z": "<2 at input.y.z>"}, "3": "<3 at input.3>"}),
        (OrderedDict(x=A), {"x": "<1 at input.x>"}),
        (UserDict(x=A), {"x": "<1 at input.x>"}),
        (Pair(A, None), ["<1 at input.0>", None]),
        (
            Output(A, [B, C]),
            {
                "logits": "<1 at input.logits>",
                "states": ["<2 at input.states.0>", "<3 at input.states.1>"],
                "loss": None,
                "late": None,
            },
        ),
        ([], []),
        ({}, {}),
        ((True, 1, 2.5, "s", None), [True, 1, 2.5, "s", None]),
        (torch.Size([2, 3]), [2, 3]),
        (slice(1, None, 2), Plain("slice", [1, None, 2])),
        (slice(A, 3), Plain("slice", ["Tensor", 3, None])),
        (..., Plain("ellipsis", "...")),
        (torch.float16, Plain("dtype", "torch.float16")),
        (torch.device("cpu"), Plain("device", "cpu")),
        (torch.strided, Plain("layout", "torch.strided")),
        (torch.channels_last, Plain("memory_format", "torch.channels_last")),
        (1 + 2j, Plain("complex", "(1+2j)")),
        (Mode.FAST, Plain("Mode", "fast")),
        (Level.HIGH, Plain("Level", 3)),
        (np.float64(0.5), Plain("float64", 0.5)),
        (np.int64(7), Plain("int64", 7)),
        (np.bool_(True), Plain("bool" if np.__version__ >= "2" else "bool_", True)),
        (Odd(), Plain("Odd", None)),
        (Output, Plain("type", None)),
        (np.zeros(3), Plain("ndarray", None)),
        ({A.dtype}, Plain("set", None)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_capture(thing: Any, expected: Any) -> None:
    assert _names(thing) == expected


@pytest.mark.parametrize("wrap", [lambda x: [x], lambda x: {"k": x}, lambda x: (x,)])
def test_what_nests_too_deep_is_named(wrap: Any) -> None:
    thing: Any = A
    for _ in range(tree.MAX_DEPTH):
        thing = wrap(thing)
    assert "at input" in str(_names(thing))
    assert len(tensors_of(thing)) == 1
    thing = wrap(thing)
    assert "nested too deep" in str(_names(thing))
    assert tensors_of(thing) == []


def test_a_list_that_holds_itself_comes_to_an_end() -> None:
    thing: list[Any] = [A]
    thing.append(thing)
    assert len(tensors_of(thing)) == tree.MAX_DEPTH
    assert "nested too deep" in str(_names(thing))


@pytest.mark.parametrize("make", [list, tuple, lambda items: dict(enumerate(items))])
def test_what_a_long_container_leaves_out_is_counted(make: Any) -> None:
    thing = make([1] * (tree.MAX_ITEMS + 5))
    found = _names(thing)
    assert len(found) == tree.MAX_ITEMS + 1
    last = found[-1] if isinstance(found, list) else found["..."]
    assert last == Plain("omitted", 5)


@pytest.mark.parametrize("thing", [A, [A, {"x": B}, (C,)], Output(C, [B, A]), {"a": [A], "b": Pair(B, C)}, 3, None])
def test_tensors_come_in_the_order_of_capture(thing: Any) -> None:
    met: list[torch.Tensor] = []
    capture(thing, "input", on_tensor=lambda tensor, path: met.append(tensor))
    found = tensors_of(thing)
    assert [id(tensor) for tensor in found] == [id(tensor) for tensor in met]


@pytest.mark.parametrize(
    ("thing", "places"),
    [
        (A, []),
        ([1, [2]], []),
        ((slice(None), [0, 1]), ["input.1"]),
        ([(1,), {"a": (2, ())}], ["input.1.0", "input.1.1.a", "input.1.1.a.1"]),
        (torch.Size([2]), ["input.1"]),
    ],
)
def test_tuples_have_their_places(thing: Any, places: list[str]) -> None:
    assert tuples_of(thing, "input.1") == places


def test_a_bound_that_is_no_number_is_named() -> None:
    assert capture(slice(A, np.int64(3), None), "i", on_tensor=lambda *_: None) == Plain("slice", ["Tensor", 3, None])


def test_containers_with_methods_of_their_own_are_not_asked() -> None:
    def fails(*_: Any) -> Any:
        raise AssertionError("a user's code must not run while recording")

    hostile = dict.fromkeys(("__getitem__", "__iter__", "__len__", "items", "keys", "values"), fails)
    things: list[Any] = [type("Own", (base,), hostile)([A, B]) for base in (list, tuple)]
    things += [type("Own", (base,), hostile)({"a": A, "b": B}) for base in (dict, OrderedDict)]
    for thing in things:
        assert [id(tensor) for tensor in tensors_of(thing)] == [id(A), id(B)]
        kept = capture(thing, "i", on_tensor=lambda _, path: path)
        assert kept in (["i.0", "i.1"], {"a": "i.a", "b": "i.b"})
        tuples_of(thing, "i")


def test_a_mapping_keeps_the_order_that_it_was_given() -> None:
    thing = OrderedDict(a=A, b=B)
    thing.move_to_end("a")
    assert list(capture(thing, "i", on_tensor=lambda _, path: path)) == ["b", "a"]


def _fails(*_: Any) -> Any:
    raise AssertionError("a user's code must not run while recording")


class Watched(Mapping[str, Any]):
    """A mapping that is no dict, and hears of whoever reads it."""

    def __init__(self, **items: Any) -> None:
        self._items = items

    __getitem__ = __iter__ = __len__ = __getattribute__ = _fails


class InSlots(Mapping[str, Any]):
    __slots__ = ("empty", "kept")

    def __init__(self, **items: Any) -> None:
        self.kept = items

    __getitem__ = __iter__ = __len__ = keys = items = values = _fails


@dataclass
class Lazy:
    weight: Any
    kind: ClassVar[int] = 3
    bias: Any = None
    late: int = field(init=False, default=2)

    __getattribute__ = _fails


class Key:
    __repr__ = __str__ = _fails


class Called(str):
    __repr__ = __str__ = __format__ = _fails  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("thing", "expected"),
    [
        (Watched(a=A, b=[B]), {"a": "<1 at input.a>", "b": ["<2 at input.b.0>"]}),
        (InSlots(a=A), {"a": "<1 at input.a>"}),
        (MappingProxyType(type("Own", (dict,), {"copy": _fails})(a=A)), {"a": "<1 at input.a>"}),
        (Lazy(A, B), {"weight": "<1 at input.weight>", "bias": "<2 at input.bias>", "late": 2}),
        ({Called("x"): A, Key(): B}, {"x": "<1 at input.x>", "Key.1": "<2 at input.Key.1>"}),
        ({Level.HIGH: A, True: C}, {"Level.HIGH": "<1 at input.Level.HIGH>", "True": "<3 at input.True>"}),
        ({("a", 1): A}, {"(a, 1)": "<1 at input.(a, 1)>"}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_methods_of_a_script_are_not_called(thing: Any, expected: Any) -> None:
    assert _names(thing) == expected
    assert len(tensors_of(thing)) == str(expected).count("<")
    tuples_of(thing, "input")


def test_what_seems_to_be_of_another_class_is_what_it_is() -> None:
    class Proxy:
        @property  # type: ignore[misc]
        def __class__(self) -> Any:
            return _fails()

    assert _names(Proxy()) == Plain("Proxy", None)
    assert tensors_of(Proxy()) == []


@pytest.mark.parametrize("base", [list, tuple])
def test_what_was_returned_is_listed_by_nobodys_own_methods(base: Any) -> None:
    own = type("Own", (base,), dict.fromkeys(("__iter__", "__len__", "__getitem__"), _fails))
    assert [id(each) for each in tree.listed(own([A, B]))] == [id(A), id(B)]
    assert tree.listed(A) == [A]
