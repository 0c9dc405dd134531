"""Two networks, two losses, two optimizers in turn: a small GAN with batch norm and leaky ReLU."""

from __future__ import annotations

import setting
import torch
from setting import VARIANT
from torch import nn
from torch.nn import functional as F

NOISE, SIZE, BATCH = 8, 24, 16

torch.manual_seed(setting.SEED)


class Generator(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(NOISE, 32), nn.BatchNorm1d(32), nn.Linear(32, SIZE)

    def forward(self, noise: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.last(F.leaky_relu(self.norm(self.first(noise)), 0.2)))


class Judge(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.middle, self.last = nn.Linear(SIZE, 32), nn.Linear(32, 32), nn.Linear(32, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.elu(self.middle(F.leaky_relu(self.first(x), 0.2)))
        return self.last(x).squeeze(-1)


class Pair(nn.Module):
    """One step for both: the judge's loss, then the generator's."""

    def __init__(self) -> None:
        super().__init__()
        self.generator, self.judge = Generator(), Judge()

    def forward(self, real: torch.Tensor, noise: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        fake = self.generator(noise)
        seen = self.judge(fake.detach())
        judged = F.softplus(-self.judge(real)).mean() + F.softplus(seen).mean()
        return judged, F.softplus(-self.judge(fake)).mean()


pair = setting.place(Pair())
of_judge = torch.optim.Adam(pair.judge.parameters(), lr=2e-3, betas=(0.5, 0.999))
of_generator = torch.optim.Adam(
    pair.generator.parameters(), lr=2e-3, betas=(0.9 if VARIANT == "wrong_generator_beta" else 0.5, 0.999)
)
data = setting.Data()
for step in range(setting.STEPS):
    with setting.autocast():
        judged, made = pair(data.normal(BATCH, SIZE).tanh(), data.normal(BATCH, NOISE))
    wanted_by_judge = torch.autograd.grad(judged, list(pair.judge.parameters()), retain_graph=True)
    of_generator.zero_grad()
    of_judge.zero_grad()
    made.backward()
    for parameter, gradient in zip(pair.judge.parameters(), wanted_by_judge, strict=True):
        parameter.grad = gradient
    of_judge.step()
    of_generator.step()
    print(step, judged.item(), made.item())
