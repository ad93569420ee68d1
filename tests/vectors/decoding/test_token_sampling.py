"""Token sampling against torch's and transformers' arithmetic."""

import math

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import LogitsProcessorList, MinPLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from vectors.common.errors import InputError
from vectors.decoding.token_sampling import Settings, probabilities, race, sample_tokens, token_noise, truncate


def noise_for(n: int, vocabulary: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(token_noise(seed, 0, n, vocabulary))


@pytest.mark.parametrize("vocabulary", [4, 64, 65, 300, 5000])
@pytest.mark.parametrize("settings", [{}, {"temperature": 1.7}, {"top_k": 3}, {"top_p": 0.6}, {"min_p": 0.3}])
def test_tokens_follow_the_distribution(vocabulary, settings):
    logits = 2 * torch.randn(1, vocabulary, generator=torch.Generator().manual_seed(vocabulary))
    sampling = Settings(**settings)
    expected = probabilities(logits, sampling)[0].double().numpy()
    tokens = sample_tokens(logits.expand(20_000, -1), noise_for(20_000, vocabulary), sampling)
    counts = np.bincount(tokens, minlength=vocabulary)
    expected *= 20_000 / expected.sum()
    assert not counts[expected == 0].any()
    common = expected >= 10  # rarer tokens count together
    observed, wanted = [*counts[common], counts[~common].sum()], [*expected[common], expected[~common].sum()]
    pairs = [(one, other) for one, other in zip(observed, wanted, strict=True) if other > 0]
    if len(pairs) > 1:
        assert scipy.stats.chisquare(*zip(*pairs, strict=True)).pvalue > 1e-3


def test_independent_draws_of_one_sample():
    """The numbers of neighbouring tokens are independent: pairs of draws fill the square."""
    logits = torch.zeros(1, 16)
    tokens = sample_tokens(logits.expand(20_000, -1), noise_for(20_000, 16), Settings()).numpy()
    pairs = np.bincount(tokens[:-1:2] * 16 + tokens[1::2], minlength=256)
    assert scipy.stats.chisquare(pairs).pvalue > 1e-3


def test_noise_depends_on_seed_index_and_position_alone():
    long = token_noise(3, 5, 40, 1000)
    assert np.array_equal(long[:7], token_noise(3, 5, 7, 1000))
    assert not np.array_equal(long[:7], token_noise(3, 6, 7, 1000))
    assert not np.array_equal(long[:7], token_noise(4, 5, 7, 1000))
    assert (long > 0).all() and np.isfinite(long).all()


@given(st.integers(1, 700), st.integers(0, 2**32), st.floats(0, 0.95))
def test_no_token_beyond_the_vocabulary_or_without_mass(width, seed, empty):
    random = np.random.default_rng(seed)
    masses = random.random(width).astype(np.float32) * (random.random(width) >= empty)
    masses[random.integers(width)] += 1e-30
    (token,) = race(torch.from_numpy(masses)[None], noise_for(1, width, seed)).tolist()
    assert masses[token] > 0


def test_masses_that_are_not_finite_give_some_token():
    for value in (math.nan, math.inf):
        (token,) = race(torch.full((1, 130), value), noise_for(1, 130)).tolist()
        assert 0 <= token < 130


def test_rounding_changes_few_tokens():
    """Noise of the size of bfloat16 rounding changes the inverse CDF's token in a third of all draws."""
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(2000, 20_000, generator=generator)
    rounded = logits + 0.01 * torch.randn(logits.shape, generator=generator)
    noise = noise_for(2000, 20_000)
    changed = sample_tokens(logits, noise, Settings()) != sample_tokens(rounded, noise, Settings())
    assert float(changed.float().mean()) < 0.02


def test_temperature_zero_takes_the_most_likely_token():
    assert sample_tokens(torch.tensor([[0.0, 3.0, 2.0]]), noise_for(1, 3), Settings(temperature=0)).tolist() == [1]


def test_a_tiny_temperature_takes_the_most_likely_token():
    settings = Settings(temperature=1e-308)
    assert sample_tokens(torch.tensor([[-5.0, 3.0, 2.0]]), noise_for(1, 3), settings).tolist() == [1]


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
