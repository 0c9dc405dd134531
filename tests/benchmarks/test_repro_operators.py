"""A reproduction of each operator that the localisation benchmark spoils shows the fault, and only while it lasts."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils._pytree import tree_map

from acc_compare.replay.repro import find_and_write
from acc_compare.replay.run import replay
from acc_compare.replay.wanted import Wanted
from benchmarks.localisation.faults import FAULTS
from dump.config import DumpConfig
from dump.session import Session

pytestmark = [
    pytest.mark.skipif(not hasattr(torch.library, "get_kernel"), reason="kernels are had from torch 2.9 on"),
    pytest.mark.filterwarnings("ignore:(?s).*overridden:UserWarning"),
]

NOT_IN_A_CALL = {
    "c10d::allreduce_": "a collective",
    "aten::addcdiv_": "an optimizer's step",
    "aten::_amp_foreach_non_finite_check_and_unscale_": "the scaler's step over all gradients",
    "aten::add_.Tensor": "of autograd's, where gradients add up between calls",
}
"""Kernels that no call of its own launches, so that none can be written."""


def x(*shape: int, grad: bool = True) -> torch.Tensor:
    found = torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape))) + 0.1
    return found.requires_grad_(grad)


def through(net: nn.Module, *shape: int) -> torch.Tensor:
    found: torch.Tensor = net(x(*shape))[0]
    return found


ROWS = torch.tensor([1, 0, 3])
CALLS: Mapping[str, Callable[[], torch.Tensor]] = {
    "aten::_log_softmax_backward_data": lambda: F.cross_entropy(x(4, 5), torch.tensor([0, 1, 2, 3])),
    "aten::_scaled_dot_product_flash_attention_for_cpu": lambda: F.scaled_dot_product_attention(*attended()),
    "aten::_scaled_dot_product_flash_attention_for_cpu_backward": lambda: F.scaled_dot_product_attention(*attended()),
    "aten::_softmax": lambda: F.softmax(x(3, 5), -1),
    "aten::_softmax_backward_data": lambda: F.softmax(x(3, 5), -1),
    "aten::add_.Scalar": lambda: F.rms_norm(x(3, 8), (8,), x(8)),
    "aten::addmm": lambda: F.linear(x(3, 4), x(5, 4), x(5)),
    "aten::avg_pool2d": lambda: F.avg_pool2d(x(1, 2, 4, 4), 2),
    "aten::bmm": lambda: torch.matmul(x(2, 3, 4), x(2, 4, 5)),
    "aten::cat": lambda: torch.cat([x(2, 3), x(4, 3)]),
    "aten::convolution": lambda: F.conv2d(x(1, 2, 5, 5), x(3, 2, 3, 3), x(3)),
    "aten::convolution_backward": lambda: F.conv2d(x(1, 2, 5, 5), x(3, 2, 3, 3), x(3)),
    "aten::elu": lambda: F.elu(x(3, 4)),
    "aten::embedding": lambda: F.embedding(ROWS, x(4, 3)),
    "aten::embedding_dense_backward": lambda: F.embedding(ROWS, x(4, 3)),
    "aten::gelu": lambda: F.gelu(x(3, 4)),
    "aten::gelu_backward": lambda: F.gelu(x(3, 4)),
    "aten::hardswish": lambda: F.hardswish(x(3, 4)),
    "aten::index.Tensor": lambda: x(4, 3)[ROWS],
    "aten::index_add": lambda: x(4, 3, grad=False).index_add(0, ROWS, x(3, 3)),
    "aten::leaky_relu": lambda: F.leaky_relu(x(3, 4), 0.2),
    "aten::max_pool2d_with_indices": lambda: F.max_pool2d(x(1, 2, 4, 4), 2),
    "aten::max_pool2d_with_indices_backward": lambda: F.max_pool2d(x(1, 2, 4, 4), 2),
    "aten::mean.dim": lambda: F.rms_norm(x(3, 8), (8,), x(8)),
    "aten::mkldnn_rnn_layer": lambda: through(nn.LSTM(4, 3), 2, 1, 4),
    "aten::mkldnn_rnn_layer_backward": lambda: through(nn.LSTM(4, 3), 2, 1, 4),
    "aten::mm": lambda: F.linear(x(3, 4), x(5, 4)),
    "aten::native_batch_norm": lambda: F.batch_norm(x(4, 3, 2, 2), None, None, x(3), x(3), training=True),
    "aten::native_group_norm": lambda: F.group_norm(x(2, 4, 3), 2, x(4), x(4)),
    "aten::native_layer_norm": lambda: F.layer_norm(x(3, 8), (8,), x(8), x(8)),
    "aten::native_layer_norm_backward": lambda: F.layer_norm(x(3, 8), (8,), x(8), x(8)),
    "aten::sigmoid_": lambda: through(nn.GRU(4, 3), 2, 1, 4),
    "aten::silu": lambda: F.silu(x(3, 4)),
    "aten::silu_backward": lambda: F.silu(x(3, 4)),
    "aten::smooth_l1_loss": lambda: F.smooth_l1_loss(x(3, 4), x(4, 3).detach().T),
    "aten::softplus": lambda: F.softplus(x(3, 4)),
    "aten::sum.dim_IntList": lambda: torch.sum(x(3, 4), 1),
    "aten::tanh": lambda: torch.tanh(x(3, 4)),
    "aten::tanh_backward": lambda: torch.tanh(x(3, 4)),
    "aten::topk": lambda: x(3, 6).topk(2)[0],
}
"""By the kernel that is at fault, a call that launches it, forward or on the way back."""


def attended() -> list[torch.Tensor]:
    return [x(1, 2, 4, 8), x(1, 2, 5, 8), x(1, 2, 5, 8)]


@contextmanager
def at_fault(operator: str) -> Iterator[None]:
    """What the CPU's kernel of `operator` makes is one in a hundred too large, in float32."""
    namespace, _, name = operator.partition("::")
    genuine: Any = torch.library.get_kernel(operator, "CPU")  # type: ignore[attr-defined]

    def scaled(made: Any) -> Any:
        if not isinstance(made, torch.Tensor) or made.dtype != torch.float32 or not made.numel():
            return made
        with torch.no_grad():
            return made.mul_(1.01)

    def run(keyset: Any, *arguments: Any, **keywords: Any) -> Any:
        return tree_map(scaled, genuine.call_boxed(keyset, *arguments, **keywords))

    library = torch.library.Library(namespace, "IMPL")
    library.impl(name, run, "CPU", with_keyset=True)
    try:
        yield
    finally:
        library._destroy()


