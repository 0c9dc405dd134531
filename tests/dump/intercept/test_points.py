"""Each point of interception stands or falls by itself, and what falls is named."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from dump import native, torch_internals
from dump.intercept import apis, catalog, points
from dump.intercept.patching import Patches
from dump.intercept.points import Point, install_each, point_of
from dump.intercept.watch import Watch
from dump.torch_internals import Internal, Missing


def _sets(owner: Any, name: str, value: Any) -> Any:
    return lambda patches: patches.replace(owner, name, value)


def test_one_that_raises_is_left_out_and_leaves_nothing_behind() -> None:
    owner, undone = SimpleNamespace(a=1, b=2), []

    def half(patches: Patches) -> None:
        patches.replace(owner, "b", 20)
        raise TypeError("not this way\nat all")

    with Patches() as patches:
        left_out = install_each(
            [
                Point("first", _sets(owner, "a", 10)),
                Point("second", half, remove=lambda: undone.append("second")),
                Point("third", lambda _: {"a part": "its reason"}),
            ],
            patches,
        )
        assert left_out == {"second": "TypeError: not this way", "a part": "its reason"}
        assert (owner.a, owner.b) == (10, 2)
        assert undone == ["second"]
    assert owner.a == 1


def test_one_that_needs_what_is_not_there_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(torch_internals.INTERNALS, "gone", Internal(("_C._gone",), "2.1", "a test", "these calls"))
    owner = SimpleNamespace(a=1)
    needy = Point("needy", _sets(owner, "a", 2), needs=("version", "gone"))
    assert install_each([needy], Patches()) == {"needy": f"torch {torch.__version__} has no torch._C._gone"}
    assert owner.a == 1
    del torch_internals._missing["gone"], torch_internals.__dict__["gone"]


def test_names_that_moved_are_told_and_names_to_come_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    assert points.moved_names() == {}
    for name, since in (("moved", "2.1"), ("to_come", "9.0")):
        monkeypatch.setitem(
            torch_internals.INTERNALS, name, Internal((f"_C.{name}",), since, "a test", f"calls {name}")
        )
        monkeypatch.setitem(torch_internals._missing, name, Missing(name, (), "no such name", f"calls {name}"))
    assert points.moved_names() == {"calls moved": "no such name"}


def test_an_operator_that_cannot_be_replaced_is_left_out_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    fixed, free = (
        catalog.Operator((), "count", "Torch", "fixed"),
        catalog.Operator(SimpleNamespace(f=torch.relu), "f", "T", "f"),
    )
    monkeypatch.setattr(catalog, "operators", lambda: (fixed, free))
    monkeypatch.setattr(native, "core", None)
    followed = apis.ApiCalls(Watch())
    with Patches() as patches:
        assert list(followed.install(patches)) == ["Torch.fixed"]
        assert isinstance(free.owner.f, apis.RecordedFunction)
    followed.remove()
    assert not isinstance(free.owner.f, apis.RecordedFunction)


@pytest.mark.parametrize(
    ("file", "name"),
    [
        (apis.__file__, "API calls"),
        ("/site-packages/dump/intercept/dispatcher_ops.py", "custom autograd Functions"),
        ("/home/user/apis.py", ""),
        (__file__, ""),
    ],
)
def test_a_failure_at_work_is_put_down_to_its_point(file: str, name: str) -> None:
    assert point_of(file) == name
