"""The logit lens, against the models' own heads."""

import pytest
import torch

from vectors.activations.logit_lens import direction_logits, logit_lens_tokens
from vectors.common.errors import InputError, VectorError
from vectors.model.residual_model import load_model


def head_of(model):
    """The final norm's weight, whether it centres, and the unembedding, named by hand for each family."""
    hf = model.hf
    kind = type(hf).__name__
    if kind == "GPT2LMHeadModel":
        return hf.transformer.ln_f.weight, True, hf.lm_head
    if kind == "GPTNeoXForCausalLM":
        return hf.gpt_neox.final_layer_norm.weight, True, hf.get_output_embeddings()
    gain = hf.model.norm.weight + (kind == "GemmaForCausalLM")
    return gain, False, hf.lm_head


def test_direction_logits_are_the_unembedding_with_the_norm_folded_in(tiny_model):
    direction = torch.randn(tiny_model.d_model, generator=torch.Generator().manual_seed(1))
    gain, centres, head = head_of(tiny_model)
    with torch.no_grad():
        expected = head(gain * (direction - direction.mean() * centres))
    logits = direction_logits(tiny_model, direction[None])[0]
    scale = float(logits @ expected / (expected @ expected))
    assert scale > 0
    torch.testing.assert_close(logits, scale * expected, rtol=1e-3, atol=1e-3 * float(logits.abs().max()))
    top, bottom = logit_lens_tokens(tiny_model, direction, 5)
    words = [token for token in expected.argsort(descending=True).tolist() if 3 <= token < len(tiny_model.tokenizer)]
    assert top == [tiny_model.decode([token]) for token in words[:5]]
    assert bottom == [tiny_model.decode([token]) for token in words[::-1][:5]]


def test_the_ranking_is_that_of_the_models_own_head_and_norm(llama_model):
    """At the end of the stream, a small step along the direction moves logits so, up to the norm's own slope."""
    direction = torch.randn(llama_model.d_model, generator=torch.Generator().manual_seed(2))
    direction /= direction.norm()
    hf = llama_model.hf
    with torch.no_grad():
        ids = torch.tensor([[0, 5, 9]])
        stream = hf.model(ids).last_hidden_state  # after the norm
        own = hf.lm_head(hf.model.norm(direction * 7.0))
    assert stream.shape[-1] == llama_model.d_model
    assert torch.equal(own.argsort(), direction_logits(llama_model, direction[None])[0].argsort())


def test_length_does_not_matter_and_the_opposite_swaps_the_sides(llama_model):
    direction = torch.randn(llama_model.d_model, generator=torch.Generator().manual_seed(3))
    assert logit_lens_tokens(llama_model, direction, 4) == logit_lens_tokens(llama_model, 100 * direction, 4)
    assert logit_lens_tokens(llama_model, -direction, 4) == logit_lens_tokens(llama_model, direction, 4)[::-1]


def test_special_and_blank_tokens_are_left_out():
    model = load_model(device="cpu")
    top, bottom = logit_lens_tokens(model, torch.eye(model.d_model)[0], 10_000)
    assert len(top) == len(bottom) <= len(model.tokenizer) and all(token.strip() for token in top)
    assert not {*model.tokenizer.all_special_tokens} & {*top}


@pytest.mark.parametrize("width", [3, 33])
def test_unusable_directions_are_refused(llama_model, width):
    with pytest.raises(VectorError, match="width 32"):
        logit_lens_tokens(llama_model, torch.ones(width), 3)
    for row in (torch.zeros(32), torch.full((32,), float("nan"))):
        with pytest.raises(VectorError, match="points somewhere"):
            logit_lens_tokens(llama_model, row, 3)
    with pytest.raises(InputError, match="whole number"):
        logit_lens_tokens(llama_model, torch.ones(32), 0)


def test_the_model_is_unchanged(llama_model):
    ids = torch.tensor([[0, 4, 7]])
    before = llama_model.hf(ids).logits
    logit_lens_tokens(llama_model, torch.ones(32) + torch.arange(32.0), 3)
    assert torch.equal(llama_model.hf(ids).logits, before)
