"""What is explained is cleared and not more: all that cancels, long sums, and results of which others are as right."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from acc_compare.messages import say

from .conftest import Record, again, draw, rewrite, the_call, verdicts


def cancelled() -> None:
    F.layer_norm(draw(3, 7), (7,)).backward(draw(7, grad=False)[:1].expand(3, 7))


def test_where_all_cancels_there_is_nothing_but_roundings(record: Record) -> None:
    folder = record(cancelled)
    (tensor,) = the_call(again(folder), "Functional.layer_norm.0.backward").tensors
    assert (tensor.recorded.wrong, tensor.recorded.relative > 1e6) == (False, True)
    rewrite(folder, "Functional.layer_norm.0.backward.output.0", lambda array: array + 1e-4)
    assert verdicts(again(folder))["Functional.layer_norm.0.backward"] == "elsewhere"


def test_a_large_condition_is_no_cancellation(record: Record) -> None:
    """A rounding of float32 moves the difference by more than itself, one of float64 does not."""

    def act() -> None:
        x = draw(64, grad=False)
        torch.cdist(x[:, None] + 1e4, torch.nextafter(x + 1e4, x + 2e4)[:, None])

    folder = record(act)
    assert verdicts(again(folder, "Torch.cdist")) == {"Torch.cdist.0.forward": "cleared"}
    rewrite(folder, "Torch.cdist.0.forward.output.0", lambda array: array * 100)
    assert verdicts(again(folder, "Torch.cdist")) == {"Torch.cdist.0.forward": "elsewhere"}


def factorised() -> None:
    torch.linalg.qr(draw(4, 4))[1].sum().backward()
    torch.linalg.svd(draw(5, 5))[1].sum().backward()


def test_where_other_results_are_as_right_they_are_left_out(record: Record) -> None:
    folder = record(factorised)
    result = again(folder)
    told = {call.name: {tensor.name for tensor in call.tensors} for call in result.calls if "linalg" in call.name}
    assert told == {
        "Torch.linalg.qr.0.forward": set(),
        "Torch.linalg.qr.0.backward": set(),
        "Torch.linalg.svd.0.forward": {"output.1"},
        "Torch.linalg.svd.0.backward": {"output.0"},
    }
    assert the_call(result, "Torch.linalg.qr.0.backward").reason == say("replay.reason.not_unique")
    assert not result.of("confirmed")
    rewrite(folder, "Torch.linalg.svd.0.forward.output.1", lambda array: array * 1.001)
    assert the_call(again(folder), "Torch.linalg.svd.0.forward").verdict == "confirmed"


def test_a_gradient_that_many_elements_share_is_a_long_sum(record: Record) -> None:
    def act() -> None:
        rows = draw(8_000, 4, grad=False)
        F.layer_norm(rows, (4,), draw(4), draw(4)).backward(rows.abs() - 0.8)

    folder = record(act)
    gradients = the_call(again(folder), "Functional.layer_norm.0.backward").tensors
    assert [gradient.recorded.wrong for gradient in gradients] == [False, False]
    assert all(gradient.recorded.relative > 6 * 2.0**-24 for gradient in gradients)
    rewrite(folder, "Functional.layer_norm.0.backward.output.2", lambda array: array * 1.001)
    assert verdicts(again(folder))["Functional.layer_norm.0.backward"] == "elsewhere"


def test_gradients_that_are_zeros_without_memory(record: Record) -> None:
    folder = record(lambda: torch.sgn(draw(20, 20)).backward(draw(20, 20, grad=False)))
    assert verdicts(again(folder)) == {"Torch.sgn.0.forward": "cleared", "Torch.sgn.0.backward": "cleared"}


def test_a_gradient_in_a_narrow_type_is_put_together(record: Record) -> None:
    """Of exp(-x^2) the square is rounded to bfloat16, which is an eighth of the result."""
    x = torch.tensor([8.6, -8.3, 8.9, 8.2], dtype=torch.bfloat16, requires_grad=True)
    gradient = torch.tensor([0.5, 1.0, 2.0, 1.5], dtype=torch.bfloat16)
    folder = record(lambda: torch.erfc(x).backward(gradient))
    (tensor,) = the_call(again(folder), "Torch.erfc.0.backward").tensors
    assert not tensor.recorded.wrong
    assert tensor.recorded.relative > 4 * 2.0**-8
