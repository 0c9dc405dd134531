"""Megatron-core's forward-backward over micro batches, its DDP and its optimizer; the model is a list of chunks.

    python megatron_step.py CONFIG.json [bare]        "use_distributed_optimizer" stands in MEGATRON

With the file
monitor_config.json beside CONFIG.json the optimizer is watched by TrainerMon too.
"""

import os
from pathlib import Path

import common
import cuda_on_cpu  # noqa: F401
import torch
from megatron.core import parallel_state, tensor_parallel
from megatron.core.distributed import (
    DistributedDataParallel,
    DistributedDataParallelConfig,
    finalize_model_grads,
)
from megatron.core.models.gpt.gpt_layer_specs import get_gpt_layer_local_spec
from megatron.core.models.gpt.gpt_model import GPTModel
from megatron.core.optimizer import OptimizerConfig, get_megatron_optimizer
from megatron.core.pipeline_parallel import get_forward_backward_func
from megatron.core.transformer.transformer_config import TransformerConfig


def main():
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    parallel_state.initialize_model_parallel()
    tensor_parallel.random.initialize_rng_tracker(inference_rng_tracker=True)
    torch.manual_seed(5)
    is_distributed = "distributed" in os.environ.get("MEGATRON", "")
    is_half = "bf16" in os.environ.get("MEGATRON", "")
    config = TransformerConfig(
        num_layers=2,
        hidden_size=16,
        num_attention_heads=2,
        use_cpu_initialization=True,
        pipeline_dtype=torch.float32,
        attention_dropout=0.1,
        hidden_dropout=0.1,
        bias_dropout_fusion=False,
        bias_activation_fusion=False,
        gradient_accumulation_fusion=False,
        masked_softmax_fusion=False,
        persist_layer_norm=False,
        bf16=is_half,
        params_dtype=torch.bfloat16 if is_half else torch.float32,
        finalize_model_grads_func=finalize_model_grads,
    )
    model = GPTModel(
        config=config, transformer_layer_spec=get_gpt_layer_local_spec(), vocab_size=64, max_sequence_length=16
    )
    if is_half:
        model = model.bfloat16()
    settings = DistributedDataParallelConfig(use_distributed_optimizer=is_distributed, grad_reduce_in_fp32=True)
    chunks = [DistributedDataParallel(config, settings, model)]
    optimizer = get_megatron_optimizer(
        OptimizerConfig(
            lr=1e-3,
            weight_decay=0.01,
            clip_grad=1.0,
            bf16=is_half,
            use_distributed_optimizer=is_distributed,
            params_dtype=torch.bfloat16 if is_half else torch.float32,
        ),
        chunks,
    )
    print(type(optimizer).__name__, [type(each).__name__ for each in getattr(optimizer, "chained_optimizers", [])])
    debugger = common.debugger()
    if not common.IS_BARE and Path("monitor_config.json").exists():
        from msprobe.pytorch import TrainerMon

        monitor = TrainerMon("./monitor_config.json", params_have_main_grad=True)
        monitor.set_monitor(chunks, grad_acc_steps=2, optimizer=optimizer)

    positions = torch.arange(12).expand(2, -1)
    mask = torch.triu(torch.ones(2, 1, 12, 12, dtype=torch.bool), 1)

    def forward_step(batches, chunk):
        ids = next(batches)
        losses = chunk(ids, positions, mask, labels=ids)
        return losses, lambda found: (found.float().mean(), {"loss": found.detach().float().mean()})

    def train_step(step):
        for chunk in chunks:
            chunk.zero_grad_buffer()
        optimizer.zero_grad()
        generator = torch.Generator().manual_seed(step)
        batches = [torch.randint(64, (2, 12), generator=generator) for _ in range(2)]
        losses = get_forward_backward_func()(
            forward_step_func=forward_step,
            data_iterator=iter(batches),
            model=chunks,
            num_microbatches=2,
            seq_length=12,
            micro_batch_size=2,
            forward_only=False,
        )
        common.keep(*(each["loss"] for each in losses))
        common.keep(*(parameter.main_grad for parameter in model.parameters()))
        is_done, norm, _ = optimizer.step()
        assert is_done
        common.keep(torch.tensor(norm))

    for step in range(2):
        debugger.start(model=chunks)
        train_step(step)
        debugger.stop()
        debugger.step()
    common.keep_training(model)
    common.tell()


if __name__ == "__main__":
    main()
