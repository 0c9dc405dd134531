"""Nobody can tell by an object's identity, names or pickle whether torch is being recorded."""

from __future__ import annotations

import copy
import dataclasses
import functools
import inspect
import pickle
import sys
import traceback
import typing
from collections.abc import Callable, Iterator
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from dump import native
from dump.config import DumpConfig
from dump.intercept import catalog
from dump.session import Session

_EARLY = {"relu": torch.relu, "gelu": F.gelu, "softmax": F.softmax}
_TABLE = {torch.stack: "stack", F.linear: "linear", torch.Tensor.add: "add", F.relu: "relu"}
early_sigmoid = torch.sigmoid
functions = (torch.tanh,)


class Layer:
    activation = torch.sin

    def __init__(self) -> None:
        self.act = torch.tanh

    def forward(self, x: torch.Tensor, then: Callable[..., torch.Tensor] = torch.exp) -> torch.Tensor:
        return then(x)


early_layer = Layer()


@pytest.fixture
def recording(config: DumpConfig) -> Iterator[None]:
    session = Session(config)
    session.start()
    yield
    session.close()


class Asks(torch.Tensor):
    """Remembers the functions that torch hands to it."""

    handed: list[Any]

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        Asks.handed = [*getattr(Asks, "handed", []), func]
        return super().__torch_function__(func, types, args, kwargs or {})


STAND_INS = int(not hasattr(native.core, "redirect"))
"""Do stand-ins take the places of functions in C?  In a traceback they have a frame."""
_OBSERVED = ("__name__", "__qualname__", "__module__", "__doc__", "__self__", "__text_signature__", "__defaults__")


def _looks(thing: Any) -> dict[str, Any]:
    """What can be asked of a function without calling it; the ids of what it leads to."""
    found = {name: getattr(thing, name, None) for name in _OBSERVED}
    try:
        found["signature"] = inspect.signature(thing)
    except ValueError as error:
        found["signature"] = type(error)
    found["kind"] = (isinstance(thing, BuiltinFunctionType), isinstance(thing, FunctionType), inspect.isroutine(thing))
    found["resolved"] = torch.overrides.resolve_name(thing)
    try:
        found["pickles"] = pickle.dumps(thing)
    except Exception as error:
        found["pickles"] = type(error)
    found["hash"] = hash(thing)
    if not STAND_INS:
        found["type"], found["id"] = type(thing), id(thing)
    if isinstance(thing, FunctionType) and isinstance(inspect.unwrap(thing), FunctionType):
        found["source"] = inspect.getsourcefile(thing), inspect.getsourcelines(thing)[1]
    return found


def _alike() -> list[list[str]]:
    """Which of the places of the catalog hold one object."""
    groups: dict[int, list[str]] = {}
    things = []
    for operator in catalog.operators():
        thing = getattr(operator.owner, operator.attribute)
        things.append(thing)
        groups.setdefault(id(thing), []).append(f"{operator.owner.__name__}.{operator.attribute}")
    return sorted(groups.values())


def _everything() -> dict[str, dict[str, Any]]:
    return {
        f"{operator.owner.__name__}.{operator.attribute}": _looks(getattr(operator.owner, operator.attribute))
        for operator in catalog.operators()
    }


def test_every_function_looks_the_same_and_is_the_same_as_before(config: DumpConfig) -> None:
    looks, alike = _everything(), _alike()
    session = Session(config)
    session.start()
    try:
        while_recording = _everything()
        different = {
            name: {key: (looks[name][key], found[key]) for key in found if found[key] != looks[name][key]}
            for name, found in while_recording.items()
        }
        assert {name: found for name, found in different.items() if found} == {}
        assert _alike() == alike
    finally:
        session.close()
    assert _everything() == looks
    assert _alike() == alike


def _everywhere() -> dict[str, Any]:
    """What the modules and classes of torch hold that can be called, by its place."""
    found: dict[str, Any] = {}
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] != "torch" or not isinstance(module, ModuleType):
            continue
        for key, thing in list(vars(module).items()):
            found[f"{name}.{key}"] = thing
            if issubclass(type(thing), type):
                found.update({f"{thing.__module__}.{thing.__qualname__}.{k}": t for k, t in vars(thing).items()})
    methods = (staticmethod, classmethod)
    plain = {place: thing.__func__ if type(thing) in methods else thing for place, thing in found.items()}
    return {place: thing for place, thing in plain.items() if type(thing).__name__ in ("function", "instancemethod")}


