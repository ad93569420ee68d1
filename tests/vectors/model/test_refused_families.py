"""Families that cannot be steered are refused in one sentence each, and docs/models.md lists both kinds."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from helpers.families import FAMILIES, MODELS_PAGE, PART, REFUSED, Family, part, refusal
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from vectors.common.errors import ModelError, UnsteeredError
from vectors.model.loading import find_blocks, silence_transformers
from vectors.model.residual_model import ResidualModel
from vectors.model.steering_check import check_steering


@pytest.mark.parametrize("row", REFUSED)
def test_families_that_cannot_be_steered_are_refused_in_one_sentence(row: str) -> None:
    said = set()
    for name, family in REFUSED[row].items():
        if family.kind not in CONFIG_MAPPING:
            pytest.skip(f"this transformers knows no {family.kind}")
        sentence = refusal(name, family)
        assert sentence is not None, name
        assert (
            "\n" not in sentence and len(sentence) < 300 and ("give a" in sentence or "only decoder-only" in sentence)
        )
        said.add(sentence.replace(type(family.build()).__name__, "X").replace(name, "X"))
    assert len(said) == 1, said


def test_modules_side_by_side_that_are_named_as_blocks_are_refused(make_tokenizer: Callable) -> None:
    """Gemma 3n sums several streams by a list of projections, as many as it has blocks; none reads another's output."""
    own = {"num_kv_shared_layers": 1, "layer_types": ["sliding_attention", "full_attention", "full_attention"]}
    family = Family("gemma3n_text", own, blocks_path="model.altup_projections")
    if family.kind not in CONFIG_MAPPING:
        pytest.skip(f"this transformers knows no {family.kind}")
    model = ResidualModel(family.build(), make_tokenizer(), blocks_path=family.blocks_path)
    with pytest.raises(UnsteeredError, match="names no stack of blocks that read one another"):
        check_steering(model, 0)
    right = replace(family, blocks_path="model.layers")
    assert "one residual stream: give a model that has one" in str(refusal("Gemma 3n", right))


def test_every_causal_model_that_transformers_knows_is_named_or_refused() -> None:
    """Only the config is read, as before loading weights; other tests check that the path of the blocks is right."""
    named, refused = [], []
    for kind, architecture in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.items():
        with silence_transformers():
            try:
                config = CONFIG_MAPPING[kind]()
            except Exception:  # a config without defaults for all its fields
                continue
        try:
            named.append((kind, find_blocks(config, architecture)))
        except ModelError as error:
            assert architecture in str(error) and "\n" not in str(error)
            refused.append(kind)
    assert len(named) >= 70 and len(refused) >= 70
    assert {kind for kind, _ in named} & {"gpt2", "llama", "gemma3", "qwen3_moe"} and "mamba" in refused


def test_the_readme_lists_these_families() -> None:
    if missing := {of.kind for of in FAMILIES.values()} - set(CONFIG_MAPPING):
        pytest.skip(f"this transformers does not know {', '.join(sorted(missing))}")
    found = PART.search(MODELS_PAGE.read_text())
    assert found is not None and found[0] == part(), "run: PYTHONPATH=.:tests python -m helpers.families"
