"""A script's signal handler that raises is heard, whatever Python ran when the signal came."""

from __future__ import annotations

import functools
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import nn

from dump.intercept import calls, modules
from dump.intercept.signals import is_from_a_handler


class TooLate(Exception):
    pass


def _raise(*_: Any) -> None:
    raise TooLate


class _Handler:
    def __call__(self, *_: Any) -> None:
        raise TooLate

    def method(self, *_: Any) -> None:
        raise TooLate


@pytest.fixture
def handled() -> Iterator[Callable[[Any], None]]:
    before = signal.getsignal(signal.SIGUSR1)
    yield lambda handler: signal.signal(signal.SIGUSR1, handler) and None
    signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize("handler", [_raise, _Handler(), _Handler().method, functools.partial(_raise, 1)])
def test_a_handler_of_any_kind_is_known(handled: Any, handler: Any) -> None:
    handled(handler)
    with pytest.raises(TooLate) as caught:
        signal.raise_signal(signal.SIGUSR1)
    assert is_from_a_handler(caught.value)
    with pytest.raises(TooLate) as caught:
        raise TooLate
    assert not is_from_a_handler(caught.value)


@pytest.mark.parametrize(("owner", "name"), [(calls, "begin"), (calls, "finish"), (modules.ModuleCalls, "enter")])
def test_it_is_raised_from_within_our_work_and_recording_goes_on(
    record: Any, handled: Any, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str
) -> None:
    handled(_raise)
    layer, works = nn.Linear(2, 2), getattr(owner, name)
    sent: list[bool] = []

    def interrupted(*args: Any, **kwargs: Any) -> Any:
        found = works(*args, **kwargs)
        if not sent:
            sent.append(True)
            signal.raise_signal(signal.SIGUSR1)
        return found

    monkeypatch.setattr(owner, name, interrupted)

    def act() -> None:
        with pytest.raises(TooLate):
            layer(torch.ones(1, 2))
        layer(torch.ones(1, 2))
        torch.exp(torch.ones(1))

    dump = record(act, level="mix")
    assert sent
    assert dump.dump.owners["Torch.exp.0.forward"] is None
    assert any(name.startswith("Module.Linear.forward") for name in dump.names)
    assert "Functional.linear.0.forward" in dump.names