def _named(thing: Any) -> tuple[Any, ...]:
    try:
        signature: Any = inspect.signature(thing)
    except ValueError:  # one of C's: another's is there in its place
        signature = None
    return thing.__name__, thing.__qualname__, thing.__module__, thing.__doc__, signature


@pytest.mark.parametrize("audit", [False, True])
def test_what_takes_a_place_in_torch_has_the_names_and_the_signature_of_what_stood_there(
    config: DumpConfig, audit: bool
) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))])  # the first of its kind: torch wraps its step
    before = _everywhere()
    session = Session(dataclasses.replace(config, level="mix", audit=audit), finds_steps=True)
    session.start()
    try:
        exchanged = {place: thing for place, thing in _everywhere().items() if before.get(place, thing) is not thing}
        assert {"torch.nn.modules.module.Module.__init__", "torch.jit.script"} <= exchanged.keys()
        different = {
            place: (theirs, ours)
            for place, thing in exchanged.items()
            if (theirs := _named(before[place])) != (ours := _named(thing)) and (theirs[:4] != ours[:4] or theirs[4])
        }
        assert different == {}
        assert optimizer.step.__func__ is torch.optim.SGD.step
    finally:
        session.close()
    assert {place for place, thing in _everywhere().items() if before.get(place) is not thing} == set()


def test_no_module_of_torch_has_another_name_and_every_function_its_source(config: DumpConfig) -> None:
    names = {name: dir(module) for name, module in list(sys.modules.items()) if name.startswith("torch")}
    if STAND_INS:
        del names["torch._VF"]  # which looks its functions up elsewhere: a stand-in is set on it
    source, hints = inspect.getsource(F.softmax), typing.get_type_hints(F.softmax)
    session = Session(config)
    session.start()
    try:
        assert {name: dir(sys.modules[name]) for name in names} == names
        assert inspect.getsource(F.softmax) == source
        assert typing.get_type_hints(F.softmax) == hints
    finally:
        session.close()


@pytest.mark.skipif(bool(STAND_INS), reason=f"the native core is {native.state}")
def test_what_is_held_where_nothing_can_be_exchanged_is_the_function_too(config: DumpConfig) -> None:
    local, partial = torch.tanh, functools.partial(F.gelu)
    session = Session(config)
    session.start()
    try:
        assert local is torch.tanh is functions[0]
        assert partial.func is F.gelu
        assert type(torch.tanh) is BuiltinFunctionType
    finally:
        session.close()


@pytest.mark.parametrize(
    ("act", "ours"),
    [
        (lambda: F.softmax("x", 0), 1),
        (lambda: torch.einsum("ij,jk", torch.ones(2, 2)), 1),
        (lambda: F.layer_norm(torch.ones(2), (3,)), 1 + STAND_INS),
        (lambda: torch.ones(2).add("x"), 1),
        (lambda: torch.ones(2) + "x", 0),  # Python asks the other side, and raises
        (lambda: torch.ones(2) + torch.ones(3), 1),
        (lambda: torch.relu("x"), STAND_INS),
        (lambda: torch.linalg.norm(torch.ones(2), ord="x"), STAND_INS),
    ],
)
def test_a_traceback_has_no_more_than_one_frame_of_ours(config: DumpConfig, act: Callable[[], Any], ours: int) -> None:
    alone = _trace(act)
    session = Session(config)
    session.start()
    try:
        recorded = _trace(act)
    finally:
        session.close()
    assert recorded[-1] == alone[-1]
    assert len(recorded) == len(alone) + ours
    assert [frame for frame in recorded if frame in alone] == alone


def _trace(act: Callable[[], Any]) -> list[str]:
    """Lines of the frames of the error that it raises, and the error."""
    try:
        act()
    except Exception as error:
        return [f"{each.filename}:{each.lineno}" for each in traceback.extract_tb(error.__traceback__)] + [repr(error)]
    raise AssertionError("nothing was raised")


def test_the_call_of_a_module_is_one_function_and_pickled_by_its_name(recording: None) -> None:
    called = torch.nn.Module.__call__
    assert called is torch.nn.Module._wrapped_call_impl
    assert pickle.loads(pickle.dumps(called)) is called


