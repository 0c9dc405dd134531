"""Names lose what wrappers put in, and with squash_name what precedes the layer."""

from __future__ import annotations

import pytest

from dump.monitor.names import squashed, without_wrappers


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("fc.weight", "fc.weight"),
        ("_orig_mod.fc.weight", "fc.weight"),
        ("_fsdp_wrapped_module.0._fsdp_wrapped_module.weight", "0.weight"),
        ("layers.0._checkpoint_wrapped_module.fc.weight", "layers.0.fc.weight"),
        ("layers.0._checkpoint_wrapped_module", "layers.0"),
        ("_orig_mod", ""),
        ("module.fc.weight", "module.fc.weight"),
    ],
)
def test_wrappers(name: str, expected: str) -> None:
    assert without_wrappers(name) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("module.language_model.encoder.layers.0.mlp.weight", "layers.0.mlp.weight"),
        ("layers.0.mlp.weight", "layers.0.mlp.weight"),  # nothing stands before it
        ("model.embeddings.word.weight", "embeddings.word.weight"),
        ("model.final_layernorm.weight", "final_layernorm.weight"),
        ("model.output_layer.weight", "output_layer.weight"),
        ("model.norm.weight", "norm.weight"),
        ("model.fc.weight", "model.fc.weight"),
    ],
)
def test_squashing(name: str, expected: str) -> None:
    assert squashed(name) == expected
