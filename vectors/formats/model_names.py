"""Names of one model in several tools: transformers, llama.cpp, the hub, papers."""

import re
import warnings
from collections.abc import Collection, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from vectors.common.errors import SteerWarning
from vectors.common.validation import quote

if TYPE_CHECKING:
    from vectors.model.residual_model import ResidualModel

LLAMA_CPP: Final[Mapping[str, tuple[str, ...]]] = {
    "llama": ("llama", "mistral", "mixtral", "ministral", "smollm2", "granite_speech"),
    "mistral3": ("ministral3", "mistral3"), "phi2": ("phi",), "starcoder": ("gpt_bigcode",),
    "command-r": ("cohere",), "olmo2": ("olmo2", "olmo3"), "deepseek2": ("deepseek_v2", "deepseek_v3", "glm4_moe_lite"),
    "glm-dsa": ("glm_moe_dsa",), "chatglm": ("glm", "chatglm"), "granitemoe": ("granitemoe", "granitemoeshared"),
    "granitehybrid": ("granitemoehybrid",), "hunyuan-dense": ("hunyuan_v1_dense",), "hunyuan-moe": ("hunyuan_v1_moe",),
    "qwen35": ("qwen3_5",), "qwen35moe": ("qwen3_5_moe",), "mimo2": ("mimo_v2_flash",), "exaone-moe": ("exaone_moe",),
}  # fmt: skip
"""Architectures of llama.cpp whose names differ from transformers' model types by more than hyphens and underscores,
with the model types that they stand for."""

_SAYS_NOTHING: Final = frozenset(
    ["", "unknown", "none", "null", "auto", "custom", "other", "default", "na", "nan", "any", "model", "transformer",
     "transformers", "lm", "llm", "causallm", "controlvector", "test"]
)  # fmt: skip
_CLASS = re.compile(r"(For[A-Z]\w*|LMHeadModel|LMHead|PreTrainedModel|Model|Config)$")

_RELEASES: Final = tuple(
    (re.compile(rf"(?:^|[-/])(?:{pattern})"), types)
    for pattern, types in {
        r"(?:.*-)?distill-qwen-?3|.*-0528-qwen-?3": ("qwen3",), r"(?:.*-)?distill-qwen": ("qwen2",),
        r"(?:.*-)?distill-llama": ("llama",), r"(?:tiny|code|open)?-?llama-?4": ("llama4",),
        r"smol-?lm-?3": ("smollm3",), r"smol-?lm": ("llama",), r"vicuna|alpaca|(?:tiny|code|open)-?llama": ("llama",),
        r"llama": ("llama",), r"mixtral": ("mixtral",), r"ministral": ("ministral", "ministral3", "mistral"),
        r"mistral-small-3\.[12]": ("mistral3", "mistral"), r"mistral|zephyr": ("mistral",),
        r"qwen-?3\.[56].*(?:moe|a\d+b)": ("qwen3_5_moe",), r"qwen-?3\.[56]": ("qwen3_5",),
        r"qwen-?3-?next": ("qwen3_next",), r"qwen-?3.*(?:moe|a\d+b)": ("qwen3_moe",), r"qwen-?3": ("qwen3",),
        r"(?:qwen|qwq)-?(?:1\.5|2).*(?:moe|a\d)": ("qwen2_moe",), r"qwen-?(?:1\.5|2)|qwq": ("qwen2",),
        r"vault-?gemma": ("vaultgemma",), r"recurrent-?gemma": ("recurrent_gemma",), r"gemma-?3n": ("gemma3n",),
        r"gemma-?4": ("gemma4",), r"gemma-?3(?!\d*b)": ("gemma3",), r"gemma-?2(?!\d*b)": ("gemma2",),
        r"(?:code)?gemma": ("gemma",), r"phi-?3\.5-?moe": ("phimoe",), r"phi-?[34]": ("phi3",), r"phi-?[12]": ("phi",),
        r"pythia|gpt-?neox": ("gpt_neox",), r"gpt-?neo": ("gpt_neo",), r"gpt-?j": ("gptj",), r"gpt-?oss": ("gpt_oss",),
        r"(?:distil)?gpt-?2": ("gpt2",), r"olmoe": ("olmoe",), r"olmo-?3": ("olmo3",), r"olmo-?2": ("olmo2",),
        r"olmo": ("olmo",), r"falcon-?h1": ("falcon_h1",), r"falcon-?mamba": ("falcon_mamba",),
        r"falcon-?3": ("llama",), r"falcon": ("falcon",), r"bloomz?": ("bloom",), r"opt-\d": ("opt",),
        r"mpt-\d": ("mpt",), r"stable-?lm": ("stablelm",), r"starcoder-?2": ("starcoder2",),
        r"starcoder": ("gpt_bigcode",),
        r"deepseek-?(?:v3|r1)": ("deepseek_v3",), r"deepseek-?v2": ("deepseek_v2",), r"glm-?4\.[5-9]": ("glm4_moe",),
        r"glm-?4": ("glm", "glm4"), r"granite-?3": ("granite",), r"granite-?4": ("granitemoehybrid", "granite"),
        r"(?:c4ai-)?command-?r": ("cohere", "cohere2"), r"lfm-?2": ("lfm2", "lfm2_moe"), r"jamba": ("jamba",),
        r"exaone-?4": ("exaone4",), r"ernie-?4\.5": ("ernie4_5", "ernie4_5_moe"), r"seed-?oss": ("seed_oss",),
    }.items()
)  # fmt: skip
"""Names under which models are published, in order: the first that fits says the model types."""


