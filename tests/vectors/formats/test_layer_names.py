"""Names of residual points give their layer, and names of anything else are refused."""

import pytest

from vectors.common.errors import VectorError
from vectors.formats.layer_names import layer_in_file_name, layer_of


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("5", 5), ("layers.5", 5), ("layer.5", 5), ("layer_5", 5), ("layer5", 5), ("direction.5", 5), ("h.5", 5),
        ("directions.5", 5), ("model.layers.5", 5), ("transformer.h.5", 5), ("gpt_neox.layers.5", 5), ("layer5.v", 5),
        ("layer5.shared.v", 5), ("blocks.5", 5), ("blocks.5.hook_resid_post", 5), ("blocks.6.hook_resid_pre", 5),
        ("blocks.5.hook_out", 5), ("blocks.6.hook_in", 5), ("0", 0), ("model.layers.5.output", 5),
        ("model.layers.5.output[0]", 5), ("transformer.h.5.output.0", 5), ("model.layers.6.input", 5), ("Layer 5", 5),
        ("layer_5_comp_block_output_unit_pos_nunit_1#0", 5), ("layer.6.comp.block_input.unit.pos.nunit.1#0", 5),
        ("hidden_states.6", 5), ("hidden_states[6]", 5), ("resid_post_layer_5", 5), ("resid_pre_layer_6", 5),
        ("resid_out_layer5", 5), ("language_model.model.layers.5", 5), ("layer_5.vector", 5),
    ],
)  # fmt: skip
def test_names_of_residual_points_give_their_layer(name: str, layer: int) -> None:
    assert layer_of(name) == layer


@pytest.mark.parametrize(
    "name",
    [
        "blocks.5.hook_mlp_out", "blocks.5.hook_attn_out", "blocks.5.attn.hook_z", "blocks.5.hook_resid_mid",
        "blocks.5.mlp.hook_post", "blocks.0.hook_resid_pre", "blocks.5.ln1.hook_normalized", "layers.5.mlp.down_proj",
        "model.layers.5.self_attn.o_proj", "layers.05", "layers.-1", "layers.", "", "x", "٥", "5" * 40, "hook_embed",
        "layers.5\n", "model.norm", "layer_5_comp_mlp_output_unit_pos_nunit_1#0", "hidden_states.0",
        "vision_tower.layers.5", "model.layers.0.input", "mlp_out_layer_5",
        "model.layers.17.post_feedforward_layernorm.output",
        "model.layers.17.self_attn.o_proj.input",
    ],
)  # fmt: skip
def test_names_of_anything_else_are_refused(name: str) -> None:
    with pytest.raises(VectorError) as caught:
        layer_of(name)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("final_sparse_autoencoder_gpt2-small_blocks.8.hook_resid_pre_24576.pt", 7),
        ("sae_blocks.8.hook_resid_post_v2.safetensors", 8), ("v_blocks_8_hook_resid_pre.npz", 7),
        ("layer_8_resid_pre.pt", 7), ("resid_post_layer_8.pt", 8), ("storm-block8.pt", 8), ("layer_8", 8),
        ("attention_to_detail_layer_8.pt", 8), ("mlp_out.pt", None), ("layers_8_to_12_layer_9.pt", None),
    ],
)  # fmt: skip
def test_the_name_of_a_file_may_say_its_layer(name: str, layer: int | None) -> None:
    assert layer_in_file_name(name) == layer


@pytest.mark.parametrize(
    "name",
    [
        "vec_blocks.2.hook_resid_mid.pt", "blocks.2.attn.hook_z.pt", "blocks.2.hook_mlp_out.npz", "layer_2_mlp_out.pt",
        "attn_out_layer_2.pt", "blocks.0.hook_resid_pre.pt", "layer_0_resid_pre.pt",
    ],
)  # fmt: skip
def test_a_file_that_is_named_after_another_place_is_refused(name: str) -> None:
    with pytest.raises(VectorError, match="only the residual stream after a block"):
        layer_in_file_name(name)