def recorded(call: Callable[[], torch.Tensor], folder: Path) -> Path:
    session = Session(DumpConfig(task="tensor", dump_path=folder, extra_info=False))
    session.start([])
    try:
        made = call()
        made.backward(x(*made.shape, grad=False))  # ones would cancel on their way through a softmax
    finally:
        session.close()
        session.remove()
    assert session.failure is None
    return session.written[0].folder


def told_by(script: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[object, str]:
    """The exit code of a reproduction and what it prints."""
    monkeypatch.setattr(sys, "argv", [str(script), "cpu"])
    printed, before = StringIO(), torch.get_default_dtype()
    try:
        with redirect_stdout(printed), pytest.raises(SystemExit) as ended:
            runpy.run_path(str(script), run_name="__main__")
    finally:
        torch.set_default_dtype(before)
    return ended.value.code, printed.getvalue()


def test_no_operator_of_the_benchmark_is_left_out() -> None:
    planted = {kernel.operator for case in FAULTS for kernel in case.npu.kernels}
    assert planted == {*CALLS, *NOT_IN_A_CALL}


@pytest.mark.parametrize("operator", CALLS)
def test_its_reproduction_shows_the_fault(operator: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(1)
    with at_fault(operator):
        folder = recorded(CALLS[operator], tmp_path / "dump")
    confirmed = replay(folder, Wanted()).of("confirmed")
    assert [call.operator for call in confirmed][1:] == []
    script = tmp_path / "repro" / "repro.py"
    find_and_write(folder, confirmed[0].name, script.parent, step=None, rank=None)
    mended, text = told_by(script, monkeypatch)
    assert (mended, "as recorded" in text, "WRONG" in text) == (0, True, True)
    with at_fault(operator):
        wrong, text = told_by(script, monkeypatch)
    assert wrong == 1, text
