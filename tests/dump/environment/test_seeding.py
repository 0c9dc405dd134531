from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from dump.environment import seeding
from dump.environment.seeding import deterministic, remove_dropout, seed_all

VARIABLES = ("PYTHONHASHSEED", "HCCL_DETERMINISTIC", *seeding._LIBRARIES)


@pytest.fixture(autouse=True)
def _everything_restored() -> Iterator[None]:
    functions = {name: getattr(F, name) for name in seeding._DROPOUTS}
    variables = {name: os.environ.get(name) for name in VARIABLES}
    was = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    cudnn = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    yield
    for name, function in functions.items():
        setattr(F, name, function)
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    torch.use_deterministic_algorithms(was[0], warn_only=was[1])
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = cudnn
    random.setstate(states[0])
    np.random.set_state(states[1])
    torch.set_rng_state(states[2])


def _draws() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), float(torch.rand(()))


def test_one_seed_fixes_every_generator() -> None:
    seed_all(7)
    first = _draws()
    seed_all(7)
    assert _draws() == first
    seed_all(8)
    assert all(a != b for a, b in zip(_draws(), first, strict=True))
    assert os.environ["PYTHONHASHSEED"] == "8"


def test_the_call_that_scripts_for_msprobe_make() -> None:
    seed_all(1234, True, True)
    assert torch.are_deterministic_algorithms_enabled()
    assert F.dropout(torch.ones(50)).tolist() == [1.0] * 50


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_that_numpy_cannot_take_is_refused(seed: int) -> None:
    with pytest.raises(ValueError, match=f"found {seed}"):
        seed_all(seed)


@pytest.mark.parametrize("seed", [0, 2**32 - 1])
def test_the_outermost_seeds(seed: int) -> None:
    seed_all(seed)


def test_seeding_alone_asks_for_nothing_else() -> None:
    before = torch.are_deterministic_algorithms_enabled(), F.dropout
    seed_all(1)
    assert (torch.are_deterministic_algorithms_enabled(), F.dropout) == before


def test_deterministic(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    for variable in ("HCCL_DETERMINISTIC", "LCCL_DETERMINISTIC", "CLOSE_MATMUL_K_SHIFT", "ATB_MATMUL_SHUFFLE_K_ENABLE"):
        monkeypatch.delenv(variable, raising=False)
    torch.backends.cudnn.benchmark = True
    deterministic()
    assert torch.are_deterministic_algorithms_enabled()
    assert torch.is_deterministic_algorithms_warn_only_enabled()
    assert torch.backends.cudnn.deterministic
    assert not torch.backends.cudnn.benchmark
    assert os.environ["HCCL_DETERMINISTIC"] == "TRUE"
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"  # the user's own choice stays
    assert os.environ["LCCL_DETERMINISTIC"] == os.environ["CLOSE_MATMUL_K_SHIFT"] == "1"
    assert os.environ["ATB_MATMUL_SHUFFLE_K_ENABLE"] == "0"


X = torch.arange(1.0, 49.0).view(2, 2, 3, 4)
CALLS: dict[str, Callable[[], torch.Tensor]] = {
    "by default": lambda: F.dropout(X),
    "by place": lambda: F.dropout(X, 0.9, True),
    "by keyword": lambda: F.dropout(X, p=0.9, training=True),
    "all by keyword": lambda: F.dropout(input=X, p=0.9),
    "1d": lambda: F.dropout1d(X[0], 0.9),
    "2d": lambda: F.dropout2d(X, 0.9),
    "3d": lambda: F.dropout3d(X[None], 0.9)[0],
    "alpha": lambda: F.alpha_dropout(X, 0.9, training=True),
    "feature alpha": lambda: F.feature_alpha_dropout(X, 0.9, training=True),
    "layer": lambda: torch.nn.Dropout(0.9)(X),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_dropout_drops_until_it_is_removed(call: Callable[[], torch.Tensor]) -> None:
    torch.manual_seed(0)
    assert not torch.equal(call().view(-1), X.view(-1)[: call().numel()])
    remove_dropout()
    before = torch.get_rng_state()
    kept = call()
    assert torch.equal(kept.view(-1), X.view(-1)[: kept.numel()])
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("arguments", [(X, X, X, None, 0.5), (X, X, X)], ids=["by place", "by keyword"])
def test_the_dropout_of_attention_is_removed(arguments: tuple[torch.Tensor, ...]) -> None:
    keywords = {} if len(arguments) == 5 else {"dropout_p": 0.5}
    expected = F.scaled_dot_product_attention(X, X, X)
    torch.manual_seed(0)
    assert not torch.equal(F.scaled_dot_product_attention(*arguments, **keywords), expected)
    remove_dropout()
    assert torch.equal(F.scaled_dot_product_attention(*arguments, **keywords), expected)


def test_in_place_is_still_in_place() -> None:
    remove_dropout()
    x = torch.ones(3)
    assert F.dropout(x, 0.5, True, True) is x


def test_removing_twice_wraps_once() -> None:
    remove_dropout()
    first = F.dropout
    remove_dropout()
    assert F.dropout is first


def test_a_function_that_somebody_else_wrapped_is_no_exception(monkeypatch: pytest.MonkeyPatch) -> None:
    original = F.dropout

    def watching(*args: object, **kwargs: object) -> torch.Tensor:
        return original(*args, **kwargs)  # type: ignore[arg-type]

    watching.__wrapped__ = original  # type: ignore[attr-defined]
    monkeypatch.setattr(F, "dropout", watching)
    remove_dropout()
    assert torch.equal(F.dropout(X, 0.9), X)


def test_what_would_change_the_run_is_refused() -> None:
    with pytest.raises(ValueError, match="is_enhanced would change the run"):
        seed_all(1, is_enhanced=True)
