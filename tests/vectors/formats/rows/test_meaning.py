"""Words beside vectors that say something else than adding are refused, and words about their making are not."""

from typing import Any

import pytest

from vectors.common.errors import VectorError
from vectors.formats.rows.meaning import check_meaning


@pytest.mark.parametrize(
    "entries",
    [
        {"controlvector.method": "pca_center"}, {"method": "mean_diff", "seed": 3}, {"method": "linear_probe"},
        {"algorithm": "diffmean", "token_pos": "last"}, {"hook": "blocks.3.hook_resid_post"}, {"mode": "add"},
        {"layer_type": "decoder_block"}, {"target": "residual"}, {"type": "steering_vector"}, {"gate": None},
        {"condition": "none"}, {"conditions": []}, {"normalize": True}, {"strength": 1.0}, {"positive_file": "mlp.txt"},
        {"description": "to ablate refusal in the MLP"},
    ],
)  # fmt: skip
def test_what_is_added_passes(entries: dict[str, Any]) -> None:
    assert check_meaning(entries) == []


@pytest.mark.parametrize(
    "entries",
    [
        {"method": "directional_ablation"}, {"operator": "orthogonal_projection"}, {"mode": "multiply"},
        {"intervention_type": "LoreftIntervention"}, {"algorithm": "angular_steering"}, {"method": "CAST"},
        {"steering_type": "clamp"}, {"method": "iti"}, {"transform": "norm_preserving"}, {"op": "replace"},
        {"target": "mlp_out"}, {"layer_type": "self_attn"}, {"component": "attention_output"}, {"hook": "attn.hook_z"},
        {"target_submodule": "mlp.down_proj"}, {"site": "embed_tokens"}, {"condition": {"layer": 3}},
        {"threshold": 0.3}, {"num_heads": 32}, {"probe_accuracies": {"1:2": 0.9}}, {"METHOD": "ABLATE"},
        {"controlvector.apply": "ablate"}, {"glp.operation": "project"}, {"vector.apply_op": "project_out"},
    ],
)  # fmt: skip
def test_what_is_not_added_is_refused_by_name(entries: dict[str, Any]) -> None:
    with pytest.raises(VectorError, match="can be used here") as caught:
        check_meaning(entries)
    assert next(iter(entries)) in str(caught.value) and len(str(caught.value).splitlines()) == 1
