"""One of torch_npu's own operators, forward and backward, and again by its overload and compiled."""

from __future__ import annotations

import torch
import torch_npu

torch.manual_seed(0)
x = torch.randn(2, 3, 8).npu().requires_grad_()
gamma = torch.rand(8).npu().requires_grad_()
y, _ = torch_npu.npu_rms_norm(x, gamma, epsilon=1e-5)
(y * torch.arange(8.0).npu()).sum().backward()

with torch.no_grad():
    again, _ = torch_npu.npu_rms_norm.default(x, gamma, epsilon=1e-5)
    print("default", torch.equal(again, y), torch_npu.npu_rms_norm is torch.ops.npu.npu_rms_norm)
    for backend in ("eager", "aot_eager"):
        compiled = torch.compile(lambda x: torch_npu.npu_rms_norm(x, gamma, epsilon=1e-5)[0], backend=backend)
        print(backend, torch.equal(compiled(x), y))
