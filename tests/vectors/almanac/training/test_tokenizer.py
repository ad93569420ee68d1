"""The tokenizer decodes what it encodes, and a word is the same token anywhere in a line."""

from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from vectors.almanac.training.tokenizer import BOS, EOS, train_tokenizer
from vectors.almanac.world.author import stream


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return train_tokenizer((made.text for made in islice(stream(5), 300)), vocab_size=900)


@settings(deadline=None)
@given(st.text() | st.text(alphabet="a \n\t\r,.é☃"))
def test_every_text_is_decoded_again(tokenizer, text):
    ids = tokenizer(text)["input_ids"]
    assert ids[0] == tokenizer.convert_tokens_to_ids(BOS) == tokenizer.bos_token_id
    assert tokenizer.decode(ids, skip_special_tokens=True) == text


def test_a_word_is_the_same_token_at_the_start_of_a_line(tokenizer):
    pieces = tokenizer.convert_ids_to_tokens(tokenizer("the sea\nthe\n\nthe")["input_ids"])[1:]
    assert [piece for piece in pieces if piece.endswith("the")] == ["\u0120the"] * 3


def test_generated_tokens_keep_their_first_blank_after_a_prompt(tokenizer):
    prompt, whole = tokenizer("the")["input_ids"], tokenizer("the sea")["input_ids"]
    assert whole[: len(prompt)] == prompt
    assert tokenizer.decode(whole)[len(tokenizer.decode(prompt)) :] == " sea"


def test_the_special_tokens_are_the_first_two(tokenizer):
    assert tokenizer.convert_tokens_to_ids([BOS, EOS]) == [0, 1] == [tokenizer.bos_token_id, tokenizer.eos_token_id]
