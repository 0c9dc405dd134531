"""A loop of accelerate's users: the prepared model, gradients accumulated and clipped, one debugger around it."""

import common
import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch.utils.data import DataLoader, TensorDataset
from transformers import GPT2Config, GPT2LMHeadModel


def main():
    set_seed(5)
    debugger = common.debugger()
    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=2, mixed_precision="bf16")
    model = GPT2LMHeadModel(GPT2Config(vocab_size=64, n_positions=16, n_embd=16, n_layer=2, n_head=2))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    ids = torch.randint(64, (8, 12), generator=torch.Generator().manual_seed(3))
    model, optimizer, loader = accelerator.prepare(model, optimizer, DataLoader(TensorDataset(ids), batch_size=2))
    model.train()
    for (batch,) in loader:
        debugger.start(model=model)
        with accelerator.accumulate(model):
            loss = model(input_ids=batch, labels=batch).loss
            accelerator.backward(loss)
            if accelerator.sync_gradients:
                accelerator.clip_grad_norm_(model.parameters(), 1.0)
            common.keep(loss)
            optimizer.step()
            optimizer.zero_grad()
        debugger.stop()
        debugger.step()
    common.keep_training(model)
    common.tell()


if __name__ == "__main__":
    main()
