"""The train step of torchtitan's Trainer, with its model, loss, optimizers and schedule; the model is a list."""

import dataclasses

import common
import torch
from torchtitan.components.loss import IGNORE_INDEX, CrossEntropyLoss
from torchtitan.components.optimizer import LRSchedulersContainer, default_adamw
from torchtitan.distributed.utils import clip_grad_norm_
from torchtitan.models.common.attention import ScaledDotProductAttention
from torchtitan.models.llama3 import model_registry


def main():
    torch.manual_seed(5)
    config = model_registry("debugmodel").model
    layers = config.layers[:2]
    for layer in layers:  # flex attention, which it takes by itself, has no backward on the CPU
        layer.attention.inner_attention = ScaledDotProductAttention.Config()
    config = dataclasses.replace(config, layers=layers)
    model = config.build()
    model.to_empty(device="cpu")
    with torch.no_grad():
        model.init_weights(buffer_device=None)
    model.train()
    parts = [model]
    optimizers = default_adamw(lr=1e-3).build(model_parts=parts)
    schedulers = LRSchedulersContainer.Config(warmup_steps=1).build(optimizers=optimizers, training_steps=4)
    loss_of = CrossEntropyLoss.Config().build()
    debugger = common.debugger()
    for step in range(2):
        tokens = torch.randint(2048, (2, 17), generator=torch.Generator().manual_seed(step))
        inputs, labels = tokens[:, :-1], tokens[:, 1:]
        positions = torch.arange(16).expand(2, -1)
        debugger.start(model=parts)
        optimizers.zero_grad()
        loss, _ = loss_of(parts[0](inputs, positions=positions), labels, (labels != IGNORE_INDEX).sum())
        loss.backward()
        norm = clip_grad_norm_([parameter for part in parts for parameter in part.parameters()], 1.0, foreach=True)
        common.keep(loss, norm)
        common.keep_training(model)
        optimizers.step()
        schedulers.step()
        debugger.stop()
        debugger.step()
    common.keep_training(model)
    common.tell()


if __name__ == "__main__":
    main()
