"""One model has many names: those that agree do not warn, others do once, and what says nothing is told apart."""

import warnings
from pathlib import Path

import gguf
import pytest
import torch
from helpers.families import FAMILIES, Family
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from vectors.common.errors import SteerWarning
from vectors.formats.gguf import write_gguf
from vectors.formats.model_names import LLAMA_CPP, compare_names, types_of
from vectors.formats.reader import read
from vectors.model.residual_model import ResidualModel

LLAMA_CPP_ALONE = {  # names of llama.cpp that are transformers' own but for hyphens and underscores
    "gpt2": "gpt2", "gptneox": "gpt_neox", "gemma3": "gemma3_text", "llama4": "llama4_text", "qwen2moe": "qwen2_moe",
    "qwen3next": "qwen3_next", "gemma4": "gemma4_text", "falcon-h1": "falcon_h1", "gpt-oss": "gpt_oss",
    "minimax-m2": "minimax_m2", "ernie4_5-moe": "ernie4_5_moe", "glm4moe": "glm4_moe", "lfm2moe": "lfm2_moe",
}  # fmt: skip


def types(family: Family) -> set[str]:
    inner = (family.text or {}).get("model_type")
    return {family.kind} | ({inner} if inner else set())


@pytest.mark.parametrize("name", FAMILIES)
def test_each_family_agrees_with_its_own_names_and_no_other(name: str) -> None:
    family = FAMILIES[name]
    own = [family.kind, family.kind.replace("_", "-"), family.kind.upper()]
    classes = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(family.kind, [])
    own += [classes] if isinstance(classes, str) else list(classes)
    own += [arch for arch, kinds in LLAMA_CPP.items() if family.kind.removesuffix("_text") in kinds]
    own += [arch for arch, kind in LLAMA_CPP_ALONE.items() if kind == family.kind]
    for hint in own:
        assert compare_names(hint, types(family)) == "same", hint
    for other in FAMILIES.values():
        if not types_of(other.kind) & {kind.removesuffix("_text") for kind in types(family)}:
            assert compare_names(other.kind, types(family)) == "other", other.kind


def test_names_of_llama_cpp_exist() -> None:
    assert {*LLAMA_CPP, *LLAMA_CPP_ALONE} <= set(gguf.MODEL_ARCH_NAMES.values())


@pytest.mark.parametrize(
    ("hint", "kind"),
    [
        ("qwen2.5", "qwen2"), ("Qwen/Qwen2.5-1.5B-Instruct", "qwen2"), ("Qwen3-1.7B", "qwen3"), ("llama3", "llama"),
        ("Qwen/Qwen3-30B-A3B", "qwen3_moe"), ("llama-3.1", "llama"), ("someone/some-llama", "llama"),
        ("Meta-Llama-3.1-8B-Instruct-Q4_K_M.gguf", "llama"), ("google/gemma-3-270m", "gemma3_text"),
        ("gemma-2-2b", "gemma2"), ("gemma-2b", "gemma"), ("Gemma3ForConditionalGeneration", "gemma3_text"),
        ("pythia-70m-deduped", "gpt_neox"), ("gpt2-small", "gpt2"), ("gpt2-xl", "gpt2"),
        ("EleutherAI/gpt-j-6b", "gptj"),
        ("microsoft/phi-2", "phi"), ("Phi-3-mini-4k", "phi3"), ("mistralai/Mistral-7B-v0.1", "mistral"),
        ("Mixtral-8x7B", "mixtral"), ("HuggingFaceTB/SmolLM2-135M-Instruct", "llama"), ("SmolLM3-3B", "smollm3"),
        ("TinyLlama/TinyLlama-1.1B", "llama"), ("deepseek-ai/DeepSeek-R1-Distill-Qwen-7B", "qwen2"),
        ("deepseek-ai/DeepSeek-R1-Distill-Llama-8B", "llama"), ("facebook/opt-1.3b", "opt"),
        ("allenai/OLMo-2-7B", "olmo2"),
    ],
)  # fmt: skip
def test_published_names_are_understood(hint: str, kind: str) -> None:
    assert compare_names(hint, [kind]) == "same"
    assert compare_names(hint, ["bloom"]) == "other"


@pytest.mark.parametrize(
    ("hint", "answer"),
    [
        ("unknown", "silent"), ("", "silent"), ("None", "silent"), ("auto", "silent"), ("mine", "unknown"),
        ("\x1b[2J", "unknown"), ("a" * 5000, "unknown"), ("my-model", "same"), ("org/My_Model", "same"),
        ("gemma", "other"), ("mistral", "other"),
    ],
)  # fmt: skip
def test_other_hints(hint: str, answer: str) -> None:
    assert compare_names(hint, ["llama"], name="somewhere/my-model") == answer


@pytest.mark.parametrize(
    ("hint", "said"),
    [
        ("llama", None), ("someone/some-llama", None), ("tiny-llama", None), ("unknown", "does not say which model"),
        ("mine", "a name that is not known here"), ("gpt2", "made for a model of type 'gpt2'"),
    ],
)  # fmt: skip
def test_a_file_warns_once_at_most(llama_model: ResidualModel, tmp_path: Path, hint: str, said: str | None) -> None:
    write_gguf(tmp_path / "a.gguf", {1: torch.ones(32)}, model_type=hint)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        read(tmp_path / "a.gguf", llama_model)
    messages = [str(each.message) for each in caught if issubclass(each.category, SteerWarning)]
    assert len(messages) == (said is not None) and all(str(said) in message for message in messages)
