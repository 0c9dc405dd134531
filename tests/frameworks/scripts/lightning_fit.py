"""Lightning's Trainer.fit, with a callback that starts, stops and steps the debugger."""

import common
import lightning
import torch
from torch.utils.data import DataLoader, TensorDataset


class Classifier(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.body = torch.nn.Sequential(
            torch.nn.Linear(8, 16), torch.nn.LayerNorm(16), torch.nn.GELU(), torch.nn.Dropout(0.1)
        )
        self.head = torch.nn.Linear(16, 4)

    def training_step(self, batch, number):
        images, target = batch
        loss = torch.nn.functional.cross_entropy(self.head(self.body(images)), target)
        common.keep(loss)
        return loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)


class Probe(lightning.Callback):
    """Records every batch, as users of msprobe write it."""

    def __init__(self, debugger):
        self.debugger = debugger

    def on_train_batch_start(self, trainer, module, batch, number):
        self.debugger.start(module)

    def on_before_optimizer_step(self, trainer, module, optimizer):
        common.keep_training(module)

    def on_train_batch_end(self, trainer, module, outputs, batch, number):
        self.debugger.stop()
        self.debugger.step()


def main():
    lightning.seed_everything(5, verbose=False)
    generator = torch.Generator().manual_seed(3)
    data = TensorDataset(torch.randn(8, 8, generator=generator), torch.randint(4, (8,), generator=generator))
    trainer = lightning.Trainer(
        max_epochs=1,
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[Probe(common.debugger())],
    )
    model = Classifier()
    trainer.fit(model, DataLoader(data, batch_size=4))
    common.keep_training(model)
    common.tell()


if __name__ == "__main__":
    main()
