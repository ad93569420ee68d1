"""Steered checkpoints: transformers gives the logits of live steering, or nothing is written."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    BloomConfig,
    Gemma2Config,
    GenerationConfig,
    GPTJConfig,
    GPTNeoXConfig,
    GraniteConfig,
    MistralConfig,
    Olmo2Config,
    OPTConfig,
    PhiConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
    Starcoder2Config,
)
from transformers.models.auto.modeling_auto import AutoModelForCausalLM

from vectors.common.errors import ModelError, OutputError
from vectors.formats.checkpoint.model_card import METADATA
from vectors.formats.checkpoint.write import write_checkpoint
from vectors.model.hooks import shift_layers
from vectors.model.positions import shift_by_position
from vectors.model.residual_model import ResidualModel, load_model

SPECIAL = {"vocab_size": 64, "bos_token_id": 0, "eos_token_id": 1}
RMS = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4,
    "max_position_embeddings": 64, "initializer_range": 0.2, **SPECIAL,
}  # fmt: skip
GROUPED = RMS | {"num_key_value_heads": 2}
GPT = {"n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 64, "initializer_range": 0.2, **SPECIAL}
CONFIGS: dict[str, Any] = {
    "bloom": BloomConfig(hidden_size=32, n_layer=3, n_head=4, initializer_range=0.2, **SPECIAL),
    "gptj": GPTJConfig(**GPT, rotary_dim=8),
    "granite": GraniteConfig(**GROUPED, residual_multiplier=0.5),
    "mistral": MistralConfig(**GROUPED, head_dim=8, sliding_window=None),
    "neox": GPTNeoXConfig(**RMS, use_parallel_residual=False),
    "opt": OPTConfig(
        hidden_size=32, word_embed_proj_dim=32, ffn_dim=48, num_hidden_layers=3, num_attention_heads=4,
        max_position_embeddings=64, init_std=0.2, pad_token_id=1, **SPECIAL,
    ),
    "phi": PhiConfig(**GROUPED),
    "qwen2": Qwen2Config(**GROUPED),
    "starcoder2": Starcoder2Config(**GROUPED),
    "mistral with a window": MistralConfig(**GROUPED, head_dim=8, sliding_window=8),
    "qwen3": Qwen3Config(**GROUPED, head_dim=8),
    "gemma2": Gemma2Config(**GROUPED, head_dim=8),
    "olmo2": Olmo2Config(**GROUPED, pad_token_id=1),
    "opt with norms behind": OPTConfig(
        hidden_size=32, word_embed_proj_dim=32, ffn_dim=48, num_hidden_layers=3, num_attention_heads=4,
        max_position_embeddings=64, init_std=0.2, pad_token_id=1, do_layer_norm_before=False, **SPECIAL,
    ),
}  # fmt: skip
EVERYWHERE = ("gpt2", "llama", "neox", "bloom", "gptj", "granite", "mistral", "opt", "phi", "qwen2", "starcoder2")
AT_START = tuple(family for family in EVERYWHERE if family != "bloom")


@pytest.fixture
def model_of(
    make_hf: Callable[..., Any], make_tokenizer: Callable[..., PreTrainedTokenizerFast]
) -> Callable[[str], ResidualModel]:
    """A tiny random model of a family."""

    def build(family: str) -> ResidualModel:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            if family in CONFIGS:
                hf = AutoModelForCausalLM.from_config(CONFIGS[family], dtype=torch.float32).eval()
            else:
                hf = make_hf(family)
        return ResidualModel(hf, make_tokenizer(), name=family)

    return build


def shift(seed: int = 0, size: float = 10.0) -> torch.Tensor:
    drawn = torch.randn(32, generator=torch.Generator().manual_seed(seed))
    return size * drawn / drawn.norm()


def check_logits(folder: Path, model: ResidualModel, deltas: dict[int, torch.Tensor], positions: str) -> None:
    """Compare logits at once, logits token by token and greedy text with those of live steering."""
    loaded: Any = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True).eval()
    ids = torch.randint(2, 64, (3, 12), generator=torch.Generator().manual_seed(5))
    ids[:, 0] = 0
    shifts = {layer: shift_by_position(delta[None].expand(3, -1), 12, 12, positions) for layer, delta in deltas.items()}
    with torch.no_grad():
        with shift_layers(model, shifts):
            live = model.hf(ids, use_cache=False).logits
        base = model.hf(ids, use_cache=False).logits
        whole = loaded(ids, use_cache=False).logits
        assert (live - base).abs().max() > 0.1  # the shift has an effect
        assert (whole - live).abs().max() < 1e-4
        cache, parts = None, []
        for at in range(12):
            out = loaded(ids[:, at : at + 1], past_key_values=cache, use_cache=True)
            cache = out.past_key_values
            parts.append(out.logits)
        assert (torch.cat(parts, dim=1) - live).abs().max() < 1e-4
        plain = GenerationConfig(do_sample=False, max_new_tokens=9, eos_token_id=None, pad_token_id=63)
        loaded.generation_config.eos_token_id = None
        prompt = ids[:1, :3]
        written = loaded.generate(prompt, attention_mask=torch.ones_like(prompt), generation_config=plain)
        greedy = prompt
        for _ in range(9):
            length = greedy.shape[1]
            shifts = {
                layer: shift_by_position(delta[None], length, length, positions) for layer, delta in deltas.items()
            }
            with shift_layers(model, shifts):
                best = model.hf(greedy, use_cache=False).logits[:, -1:].argmax(dim=-1)
            greedy = torch.cat([greedy, best], dim=1)
    assert torch.equal(written, greedy)


@pytest.mark.parametrize("family", EVERYWHERE)
def test_a_shift_at_every_position(model_of: Callable[[str], ResidualModel], tmp_path: Path, family: str) -> None:
    model = model_of(family)
    before = {name: weight.clone() for name, weight in model.hf.state_dict().items()}
    config = model.hf.config.to_json_string()
    deltas = {0: shift(1), 2: shift(2)}
    check_logits(write_checkpoint(tmp_path / "steered", model, deltas), model, deltas, "all")
    assert model.hf.config.to_json_string() == config
    after = model.hf.state_dict()
    assert after.keys() == before.keys() and all(torch.equal(after[name], weight) for name, weight in before.items())


@pytest.mark.slow
@pytest.mark.parametrize("positions", ["bos", "not-bos"])
@pytest.mark.parametrize("family", AT_START)
def test_a_shift_at_the_start_token_or_everywhere_else(
    model_of: Callable[[str], ResidualModel], tmp_path: Path, family: str, positions: str
) -> None:
    model = model_of(family)
    before = {name: weight.clone() for name, weight in model.hf.state_dict().items()}
    deltas = {1: shift(1)}
    check_logits(write_checkpoint(tmp_path / "steered", model, deltas, positions=positions), model, deltas, positions)
    assert all(torch.equal(model.hf.state_dict()[name], weight) for name, weight in before.items())


def test_shifts_of_several_layers_at_the_start_token(model_of: Callable[[str], ResidualModel], tmp_path: Path) -> None:
    model, deltas = model_of("gpt2"), {0: shift(1), 1: shift(2, 3.0), 2: shift(3)}
    for positions in ("bos", "not-bos"):
        folder = write_checkpoint(tmp_path / positions, model, deltas, positions=positions)
        check_logits(folder, model, deltas, positions)


def test_the_metadata_and_loading_the_folder(model_of: Callable[[str], ResidualModel], tmp_path: Path) -> None:
    model, deltas = model_of("llama"), {1: shift()}
    folder = write_checkpoint(tmp_path / "s", model, deltas, positions="bos", about={"expression": "sea + cat"})
    metadata = json.loads((folder / METADATA).read_text())
    assert (
        metadata["base_hash"] == model.hash and metadata["positions"] == "bos" and metadata["expression"] == "sea + cat"
    )
    assert (
        metadata["layers"] == {"1": pytest.approx(10.0)}
        and metadata["difference"] < 1e-4
        and metadata["start_margin"] > 0.5
    )
    card = (folder / "README.md").read_text()
    assert "`sea + cat`" in card and "begin with the start token" in card
    assert len({each.stat().st_mode for each in folder.iterdir()}) == 1  # all files have the same permissions
    again = load_model(folder, "cpu")
    assert again.hash != model.hash and again.n_layers == 3
    assert not [each for each in tmp_path.iterdir() if each != folder]


@pytest.mark.parametrize("positions", ["all", "bos"])
@pytest.mark.parametrize("family", ["qwen3", "gemma2", "olmo2", "mistral with a window"])
def test_families_without_biases_are_refused_by_name(
    model_of: Callable[[str], ResidualModel], tmp_path: Path, family: str, positions: str
) -> None:
    model = model_of(family)
    with pytest.raises(ModelError, match=rf"family '{model.hf.config.model_type}' have no biases.*write a \.gguf"):
        write_checkpoint(tmp_path / "steered", model, {1: shift()}, positions=positions)
    assert not list(tmp_path.iterdir())


def test_inexact_checkpoints_are_refused(model_of: Callable[[str], ResidualModel], tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="family 'opt' does not hold this shift exactly"):
        write_checkpoint(tmp_path / "steered", model_of("opt with norms behind"), {1: shift()})
    with pytest.raises(ModelError, match="family 'bloom' cannot gain neurons"):
        write_checkpoint(tmp_path / "steered", model_of("bloom"), {1: shift()}, positions="bos")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("positions", ["generated", "first:3", "decay:8", "nowhere"])
def test_positions_that_depend_on_the_text_are_refused(
    llama_model: ResidualModel, tmp_path: Path, positions: str
) -> None:
    with pytest.raises(OutputError, match=f"at positions {positions} depends on what is being written"):
        write_checkpoint(tmp_path / "steered", llama_model, {1: shift()}, positions=positions)


@pytest.mark.parametrize(
    ("deltas", "why"),
    [
        ({1: torch.zeros(32)}, "all its values are zero"),
        ({3: torch.ones(32)}, "layers 0 to 2"),
        ({1: torch.ones(31)}, "width 31"),
        ({1: torch.full((32,), float("nan"))}, "NaN"),
        ({}, "zero"),
    ],
)
def test_shifts_that_do_not_fit_are_refused(
    llama_model: ResidualModel, tmp_path: Path, deltas: dict[int, torch.Tensor], why: str
) -> None:
    with pytest.raises(OutputError, match=why):
        write_checkpoint(tmp_path / "steered", llama_model, deltas)


def test_half_precision_is_refused(model_folder: Callable[[str], Path], tmp_path: Path) -> None:
    model = load_model(model_folder("llama"), "cpu", "bfloat16")
    with pytest.raises(ModelError, match="is in bfloat16, in which a shift is rounded: load it in float32"):
        write_checkpoint(tmp_path / "steered", model, {1: shift()})


def test_only_a_steered_checkpoint_is_replaced_and_only_with_force(llama_model: ResidualModel, tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "steered", llama_model, {1: shift()})
    with pytest.raises(OutputError, match="exists: pass --force"):
        write_checkpoint(folder, llama_model, {1: shift(2)})
    write_checkpoint(folder, llama_model, {2: shift(2)}, force=True)
    assert json.loads((folder / METADATA).read_text())["layers"].keys() == {"2"}
    with pytest.raises(ModelError):
        write_checkpoint(folder, load_half(llama_model), {1: shift(2)}, force=True)
    assert json.loads((folder / METADATA).read_text())["layers"].keys() == {"2"}
    mine = tmp_path / "mine"
    mine.mkdir()
    for content in (None, "{}", "[" * 100_000, '{"format": "other"}'):
        if content is not None:
            (mine / METADATA).write_text(content)
        with pytest.raises(OutputError, match="is no steered checkpoint"):
            write_checkpoint(mine, llama_model, {1: shift()}, force=True)
    (tmp_path / "link").symlink_to(folder)
    with pytest.raises(OutputError, match="is no steered checkpoint"):
        write_checkpoint(tmp_path / "link", llama_model, {1: shift()}, force=True)
    with pytest.raises(OutputError, match="there is no folder"):
        write_checkpoint(tmp_path / "none" / "x", llama_model, {1: shift()})
    assert sorted(each.name for each in tmp_path.iterdir()) == ["link", "mine", "steered"]


def load_half(model: ResidualModel) -> ResidualModel:
    assert model.origin is not None
    return load_model(model.origin["name_or_path"], "cpu", "bfloat16")
