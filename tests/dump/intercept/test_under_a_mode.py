"""An audited run and what torch does otherwise while any dispatch mode is there."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.autograd import forward_ad

from dump.intercept.audit import Audit
from dump.intercept.points import release
from dump.torch_internals import available, dispatch_modes


class Plain(torch.Tensor):
    pass


class Heard(torch.Tensor):
    """Wraps a tensor, and notes every operator."""

    seen: list[str] = []  # noqa: RUF012
    inner: torch.Tensor

    @staticmethod
    def __new__(cls: Any, inner: torch.Tensor) -> Any:
        made = torch.Tensor._make_wrapper_subclass(cls, inner.shape, dtype=inner.dtype)
        made.inner = inner
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        cls.seen.append(str(func))
        return Heard(func(*(getattr(each, "inner", each) for each in args), **(kwargs or {})))


def _tangent() -> list[Any]:
    torch.manual_seed(0)
    norm, x = nn.LayerNorm(6), torch.randn(3, 6)
    with forward_ad.dual_level():
        found = forward_ad.unpack_dual(norm(forward_ad.make_dual(x, torch.randn(3, 6)))).tangent
    jvp = torch.func.jvp(lambda x: nn.functional.layer_norm(x, (6,)), (x,), (torch.randn(3, 6),))[1]
    return [found.tolist(), jvp.tolist()]


def _subclasses() -> list[Any]:
    made = [Plain([1.0, 2.0]), Plain(torch.ones(2)), Plain(), torch.Tensor.__new__(Plain, [2.0]), torch.Tensor([1.0])]
    return [(type(each).__name__, each.tolist()) for each in made]


def _versions() -> list[Any]:
    several = [torch.ones(2) for _ in range(2)]
    torch._foreach_add_(several, 1.0)
    torch._foreach_addcdiv_(several, several, several)
    return [each._version for each in several]


def _modified_in_place() -> list[Any]:
    torch.manual_seed(0)
    layer = nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(layer.parameters(), foreach=True)
    loss = layer(layer(torch.ones(1, 2))).sum()
    loss.backward(retain_graph=True)
    optimizer.step()
    try:
        loss.backward()
    except RuntimeError as error:
        return [str(error)]
    return []


def _heard() -> list[Any]:
    Heard.seen = []
    x = Heard(torch.ones(2, 2))
    torch.Tensor.view(x, 4)
    torch.Tensor.relu(x)
    x.detach()
    _ = x.data, nn.Parameter(x)
    return Heard.seen


def _traced_numbers() -> list[Any]:
    traced = torch.jit.trace(lambda x: x * 2.5 + torch.add(x, 3)[0] / 4, torch.ones(3))
    half = torch.ones(2, dtype=torch.half)
    return [
        str(traced.graph),
        traced.code,
        str((2.5 * half).dtype),
        str((1 - half).dtype),
        str(torch.ones(2).int() * 2.5),
    ]


@pytest.mark.parametrize("act", [_traced_numbers, _tangent, _subclasses, _versions, _modified_in_place, _heard])
def test_it_is_the_same_run(record: Any, act: Callable[[], list[Any]]) -> None:
    alone = act()
    found: list[list[Any]] = []
    record(lambda: found.append(act()), audit=True)
    assert found == [alone]
    assert alone


@pytest.mark.skipif(not available("CustomOpDef"), reason="custom operators in Python are there since torch 2.4")
def test_a_custom_operator_counts_its_writes_as_alone(record: Any) -> None:
    @torch.library.custom_op(f"under_a_mode{id(record)}::increase", mutates_args=("x",))
    def increase(x: torch.Tensor) -> None:
        x.add_(1)

    def act() -> int:
        x = torch.zeros(2)
        increase(x)
        return int(x._version)

    alone = act()
    found: list[int] = []
    record(lambda: found.append(act()), audit=True)
    assert found == [alone]


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_the_mode_is_there_again_afterwards(record: Any) -> None:
    kinds: list[list[type]] = []

    def note() -> None:
        kinds.append([type(mode) for mode in dispatch_modes()])

    def act() -> None:
        note()
        with forward_ad.dual_level():
            note()
            Plain([1.0])
            note()
        torch.jit.trace(lambda x: note() or x + 1, torch.ones(1), check_trace=False)
        note()

    before = torch.Tensor.__new__
    record(act, audit=True)
    assert [len(each) for each in kinds] == [1, 0, 0, 0, 1]
    assert kinds[0][0].__module__ == sys.modules[Audit.__module__].__name__
    assert torch.Tensor.__new__ is before
    assert dispatch_modes() == []


_NEUTRAL = """
import os, sys, warnings, torch
from pathlib import Path
from dump.config import DumpConfig
from dump.session import Session
before = warnings.filters[:], dict(os.environ)
session = Session(DumpConfig(dump_path=Path(sys.argv[1]), audit=True))
session.start()
Own = type("Own", (torch.Tensor,), {})
Own(torch.ones(2))
assert "torch._dynamo" not in sys.modules
assert (warnings.filters[:], dict(os.environ)) == before
compiled = torch.compile(lambda x: Own(x) + 1, backend="eager", fullgraph=True)
session.close()
assert torch.equal(compiled(torch.ones(2)), torch.full((2,), 2.0))
"""


@pytest.mark.slow
@pytest.mark.skipif(release(torch.__version__) < (2, 8), reason="dynamo of torch 2.7 makes no tensor of a subclass")
def test_dynamo_is_not_imported_and_knows_torchs_functions_where_the_script_imports_it(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", _NEUTRAL, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
