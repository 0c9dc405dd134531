"""DeepSpeed's engine on the CPU at the stage of ZeRO that the variable STAGE names, one debugger around its steps.

With the file monitor_config.json beside CONFIG.json the engine's optimizer is watched by TrainerMon too.
"""

import os
from pathlib import Path

import common
import torch

os.environ.update(RANK="0", LOCAL_RANK="0", WORLD_SIZE="1", MASTER_ADDR="127.0.0.1", DS_ACCELERATOR="cpu")

import deepspeed


def main():
    stage = int(os.environ.get("STAGE", "1"))
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    torch.manual_seed(5)
    model = torch.nn.Sequential(
        torch.nn.Linear(8, 16), torch.nn.LayerNorm(16), torch.nn.GELU(), torch.nn.Dropout(0.1), torch.nn.Linear(16, 8)
    )
    engine, optimizer, _, _ = deepspeed.initialize(
        model=model,
        optimizer=torch.optim.AdamW(model.parameters(), lr=1e-3),
        config={
            "train_micro_batch_size_per_gpu": 4,
            "gradient_accumulation_steps": 2,
            "gradient_clipping": 1.0,
            "bf16": {"enabled": True},
            "zero_optimization": {"stage": stage},
            "zero_allow_untested_optimizer": True,
        },
        dist_init_required=False,
    )
    print(type(optimizer).__name__)
    debugger = common.debugger()
    if not common.IS_BARE and Path("monitor_config.json").exists():
        from msprobe.pytorch import TrainerMon

        monitor = TrainerMon("./monitor_config.json", params_have_main_grad=False)
        monitor.set_monitor(engine.module, grad_acc_steps=2, optimizer=optimizer)
    generator = torch.Generator().manual_seed(3)
    for _ in range(2):
        debugger.start(model=engine.module)
        for _ in range(2):
            images = torch.randn(4, 8, generator=generator).bfloat16()
            loss = torch.nn.functional.mse_loss(engine(images).float(), images.float())
            engine.backward(loss)
            common.keep(loss)
            engine.step()
        debugger.stop()
        debugger.step()
    common.keep(*engine.module.state_dict().values())
    common.tell()


if __name__ == "__main__":
    main()
