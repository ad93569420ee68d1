"""The transformers tokenizer of a GGUF file, compared with the tokens that the file lists."""

from importlib import import_module
from typing import Any, Final

from vectors.common.errors import ModelError
from vectors.common.validation import quote
from vectors.model.loading import short_message, silence_transformers
from vectors.model.sources.gguf.header import GgufFile

_CONTROL: Final = 3  # the type of tokens that no text has
_MEND: Final = "give the model's folder in Hugging Face format"

_WORDS: Final = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)"
_QWEN2: Final = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_LLAMA3: Final = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_RULES: Final[dict[tuple[str, ...], tuple[str, ...]]] = {
    ("default",): (r"[\p{P}\$\+<=>\^~\|]+", _WORDS, r"\p{N}+", "[0-9][0-9][0-9]"),
    (
        "gpt-2", "phi-2", "gigachat", "a.x-4.0", "mellum", "modern-bert", "mpt", "olmo", "jais", "trillion",
        "granite-docling", "exaone4", "roberta-bpe",
    ): (_WORDS,),
    ("starcoder", "refact", "command-r", "smollm", "codeshell", "exaone", "minerva-7b", "mellum2"): (r"\p{N}", _WORDS),
    ("falcon",): (r"[\p{P}\$\+<=>\^~\|`]+", _WORDS, "[0-9][0-9][0-9]"),
    ("qwen2", "deepseek-r1-qwen", "kormo", "f2llmv2", "megrez", "stablelm2", "hunyuan", "solar-open"): (_QWEN2,),
    (
        "llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2", "jina-v5-nano",
        "dbrx", "smaug-bpe", "glm4", "chatglm-bpe",
    ): (_LLAMA3,),
}  # fmt: skip
"""How llama.cpp cuts a text before byte pairs are merged, by the rule's names (tokenizer.ggml.pre)."""

_FROM_TRANSFORMERS: Final = ("tekken", "gpt-4o", "llama4")
"""Rules that are taken as transformers has them."""


def tokenizer_of(file: GgufFile) -> Any:
    """Return the tokenizer of the model in a file.

    Raises:
        ModelError: a tokenizer of another kind, or one whose tokens are not those that the file lists.
    """
    tokens = file.metadata.get("tokenizer.ggml.tokens")
    if not isinstance(tokens, list) or not tokens:
        raise ModelError(f"{quote(file.path)} holds no tokenizer (tokenizer.ggml.tokens): {_MEND}")
    if len(tokens) > (n_embedded := file.tensors["token_embd.weight"].shape[0]):
        raise ModelError(f"{quote(file.path)} lists {len(tokens)} tokens and embeds {n_embedded}: convert it again")
    kind, rule = file.metadata.get("tokenizer.ggml.model"), file.metadata.get("tokenizer.ggml.pre", "default")
    known = [rules for names, rules in _RULES.items() if rule in names]
    if kind not in ("llama", "gpt2") or (kind == "gpt2" and not known and rule not in _FROM_TRANSFORMERS):
        raise ModelError(
            f"{quote(file.path)} has a tokenizer of kind {quote(kind)} with the rule {quote(rule)}, which is not known "
            f"here: {_MEND}"
        )
    try:
        with silence_transformers():
            from transformers import AutoTokenizer

            tokenizer: Any = (
                _of_single_bytes(file, tokens)
                if kind == "gpt2" and not file.metadata.get("tokenizer.ggml.merges")
                else AutoTokenizer.from_pretrained(file.path.parent, gguf_file=file.path.name, local_files_only=True)
            )
    except Exception as error:
        raise ModelError(f"{quote(file.path)} has no tokenizer that fits ({short_message(error)}): {_MEND}") from error
    if kind == "gpt2" and known:
        _cut_by(tokenizer, known[0])
    _check_tokens(file, tokenizer, tokens)
    return tokenizer


def _of_single_bytes(file: GgufFile, tokens: list[str]) -> Any:
    """Return a byte-level tokenizer without merges, for which transformers would look for scores."""
    from tokenizers import Tokenizer, decoders, models
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE(vocab={token: number for number, token in enumerate(tokens)}, merges=[]))
    raw.decoder = decoders.ByteLevel()
    kinds = file.metadata.get("tokenizer.ggml.token_type") or []
    raw.add_special_tokens([token for token, kind in zip(tokens, kinds, strict=False) if kind == _CONTROL])
    ids = {name: file.metadata.get(f"tokenizer.ggml.{name}_token_id") for name in ("bos", "eos")}
    special = {f"{name}_token": tokens[number] for name, number in ids.items() if number is not None}
    tokenizer_class: Any = PreTrainedTokenizerFast
    return tokenizer_class(tokenizer_object=raw, **special)


def _cut_by(tokenizer: Any, rules: tuple[str, ...]) -> None:
    """Let a byte-level tokenizer cut texts by expressions, one after the other."""
    from tokenizers import Regex, pre_tokenizers

    cuts = [pre_tokenizers.Split(Regex(rule), behavior="isolated") for rule in rules]
    bytes_only = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*cuts, bytes_only])


def _check_tokens(file: GgufFile, tokenizer: Any, tokens: list[str]) -> None:
    """Compare every token, and the special ones, with the list in the file."""
    if len(tokenizer) != len(tokens):
        raise ModelError(
            f"{quote(file.path)} lists {len(tokens)} tokens, and the tokenizer made from it has {len(tokenizer)}: "
            f"{_MEND}"
        )
    for number, (have, listed) in enumerate(
        zip(tokenizer.convert_ids_to_tokens(range(len(tokens))), tokens, strict=True)
    ):
        if have != listed and have not in _spellings(listed):
            raise ModelError(
                f"{quote(file.path)} lists {quote(listed)} as token {number}, and the tokenizer made from it has "
                f"{quote(have)}: {_MEND}"
            )
    for name, key in (("bos_token_id", "bos_token_id"), ("eos_token_id", "eos_token_id")):
        listed_id = file.metadata.get(f"tokenizer.ggml.{key}")
        if listed_id is not None and getattr(tokenizer, name) != listed_id:
            raise ModelError(
                f"{quote(file.path)} has {key} {quote(listed_id)}, and the tokenizer made from it "
                f"{quote(getattr(tokenizer, name))}: {_MEND}"
            )


def _spellings(token: str) -> tuple[str, ...]:
    """Return how a tokenizer may spell a token that llama.cpp writes out: blanks as ▁, and bytes by letters."""
    convert: Any = import_module("transformers.convert_slow_tokenizer")  # without types
    letters = convert.bytes_to_unicode()
    return token.replace(" ", "▁"), "".join(letters[byte] for byte in token.encode())
