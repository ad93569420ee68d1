"""A residual model describes its transformers model, and encodes texts consistently."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from helpers.families import FAMILIES
from tokenizers import processors
from transformers import GPT2Config, GPT2LMHeadModel

import steer
from vectors.common.errors import InputError, ModelError, SteerWarning
from vectors.model.residual_model import ResidualModel, check_finite, not_finite, pad

BLOCKS = {"gpt2": "transformer.h", "llama": "model.layers", "neox": "gpt_neox.layers", "gemma": "model.layers"}


def test_loads_a_folder(tiny_model: ResidualModel) -> None:
    assert (tiny_model.n_layers, tiny_model.d_model, tiny_model.max_context) == (3, 32, 64)
    assert tiny_model.device == torch.device("cpu") and tiny_model.dtype == torch.float32
    assert tiny_model.name.startswith("tiny-") and tiny_model.library is None
    assert not tiny_model.hf.training and not any(weight.requires_grad for weight in tiny_model.hf.parameters())
    assert tiny_model.blocks_path == BLOCKS[tiny_model.name.removeprefix("tiny-")]
    assert tiny_model.blocks == list(tiny_model.hf.get_submodule(tiny_model.blocks_path))
    assert tiny_model.hf.config._attn_implementation == "sdpa"


def test_a_model_whose_config_holds_another_finds_its_start_token(make_tokenizer: Callable) -> None:
    model = ResidualModel(FAMILIES["Gemma 3 with images"].build(), make_tokenizer(), name="gemma3")
    assert model.bos_id == 0 and model.n_layers == 3


def test_the_callers_model_is_used_unchanged(make_hf: Callable, make_tokenizer: Callable) -> None:
    hf, tokenizer = make_hf("gpt2"), make_tokenizer()
    model = ResidualModel(hf, tokenizer, name="mine")
    assert model.hf is hf and model.tokenizer is tokenizer and model.name == "mine"
    assert all(weight.requires_grad for weight in hf.parameters())
    with pytest.raises(ModelError, match=r"call \.eval\(\)"):
        ResidualModel(hf.train(), tokenizer)
    with pytest.raises(ModelError, match="no language-model head"):
        ResidualModel(hf.eval().transformer, tokenizer)
    with pytest.raises(ModelError, match="is a Linear"):
        ResidualModel(torch.nn.Linear(1, 1), tokenizer)


# Numbers that are not finite


@pytest.mark.parametrize(
    ("dtype", "advice"),
    [(torch.float32, "lower the doses"), (torch.bfloat16, "load it in float32"), (torch.float16, "load it in float32")],
)
def test_numbers_that_are_not_finite_are_refused(
    make_hf: Callable, make_tokenizer: Callable, dtype: torch.dtype, advice: str
) -> None:
    model = ResidualModel(make_hf("gpt2").to(dtype), make_tokenizer(), name="broken")
    check_finite(model, torch.ones(2), "logits")
    for values in (torch.tensor([1.0, float("nan")]), [float("inf")]):
        with pytest.raises(ModelError, match=f"model 'broken' gives logits that are not finite: {advice}$"):
            check_finite(model, values, "logits", hint="lower the doses")
    with pytest.raises(InputError, match="not finite"):
        check_finite(model, [float("nan")], "logits", error=InputError)


# Text and ids


def test_encode_and_decode(llama_model: ResidualModel) -> None:
    rows = llama_model.encode(["the cat sang", "a sea", ""])
    assert [row[0] for row in rows] == [0, 0, 0] and [len(row) for row in rows] == [4, 3, 1]
    assert [llama_model.decode(row) for row in rows] == ["the cat sang", "a sea", ""]
    assert llama_model.decode(torch.tensor([*rows[0], 1])) == "the cat sang"
    assert llama_model.encode(["the cat sang"], max_tokens=2) == [rows[0][:2]]
    assert llama_model.encode([]) == []


def test_encode_never_adds_bos_twice(make_hf: Callable, make_tokenizer: Callable) -> None:
    tokenizer = make_tokenizer()
    plain = ResidualModel(make_hf("llama"), tokenizer).encode(["the cat"])
    assert ResidualModel(make_hf("llama"), tokenizer).encode(["<bos> the cat"]) == plain
    adding = make_tokenizer()
    adding.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A <eos>", special_tokens=[("<bos>", 0), ("<eos>", 1)]
    )
    assert adding("the cat")["input_ids"] == [*plain[0], 1]  # this tokenizer adds both itself
    adding.backend_tokenizer.enable_padding(length=9)
    adding.backend_tokenizer.enable_truncation(2)
    assert ResidualModel(make_hf("llama"), adding).encode(["the cat"]) == plain


@pytest.mark.parametrize("texts", ["one text", ["a", 3], [None]])
def test_encode_refuses_what_is_no_list_of_texts(llama_model: ResidualModel, texts: list[str]) -> None:
    with pytest.raises(InputError, match="give"):
        llama_model.encode(texts)
    with pytest.raises(InputError, match="max_tokens is 0"):
        llama_model.encode(["a"], max_tokens=0)


def test_a_tokenizer_that_knows_more_than_the_model_is_refused(make_tokenizer: Callable) -> None:
    config = GPT2Config(n_embd=32, n_layer=1, n_head=4, n_positions=64, vocab_size=8, bos_token_id=0, eos_token_id=1)
    model = ResidualModel(GPT2LMHeadModel(config).eval(), make_tokenizer())
    with pytest.raises(ModelError, match="embeds 8 tokens"):
        model.encode(["a sea and a cat saw the storm"])


def test_the_start_token_is_the_familys(make_hf: Callable, make_tokenizer: Callable) -> None:
    both = ResidualModel(make_hf("gpt2"), make_tokenizer())
    assert both.start_ids() == [0] and both.eos_ids == {1}
    # Only eos: it ends a document, so the next one starts after it (the config's 0 is no special token here).
    only_eos = ResidualModel(make_hf("gpt2"), make_tokenizer(bos=False))
    assert only_eos.start_ids() == [1] and only_eos.encode(["a"])[0][0] == 1
    # Special in the tokenizer without being its bos, and named by the config (Qwen).
    marked = make_tokenizer(bos=False)
    marked.add_special_tokens({"additional_special_tokens": ["<bos>"]})
    assert ResidualModel(make_hf("gpt2"), marked).start_ids() == [0]
    neither = ResidualModel(make_hf("gpt2"), make_tokenizer(bos=False, eos=False), name="bare")
    assert neither.bos_id is None and neither.eos_ids == frozenset()
    assert neither.encode(["the cat"]) == [both.encode(["the cat"])[0][1:]]
    with pytest.raises(ModelError, match="give it a prompt"):
        neither.start_ids()


def test_every_end_token_counts(make_hf: Callable, make_tokenizer: Callable) -> None:
    hf = make_hf("llama")
    hf.generation_config.eos_token_id = [0, 1, 63]  # 63 is no special token of this tokenizer
    assert ResidualModel(hf, make_tokenizer()).eos_ids == {0, 1}


def test_pad() -> None:
    ids, mask, positions = pad([[5, 6, 7], [8]])
    assert (ids.tolist(), mask.tolist()) == ([[5, 6, 7], [8, 0, 0]], [[1, 1, 1], [1, 0, 0]])
    assert positions.tolist() == [[0, 1, 2], [0, 0, 0]]
    for wrong in ([], [[]], [[1], []]):
        with pytest.raises(InputError, match="at least one"):
            pad(wrong)


def with_token(make_tokenizer: Callable, role: str, bos: bool = True) -> Any:
    """A tokenizer with one more special token, which the model has no embedding for."""
    tokenizer = make_tokenizer(bos=bos)
    while len(tokenizer) < 64:
        tokenizer.add_tokens([f"<filler-{len(tokenizer)}>"])
    tokenizer.add_special_tokens({f"{role}_token": "<|more|>"})
    return tokenizer


@pytest.mark.parametrize(("role", "named"), [("bos", "start"), ("eos", "end")])
def test_a_token_beyond_the_embeddings_is_named(
    make_hf: Callable, make_tokenizer: Callable, role: str, named: str
) -> None:
    hf, tokenizer = make_hf("llama"), with_token(make_tokenizer, role)
    model = ResidualModel(hf, tokenizer)
    for use in (
        model.start_ids,
        lambda: model.encode(["the sea"]),
        lambda: steer.sample(model, None, n=1, max_tokens=2),
    ):
        with pytest.raises(ModelError) as caught:
            use()
    message = str(caught.value)
    assert f"embeds 64 tokens, and its {named} token is '<|more|>' (64)" in message
    assert "hf.resize_token_embeddings(len(tokenizer))" in message
    hf.resize_token_embeddings(len(tokenizer))  # the mend
    assert ResidualModel(hf.eval(), tokenizer).encode(["the sea"])


def test_a_token_that_is_not_used_is_a_note(make_hf: Callable, make_tokenizer: Callable) -> None:
    with pytest.warns(SteerWarning, match=r"its padding token is '<\|more\|>' \(64\).*not used here"):
        ResidualModel(make_hf("llama"), with_token(make_tokenizer, "pad")).encode(["the"])
    hf = make_hf("llama")
    hf.generation_config.forced_eos_token_id = 99
    with pytest.warns(SteerWarning, match="its forced token is"):
        ResidualModel(hf, make_tokenizer()).start_ids()


def test_weights_that_are_not_finite_are_named(make_hf: Callable, make_tokenizer: Callable) -> None:
    for dtype, advice in ((torch.float32, "download it again"), (torch.float16, "load it in float32, or")):
        hf = make_hf("llama").to(dtype)
        with torch.no_grad():
            hf.model.layers[1].mlp.up_proj.weight[0, 0] = float("nan")
        model = ResidualModel(hf, make_tokenizer())
        message = str(not_finite(model, "logits"))
        assert "its weights hold NaN or infinity (model.layers.1.mlp.up_proj.weight)" in message and advice in message
    half = ResidualModel(make_hf("llama").half(), make_tokenizer())
    assert "logits that are not finite: load it in float32" in str(not_finite(half, "logits"))
    assert str(not_finite(ResidualModel(make_hf("llama"), make_tokenizer()), "logits")).endswith("check its weights")