def compare_names(
    hint: str, types: Collection[str], *, name: str = ""
) -> Literal["same", "other", "unknown", "silent"]:
    """Return whether a name in a file stands for a model: `silent` if it says nothing, `unknown` if nobody knows it.

    Args:
        hint: what the file says: an architecture of llama.cpp, a model type or class of transformers, a hub name.
        types: model types of the model in transformers, with that of its language model if it has several.
        name: the name of the model.

    >>> compare_names("gemma3", ["gemma3_text"]), compare_names("Qwen/Qwen2.5-7B", ["qwen2"])
    ('same', 'same')
    >>> compare_names("gpt2", ["llama"]), compare_names("unknown", ["llama"]), compare_names("mine", ["llama"])
    ('other', 'silent', 'unknown')
    """
    plain = _plain(hint)
    if plain in _SAYS_NOTHING:
        return "silent"
    if plain.removesuffix("gguf") in {_plain(name), _plain(_last(name))} or _plain(_last(hint)) == _plain(_last(name)):
        return "same"
    wanted = types_of(hint)
    if not wanted:
        return "unknown"
    return "same" if wanted & {_without_text(kind) for kind in types} else "other"


def types_of(hint: str) -> set[str]:
    """Return the model types that a name stands for, without the ending `_text`; none if it is not known.

    >>> types_of("phi2"), types_of("Gemma3ForCausalLM"), types_of("meta-llama/Llama-3.1-8B")
    ({'phi'}, {'gemma3'}, {'llama'})
    """
    known = _known_types()
    for each in (hint, _CLASS.sub("", hint.strip()), _last(hint)):
        if found := known.get(_plain(each)):
            return set(found)
    text = re.sub(r"[_\s]+", "-", _last(hint).strip().lower())
    return next((set(types) for pattern, types in _RELEASES if pattern.search(text)), set())


def warn_of_other_model(hint: object, model: "ResidualModel", path: Path) -> None:
    """Warn, once, if a file was made for another model, or does not say for which although it names one.

    The width and the layers are checked elsewhere.
    """
    if not isinstance(hint, str):
        return
    config = model.hf.config
    types = {str(each.model_type) for each in (config, config.get_text_config(decoder=True))}
    answer = compare_names(hint, types, name=model.name)
    if answer == "same":
        return
    kind = quote(str(config.model_type))
    why = {
        "silent": f"does not say which model it was made for ({quote(hint)}): if that is not {quote(model.name)}",
        "unknown": f"says that it was made for {quote(hint)}, a name that is not known here, and {quote(model.name)} "
        f"is of type {kind}: if that is not the same model",
        "other": f"says that it was made for a model of type {quote(hint)}, and {quote(model.name)} is of type {kind}: "
        "if that is not the same model",
    }[answer]
    warnings.warn(f"{quote(path)} {why}, its directions have no meaning here", SteerWarning, stacklevel=3)


@cache
def _known_types() -> dict[str, set[str]]:
    """Model types by their own names, those of their classes, and those of llama.cpp, all without punctuation."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    known: dict[str, set[str]] = {}
    for kind in CONFIG_MAPPING:
        known.setdefault(_plain(kind), set()).add(_without_text(kind))
    for kind, names in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.items():
        for name in [names] if isinstance(names, str) else names:
            known.setdefault(_plain(_CLASS.sub("", name)), set()).add(_without_text(kind))
    for name, kinds in LLAMA_CPP.items():
        known.setdefault(_plain(name), set()).update(kinds)
    return known


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _last(name: str) -> str:
    return name.rstrip("/").rsplit("/", 1)[-1]


def _without_text(kind: str) -> str:
    return kind.removesuffix("_text").removesuffix("-text")
