"""The embedded model's tokenizer: byte-level BPE learned on the Almanac's stream."""

from collections.abc import Iterable
from itertools import islice
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from vectors.almanac.world.author import stream

BOS, EOS = "<bos>", "<eos>"
VOCAB_SIZE = 8192
"""Enough that nearly every word is one piece: of 4,096 pieces one word in 8 is split, and split words come out as parts
of words now and then."""
CONTEXT = 256
ENTRIES = 40_000
"""Entries of the stream that the pieces are learned from."""


def learn(texts: Iterable[str], *, vocab_size: int = VOCAB_SIZE) -> PreTrainedTokenizerFast:
    """A tokenizer of `vocab_size` pieces learned on `texts`; encoding starts every text with BOS.

    A word is the same piece at a line's start as elsewhere: every line is read with a blank before it, which decoding
    takes away again.
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
    learned: PreTrainedTokenizerFast = fast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=EOS,
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
    )
    return learned


def learn_from_stream(seed: int, *, entries: int = ENTRIES) -> PreTrainedTokenizerFast:
    """The tokenizer learned on the first entries of a stream."""
    return learn(entry.text for entry in islice(stream(seed), entries))