def test_every_name_that_torch_hands_out_is_what_stands_there(recording: None) -> None:
    functions = torch.overrides.get_overridable_functions()
    known = torch.overrides.get_testing_overrides()
    for operator in catalog.operators():
        thing = getattr(operator.owner, operator.attribute)
        pickled = _looks(thing)["pickles"]
        if isinstance(pickled, bytes):
            assert pickle.loads(pickled) is thing
        assert copy.copy(thing) is copy.deepcopy(thing) is thing
    assert all(known[function] for function in (torch.add, F.relu, F.linear, torch.linalg.norm, torch.Tensor.add))
    assert {id(f) for f in functions[torch.nn.functional]} >= {id(F.relu), id(F.softmax)}
    assert any(f is torch.add for f in functions[torch])


def test_what_was_bound_early_is_what_is_found_late(recording: None) -> None:
    assert _EARLY["relu"] is torch.relu
    assert _EARLY["gelu"] is F.gelu is torch._C._nn.gelu
    assert _EARLY["softmax"] is F.softmax
    assert early_sigmoid is torch.sigmoid is torch._C._VariableFunctions.sigmoid
    assert Layer.activation is torch.sin
    assert early_layer.act is torch.tanh
    assert inspect.signature(Layer.forward).parameters["then"].default is torch.exp
    assert functions[0] == torch.tanh
    assert torch.tanh in functions
    assert inspect.signature(torch.nn.TransformerEncoderLayer).parameters["activation"].default is F.relu
    assert [_TABLE[f] for f in (torch.stack, F.linear, torch.Tensor.add, F.relu)] == ["stack", "linear", "add", "relu"]


@pytest.mark.parametrize(
    ("act", "find"),
    [
        (lambda x: torch.add(x, 1), lambda: torch.add),
        (lambda x: x + 1, lambda: torch.Tensor.add),
        (lambda x: 1 - x, lambda: torch.Tensor.__rsub__),
        (lambda x: x.exp(), lambda: torch.Tensor.exp),
        (lambda x: torch.stack([x, x]), lambda: torch.stack),
        (lambda x: torch.cat(tensors=[x, x]), lambda: torch.cat),
        (lambda x: F.linear(x, x), lambda: F.linear),
        (lambda x: F.relu(x), lambda: F.relu),
        (lambda x: torch.linalg.norm(x), lambda: torch.linalg.norm),
        (lambda x: torch.fft.fft(x), lambda: torch.fft.fft),
        (lambda x: torch.special.erf(x), lambda: torch.special.erf),
        (lambda x: torch.einsum("i->", x), lambda: torch.einsum),
        (lambda x: early_sigmoid(x), lambda: torch.sigmoid),
    ],
)
def test_a_subclass_and_a_mode_are_handed_what_they_can_look_up(
    recording: None, act: Callable[[torch.Tensor], Any], find: Callable[[], Any]
) -> None:
    Asks.handed = []
    act(torch.ones(2).as_subclass(Asks))
    assert Asks.handed[0] is find()

    class Mode(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            handed.append(func)
            return func(*args, **(kwargs or {}))

    handed: list[Any] = []
    x = torch.ones(2)
    with Mode():
        act(x)
    assert handed[0] is find()


def test_a_graph_holds_the_functions_themselves(config: DumpConfig) -> None:
    def forward(x: torch.Tensor) -> torch.Tensor:
        return F.relu(torch.add(x, 1)).reshape(-1) + F.linear(x, x)

    def targets() -> list[Any]:
        return [node.target for node in torch.fx.symbolic_trace(forward).graph.nodes]

    alone = targets()
    session = Session(config)
    session.start()
    traced = targets()
    assert [target for target in traced if callable(target)][:2] == [torch.add, F.relu]
    assert any(target is torch.add for target in traced)
    assert any(target is F.relu for target in traced)
    session.close()
    assert targets() == alone == traced


def test_afterwards_nothing_of_ours_is_left(config: DumpConfig) -> None:
    before = [(op.owner, op.attribute, vars(op.owner).get(op.attribute)) for op in catalog.operators()]
    codes = [op.__code__ for _, _, op in before if isinstance(op, FunctionType)]
    spaces = {name: set(vars(module)) for name, module in sys.modules.items() if name.startswith("torch")}
    session = Session(config)
    session.start()
    model = Layer()
    assert "_VariableFunctionsClass" in torch.tanh.__qualname__
    session.close()
    assert model.act is torch.tanh
    assert all(vars(owner).get(name) is thing for owner, name, thing in before)
    assert codes == [op.__code__ for _, _, op in before if isinstance(op, FunctionType)]
    for name, found in spaces.items():
        assert set(vars(sys.modules[name])) - found == set()
