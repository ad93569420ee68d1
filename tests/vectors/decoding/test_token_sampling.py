"""Token sampling against torch's and transformers' arithmetic."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import LogitsProcessorList, MinPLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from vectors.common.errors import InputError
from vectors.decoding.token_sampling import Settings, inverse_cdf, sample_tokens, truncate


def uniform(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_tokens_follow_the_distribution():
    logits = torch.tensor([[0.0, 1.0, 2.0, -1.0]])
    tokens = sample_tokens(logits.expand(20_000, -1), (torch.arange(20_000).double() + 0.5) / 20_000, Settings())
    share = torch.bincount(tokens, minlength=4) / 20_000
    assert torch.allclose(share.float(), torch.softmax(logits[0], dim=-1), atol=1e-4)


@given(st.integers(1, 700), st.integers(0, 2**32), st.floats(0, 1, exclude_max=True), st.floats(0, 0.95))
def test_blocks_agree_with_one_cumulative_sum(width, seed, at, empty):
    random = np.random.default_rng(seed)
    masses = random.random(width).astype(np.float32) * (random.random(width) >= empty)
    masses[random.integers(width)] += 0.5
    token = int(inverse_cdf(torch.from_numpy(masses)[None], uniform(at)))
    cdf = masses.astype(np.float64).cumsum()
    assert masses[token] > 0  # never what has no mass, not even at the ends
    rounding = 1e-5 * cdf[-1]
    assert cdf[token] > at * cdf[-1] - rounding and cdf[token] - masses[token] <= at * cdf[-1] + rounding


def test_no_token_beyond_the_vocabulary_or_without_mass():
    masses = torch.zeros(1, 300)
    masses[0, 130] = 1e-30
    for at in (0.0, 0.5, 1 - 2**-53):
        assert inverse_cdf(masses, uniform(at)).tolist() == [130]


def test_temperature_zero_takes_the_most_likely_token():
    assert sample_tokens(torch.tensor([[0.0, 3.0, 2.0]]), uniform(0.99), Settings(temperature=0)).tolist() == [1]


def test_a_tiny_temperature_takes_the_most_likely_token():
    assert sample_tokens(torch.tensor([[-5.0, 3.0, 2.0]]), uniform(0.99), Settings(temperature=1e-308)).tolist() == [1]


@pytest.mark.parametrize(
    "settings", [{"top_k": 3}, {"top_p": 0.7}, {"min_p": 0.2}, {"top_k": 5, "top_p": 0.8, "min_p": 0.05}]
)
def test_truncation_agrees_with_transformers(settings):
    logits = torch.randn(8, 40, generator=torch.Generator().manual_seed(2)) * 2
    warpers = LogitsProcessorList()
    if "top_k" in settings:
        warpers.append(TopKLogitsWarper(settings["top_k"]))
    if "top_p" in settings:
        warpers.append(TopPLogitsWarper(settings["top_p"]))
    if "min_p" in settings:
        warpers.append(MinPLogitsWarper(settings["min_p"]))
    expected = torch.softmax(warpers(None, logits.clone()), dim=-1)
    truncated = truncate(torch.softmax(logits.double(), dim=-1), Settings(**settings))
    assert torch.allclose((truncated / truncated.sum(dim=-1, keepdim=True)).float(), expected, atol=1e-6)


@pytest.mark.parametrize(
    "wrong",
    [{"max_tokens": 0}, {"temperature": -1}, {"temperature": float("nan")}, {"top_p": 0}, {"top_p": 1.1}, {"top_k": -1},
     {"min_p": 1}, {"positions": "some"}],
)  # fmt: skip
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        Settings(**wrong)
