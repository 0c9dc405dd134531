"""A small training step, computed in numpy, in which one thing can be wrong."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from acc_compare.model import Finding

Change = Callable[[Any], Any]


def _gelu(x: Any) -> Any:
    cubic: Any = (
        x.dtype.type(0.5) * x * (1 + np.tanh(x.dtype.type(np.sqrt(2 / np.pi)) * (x + x.dtype.type(0.044715) * x**3)))
    )
    return cubic


def _gelu_slope(x: Any) -> Any:
    """By central differences in float64: in float32 they would cancel more digits than a kernel loses."""
    wide = x.astype("f8")
    return ((_gelu(wide + 1e-5) - _gelu(wide - 1e-5)) / 2e-5).astype("f4")


class Network:
    """embed -> linear -> gelu -> linear -> mean (the loss), forward, the same backward, and SGD.

    `faults` maps a call's name to what is done to its output.  `noise` is the relative error that each call adds:
    another device's rounding.
    """

    def __init__(
        self, make: Any, *, noise: float = 0.0, seed: int = 0, mode: str = "statistics", **header: Any
    ) -> None:
        self.run = make.Run(mode=mode, **header)
        self._make = make
        self._noise = noise
        self._calls = 0
        self.x = make.normal(16, 32, seed=seed)
        self.w1 = self.run.parameter(make.normal(64, 32, seed=11) / np.float32(6))
        self.w2 = self.run.parameter(make.normal(8, 64, seed=12) / np.float32(8))

    def rounded(self, values: Any) -> Any:
        """A result as this device computes it: a new array, with this device's own rounding."""
        self._calls += 1
        return self._make.off(values.astype("f4"), self._noise, seed=1000 + self._calls)

    def step(self, faults: dict[str, Change] | None = None) -> Any:
        """Record one step; gives the run."""
        changes = faults or {}

        def call(name: str, args: list[Any], result: Any, **more: Any) -> Any:
            given = self.rounded(result)
            given = np.asarray(changes[name](given)) if name in changes else given
            if given.ndim == 0:
                self.run.mark(given, requires_grad=True)
            self.run.call(name, args, [given], **more)
            return given

        h = call(
            "Functional.linear.0.forward", [self.x, self.w1], self.x @ self.w1.T, owner="Module.fc1.Linear.forward.0"
        )
        a = call("Functional.gelu.0.forward", [h], _gelu(h), owner="Module.act.GELU.forward.0")
        y = call("Functional.linear.1.forward", [a, self.w2], a @ self.w2.T, owner="Module.fc2.Linear.forward.0")
        z = call("Torch.tanh.0.forward", [y], np.tanh(y))
        call("Tensor.mean.0.forward", [z], np.asarray(z.mean()))
        dz = call("Tensor.mean.0.backward", [np.ones((), "f4")], np.full_like(z, 1 / z.size))
        dy = call("Torch.tanh.0.backward", [dz], dz * (1 - z**2))
        da = call("Functional.linear.1.backward", [dy], dy @ self.w2)
        call("Functional.gelu.0.backward", [da], da * _gelu_slope(h))
        return self.run


@pytest.fixture
def network(make: Any) -> types.SimpleNamespace:
    """`network.compare({call: fault})` judges a faulty step on a device with its own rounding against a healthy one."""

    def compare(
        faults: dict[str, Change] | None = None,
        *,
        mode: str = "statistics",
        setting: dict[str, Any] | None = None,
        **of_npu: Any,
    ) -> Finding:
        noise = 0.0 if mode == "md5" else 1e-7
        npu = Network(make, **{"noise": noise, "mode": mode, **of_npu}).step(faults)
        bench = Network(make, mode=mode).step()
        return make.judged(npu, bench, **(setting or {}))  # type: ignore[no-any-return]

    return types.SimpleNamespace(compare=compare, Network=Network)
