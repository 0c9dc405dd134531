"""What parameters are called that calls give by their place, as torch itself calls them."""

from __future__ import annotations

import inspect

import pytest
from torch.overrides import get_testing_overrides

from acc_compare.operators.places import _NAMES, parameter_at

_SIGNATURES: dict[str, list[tuple[str, ...]]] = {}
for _function, _stand_in in get_testing_overrides().items():
    _names = tuple(inspect.signature(_stand_in).parameters)
    _SIGNATURES.setdefault(getattr(_function, "__name__", ""), []).append(_names)


@pytest.mark.parametrize("operator", sorted(_NAMES))
def test_torch_calls_them_so(operator: str) -> None:
    if operator not in _SIGNATURES:
        pytest.skip("not in this torch")
    names = _NAMES[operator]
    assert any(all(map(str.__eq__, names, theirs)) for theirs in _SIGNATURES[operator])


@pytest.mark.parametrize(
    ("operator", "argument", "parameter"),
    [
        ("conv2d", "input.3.1", "stride"),
        ("softmax", "input.1", "dim"),
        ("softmax", "input.2", ""),
        ("gelu", "input.approximate", ""),
        ("layer_norm", "output.0", ""),
    ],
)
def test_a_place_within_an_argument_is_that_argument(operator: str, argument: str, parameter: str) -> None:
    assert parameter_at(operator, argument) == parameter
