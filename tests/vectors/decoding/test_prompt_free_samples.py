"""Samples from the start token alone: reproducible, under one shift for all or one for each."""

import numpy as np
import pytest
import torch

from vectors.decoding.prompt_free_samples import fitting_length, sample_prompt_free, sample_shifted
from vectors.decoding.token_sampling import Settings


def test_shifted_samples_are_reproducible_and_pressure_is_their_kl(llama_model):
    samples = sample_shifted(
        llama_model, {1: torch.ones(llama_model.d_model)}, n=6, settings=Settings(max_tokens=10), seed=1
    )
    again = sample_shifted(
        llama_model, {1: torch.ones(6, llama_model.d_model)}, n=6, settings=Settings(max_tokens=10), seed=1
    )
    assert samples.texts == again.texts and len(samples.texts) == 6
    assert np.allclose(samples.kl, again.kl) and (samples.kl > 0).all()
    assert samples.p95 == pytest.approx(np.percentile(samples.kl, 95))
    unshifted = sample_shifted(
        llama_model, {1: torch.zeros(llama_model.d_model)}, n=6, settings=Settings(max_tokens=10), seed=1
    )
    assert unshifted.p95 == 0


def test_a_sample_does_not_depend_on_how_many_there_are(llama_model):
    settings, shift = Settings(max_tokens=10), {1: torch.ones(llama_model.d_model)}
    few, many = (sample_shifted(llama_model, shift, n=n, settings=settings, seed=3).texts for n in (3, 7))
    assert few == many[:3]
    few, many = (sample_prompt_free(llama_model, n, seed=3) for n in (3, 7))  # without blank texts
    assert few and few == many[: len(few)]


def test_every_sample_is_reported_and_fits_into_the_context(llama_model):
    reported = []
    samples = sample_prompt_free(llama_model, 5, max_tokens=10**6, progress=reported.append)
    assert reported == [1] * 5 and len(samples) <= 5
    assert fitting_length(llama_model, 10**6) == llama_model.max_context - 1
    assert fitting_length(llama_model, 8) == 8
