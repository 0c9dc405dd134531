"""On a device, recording statistics must not make the training thread wait for it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from dump.config import DumpConfig
from dump.record import batched
from dump.session import Session

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU: only there can waiting be refused")


@pytest.mark.parametrize("level", ["L0", "L1", "mix"])
def test_a_recorded_step_never_waits_for_the_device(level: str, tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(64, 64), nn.LayerNorm(64), nn.GELU(), nn.Linear(64, 8)).cuda()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    x = torch.randn(16, 64, device="cuda")

    def train(session: Session, mode: str) -> None:
        session.start([model])
        torch.cuda.set_sync_debug_mode(mode)
        try:
            optimizer.zero_grad()
            model(x).square().mean().backward()
            optimizer.step()
        finally:
            torch.cuda.set_sync_debug_mode("default")
        session.stop()
        session.step()

    session = Session(DumpConfig(dump_path=tmp_path, level=level))  # type: ignore[arg-type]
    try:
        train(session, "default")  # libraries of the device wait when they are loaded
        batched._constants_on.clear()
        train(session, "error")
    finally:
        session.close()
    text = (session.written[1].folder / "dump.json").read_text(encoding="utf-8")
    assert '"not_recordable":{},"failed":{}' in text
    assert text.count('"sketch"') > 10


def test_the_proof_notices_a_wait() -> None:
    torch.cuda.set_sync_debug_mode("error")
    try:
        with pytest.raises(RuntimeError, match="synchroniz"):
            torch.ones(1, device="cuda").item()
    finally:
        torch.cuda.set_sync_debug_mode("default")
