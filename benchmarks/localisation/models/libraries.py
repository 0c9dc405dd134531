"""Architectures as people train them: transformers' and diffusers' own code, with random weights and tiny sizes.

`drawn.py` trains one of these where FROM_LIBRARIES=1, instead of a family of its own.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import setting
import torch
from torch import nn
from torch.nn import functional as F

Losses = tuple[list[nn.Module], list[Callable[[], torch.Tensor]]]

WORDS = 120
SIZE = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96}
LANGUAGE = {"vocab_size": WORDS, "max_position_embeddings": 64, **SIZE}
data = setting.Data()


def _language(kind: str, ways: tuple[str, ...] = ("eager", "sdpa"), **config: Any) -> Callable[[random.Random], Losses]:
    """A model that predicts the next word, or the hidden one; `ways` to attend that it knows."""

    def build(draw: random.Random) -> Losses:
        import transformers

        made = getattr(transformers, f"{kind}Config")(**{**LANGUAGE, **config}, pad_token_id=0)
        made._attn_implementation = draw.choice(ways)
        name = f"{kind}ForCausalLM" if hasattr(transformers, f"{kind}ForCausalLM") else f"{kind}ForMaskedLM"
        model = getattr(transformers, name)(made)
        batch, length = draw.choice((2, 4)), draw.choice((12, 16))

        def loss() -> torch.Tensor:
            words = data.integers(WORDS - 1, batch, length) + 1
            found: torch.Tensor = model(input_ids=words, labels=words).loss
            return found

        return [model], [loss]

    build.__name__ = kind
    return build


def gpt2(draw: random.Random) -> Losses:
    import transformers

    config = transformers.GPT2Config(vocab_size=WORDS, n_positions=64, n_embd=48, n_layer=2, n_head=4)
    model = transformers.GPT2LMHeadModel(config)

    def loss() -> torch.Tensor:
        words = data.integers(WORDS, 4, 16)
        found: torch.Tensor = model(input_ids=words, labels=words).loss
        return found

    return [model], [loss]


def t5(draw: random.Random) -> Losses:
    import transformers

    config = transformers.T5Config(
        vocab_size=WORDS, d_model=48, d_kv=12, d_ff=96, num_layers=2, num_heads=4,
        feed_forward_proj=draw.choice(("relu", "gated-gelu")), decoder_start_token_id=0,
    )  # fmt: skip
    model = transformers.T5ForConditionalGeneration(config)

    def loss() -> torch.Tensor:
        source, target = data.integers(WORDS - 1, 4, 14) + 1, data.integers(WORDS - 1, 4, 10) + 1
        found: torch.Tensor = model(input_ids=source, labels=target).loss
        return found

    return [model], [loss]


def vision(draw: random.Random) -> Losses:
    import transformers

    config = transformers.ViTConfig(**SIZE, image_size=32, patch_size=8)
    model = transformers.ViTForImageClassification(config)

    def loss() -> torch.Tensor:
        return F.cross_entropy(model(data.normal(4, 3, 32, 32)).logits.float(), data.integers(2, 4))

    return [model], [loss]


def convolutional(draw: random.Random) -> Losses:
    import transformers

    config = transformers.ConvNextConfig(depths=[1, 1, 1, 1], hidden_sizes=[16, 32, 48, 64], num_labels=5)
    model = transformers.ConvNextForImageClassification(config)

    def loss() -> torch.Tensor:
        return F.cross_entropy(model(data.normal(4, 3, 64, 64)).logits.float(), data.integers(5, 4))

    return [model], [loss]


def resnet(draw: random.Random) -> Losses:
    import transformers

    config = transformers.ResNetConfig(
        embedding_size=16, hidden_sizes=[16, 32, 48, 64], depths=[1, 1, 1, 1], layer_type="basic", num_labels=5
    )
    model = transformers.ResNetForImageClassification(config)

    def loss() -> torch.Tensor:
        return F.cross_entropy(model(data.normal(8, 3, 64, 64)).logits.float(), data.integers(5, 8))

    return [model], [loss]


def speech(draw: random.Random) -> Losses:
    import transformers

    config = transformers.WhisperConfig(
        vocab_size=WORDS, d_model=48, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4,
        decoder_attention_heads=4, encoder_ffn_dim=96, decoder_ffn_dim=96, num_mel_bins=16, max_source_positions=24,
        max_target_positions=32, pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1,
    )  # fmt: skip
    model = transformers.WhisperForConditionalGeneration(config)

    def loss() -> torch.Tensor:
        found: torch.Tensor = model(
            input_features=data.normal(2, 16, 48), labels=data.integers(WORDS - 1, 2, 10) + 1
        ).loss
        return found

    return [model], [loss]


def sound(draw: random.Random) -> Losses:
    import transformers

    config = transformers.Wav2Vec2Config(
        **SIZE, vocab_size=20, conv_dim=[16, 16, 16], conv_stride=[5, 4, 4], conv_kernel=[10, 5, 5],
        num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=4, apply_spec_augment=False, layerdrop=0.0,
        feat_extract_norm=draw.choice(("group", "layer")),
    )  # fmt: skip
    model = transformers.Wav2Vec2ForSequenceClassification(config)

    def loss() -> torch.Tensor:
        return F.cross_entropy(model(data.normal(4, 1600)).logits.float(), data.integers(2, 4))

    return [model], [loss]


def towers(draw: random.Random) -> Losses:
    import transformers

    config = transformers.CLIPConfig(
        text_config={**LANGUAGE, "bos_token_id": 1, "eos_token_id": 2},
        vision_config={**SIZE, "image_size": 32, "patch_size": 8},
        projection_dim=32,
    )
    model = transformers.CLIPModel(config)

    def loss() -> torch.Tensor:
        words = data.integers(WORDS - 3, 4, 12) + 3
        found: torch.Tensor = model(input_ids=words, pixel_values=data.normal(4, 3, 32, 32), return_loss=True).loss
        return found

    return [model], [loss]


def diffusion(draw: random.Random) -> Losses:
    import diffusers

    model = diffusers.UNet2DModel(
        sample_size=16, in_channels=3, out_channels=3, layers_per_block=1, block_out_channels=(16, 32),
        down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=8, attention_head_dim=8,
    )  # fmt: skip

    def loss() -> torch.Tensor:
        noise = data.normal(2, 3, 16, 16)
        given = data.normal(2, 3, 16, 16) * 0.6 + noise * 0.8
        return F.mse_loss(model(given, data.integers(1000, 2)).sample.float(), noise.float())

    return [model], [loss]


FAMILIES: tuple[Callable[[random.Random], Losses], ...] = (
    _language("Llama", num_key_value_heads=2),
    _language("Qwen3", num_key_value_heads=2, head_dim=12),
    _language("Gemma2", ("eager",), num_key_value_heads=2, head_dim=12, sliding_window=8),
    _language("Mixtral", num_key_value_heads=2, num_local_experts=4, num_experts_per_tok=2),
    _language("Qwen2Moe", num_key_value_heads=2, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=48,
              shared_expert_intermediate_size=64),
    _language("Mamba", state_size=8, expand=2, conv_kernel=4, use_mambapy=False),
    _language("Bert"),
    gpt2, t5, vision, convolutional, resnet, speech, sound, towers, diffusion,
)  # fmt: skip
"""Sixteen: decoders, mixtures of experts, a state space, an encoder, encoder-decoders, vision, sound, two towers, a
U-Net."""
