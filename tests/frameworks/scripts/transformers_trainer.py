"""transformers' Trainer, which is accelerate's loop, with a callback that starts, stops and steps the debugger."""

import common
import torch
from torch.utils.data import Dataset
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainerCallback, TrainingArguments, set_seed


class Tokens(Dataset):
    """Random token ids."""

    def __init__(self):
        self.ids = torch.randint(64, (8, 12), generator=torch.Generator().manual_seed(3))

    def __len__(self):
        return len(self.ids)

    def __getitem__(self, number):
        return {"input_ids": self.ids[number], "labels": self.ids[number]}


class Probe(TrainerCallback):
    """Records every step of the training, as users of msprobe write it."""

    def __init__(self, debugger):
        self.debugger = debugger

    def on_step_begin(self, args, state, control, model=None, **kwargs):
        self.debugger.start(model=model)

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        common.keep_training(model)

    def on_step_end(self, args, state, control, **kwargs):
        self.debugger.stop()
        self.debugger.step()


def main():
    set_seed(5)
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        attention_dropout=0.1,
    )
    arguments = TrainingArguments(
        output_dir="trainer",
        per_device_train_batch_size=2,
        gradient_accumulation_steps=2,
        max_steps=2,
        report_to=[],
        save_strategy="no",
        use_cpu=True,
        disable_tqdm=True,
    )
    model = LlamaForCausalLM(config)
    Trainer(model=model, args=arguments, train_dataset=Tokens(), callbacks=[Probe(common.debugger())]).train()
    common.keep_training(model)
    common.tell()


if __name__ == "__main__":
    main()
