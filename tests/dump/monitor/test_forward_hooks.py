"""Our hooks on a module are neither saved nor copied with it, and the user's are."""

from __future__ import annotations

import copy
import io
import pickle
from typing import Any

import pytest
import torch

from dump.monitor.forward_hooks import ForwardHook


def _theirs(module: Any, args: Any, kwargs: Any, output: Any) -> None:
    """A hook that can be pickled."""


def _saved(model: torch.nn.Module) -> bytes:
    file = io.BytesIO()
    torch.save(model, file)
    return file.getvalue()


@pytest.fixture
def model() -> torch.nn.Module:
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Tanh())
    model[1].register_forward_hook(_theirs, with_kwargs=True, always_call=True)
    return model


def test_a_watched_model_is_saved_and_copied_as_it_is_alone(model: torch.nn.Module) -> None:
    alone, pickled = _saved(model), pickle.dumps(model)
    seen: list[str] = []
    hooks = [
        ForwardHook(model[1], lambda *_: seen.append("after"), before=False),
        ForwardHook(model[1], lambda *_: seen.append("before"), before=True),
        ForwardHook(model, lambda *_: seen.append("whole"), before=True, kwargs=False),
    ]
    assert _saved(model) == alone
    assert pickle.dumps(model) == pickled
    twin = copy.deepcopy(model)
    twin(torch.ones(1, 2))
    assert seen == []
    assert list(twin[1]._forward_hooks.values()) == [_theirs]
    model(torch.ones(1, 2))
    assert seen == ["whole", "before", "after"]
    for hook in hooks:
        hook.remove()


def test_torch_is_as_it_was_once_the_last_hook_is_gone(model: torch.nn.Module) -> None:
    before = torch.nn.Module.__reduce_ex__
    first, second = (ForwardHook(model, lambda *_: None, before=True) for _ in range(2))
    assert torch.nn.Module.__reduce_ex__ is not before
    first.remove()
    assert torch.nn.Module.__reduce_ex__ is not before
    second.remove()
    assert torch.nn.Module.__reduce_ex__ is before
    assert "__reduce_ex__" not in vars(torch.nn.Module)


def test_a_module_that_says_itself_what_is_saved_of_it() -> None:
    hook = ForwardHook(module := _Own(), lambda *_: None, before=False)
    assert pickle.loads(pickle.dumps(module)).kept == 7
    hook.remove()


class _Own(torch.nn.Module):
    kept = 3

    def __reduce__(self) -> Any:
        return _made, ()


def _made() -> _Own:
    made = _Own()
    made.kept = 7
    return made
