"""The embedded model's tokenizer: byte-level BPE trained on the Almanac's stream."""

from collections.abc import Iterable
from itertools import islice
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from vectors.almanac.world.author import stream

BOS, EOS = "<bos>", "<eos>"
VOCAB_SIZE = 8192
"""Large enough that nearly every word is one token: with 4,096 tokens one word in 8 is split, and the model sometimes
writes half of a split word."""
CONTEXT = 256
ENTRIES = 40_000
"""Entries of the stream that the tokenizer is trained on."""


def train_tokenizer(texts: Iterable[str], *, vocab_size: int = VOCAB_SIZE) -> PreTrainedTokenizerFast:
    """Train a tokenizer with `vocab_size` tokens on `texts`; it begins every encoded text with BOS.

    A word is the same token at the start of a line as elsewhere: encoding adds a blank before every line, and decoding
    removes it.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Replace(Regex("\n(?=.)"), "\n "), normalizers.Prepend(" ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Replace(Regex("^ "), "")])
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[BOS, EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing(single=f"{BOS} $A", pair=f"{BOS} $A $B", special_tokens=[(BOS, 0)]),
        ]
    )
    fast: Any = PreTrainedTokenizerFast  # its constructor has no types
    trained: PreTrainedTokenizerFast = fast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=EOS,
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
    )
    return trained


def train_on_stream(seed: int, *, entries: int = ENTRIES) -> PreTrainedTokenizerFast:
    """Train a tokenizer on the first entries of a stream."""
    return train_tokenizer(entry.text for entry in islice(stream(seed), entries))
