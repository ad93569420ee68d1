"""Discovery: what texts differ in is found, the same whatever their order, and what cannot be is refused."""

import numpy as np
import pytest
import torch
from helpers.planted import rainbows as texts
from scipy import stats

from vectors.common.errors import InputError, ModelError
from vectors.common.statistics import auc
from vectors.decoding.prompt_free_samples import sample_prompt_free
from vectors.discovery.discover import MAX_TOKENS, discover, shape_of
from vectors.model.residual_model import ResidualModel, load_model


@pytest.fixture(scope="module")
def model(model_folder) -> ResidualModel:
    return load_model(model_folder("llama"), "cpu")


def test_what_few_texts_have_is_found(model):
    found = discover(model, texts(), k=16, layer=0)
    has = np.array(["rainbow" in text for text in found.texts])
    aucs = [auc(each.scores.numpy()[has], each.scores.numpy()[~has]) for each in found.candidates]
    assert aucs[0] > 0.95  # and it comes first
    assert all("rainbow" in found.texts[place] for place in found.ranked(1)[:3])
    assert all("rainbow" in snippet for snippet in found.candidates[0].snippets)
    assert not any("rainbow" in found.texts[place] for place in found.ranked(1, away=True)[:3])


@pytest.mark.parametrize("method", ["ica", "pca", "dictionary"])
def test_the_order_of_the_texts_means_nothing_and_a_seed_repeats_it(model, method):
    given = texts(60)
    one = discover(model, given, k=4, method=method, layer=1, seed=2)
    two = discover(model, [*given[::-1], *given[:5]], k=4, method=method, layer=1, seed=2)
    assert one.texts == two.texts and torch.equal(one.means, two.means)
    for first, second in zip(one.candidates, two.candidates, strict=True):
        assert torch.equal(first.part, second.part) and torch.equal(first.scores, second.scores)
        assert (first.top, first.snippets, first.share) == (second.top, second.snippets, second.share)


def test_scores_are_the_filter_read_over_own_tokens(model):
    found = discover(model, texts(40), k=3, layer=1)
    each = found.candidates[1]
    read = []
    for text in found.texts:
        with torch.no_grad():
            states = model.hf(torch.tensor(model.encode([text])), output_hidden_states=True).hidden_states[2][0, 1:]
        read.append(float((states @ each.filter).mean()))
    offset = np.array(read) - each.scores.numpy()
    assert np.allclose(offset, offset[0], atol=1e-3)  # all texts are as long as each other; the rest is the mean
    skewness, kurtosis = shape_of(each.scores.double().numpy()[:, None])
    assert each.skewness == pytest.approx(float(skewness[0]), abs=1e-3)
    assert each.kurtosis == pytest.approx(float(kurtosis[0]), abs=1e-3)
    assert 0 < each.share < 1


def test_pca_comes_by_variance_and_the_others_by_skewness(model):
    by_variance = discover(model, texts(), k=6, method="pca", layer=0).candidates
    assert [each.share for each in by_variance] == sorted((each.share for each in by_variance), reverse=True)
    by_skewness = discover(model, texts(), k=6, layer=0).candidates
    assert [each.skewness for each in by_skewness] == sorted((each.skewness for each in by_skewness), reverse=True)


def test_shape_is_that_of_scipy_but_for_strays():
    scores = np.random.default_rng(0).gamma(2.0, size=(1000, 1))
    skewness, kurtosis = shape_of(scores)
    near = scores[np.abs(scores - np.median(scores)).argsort(axis=0)[:995, 0]]
    assert np.allclose(skewness, stats.skew(near)) and np.allclose(kurtosis, stats.kurtosis(near))
    stray = np.random.default_rng(1).standard_normal((1000, 1))
    stray[0] = 1000.0
    assert stats.skew(stray)[0] > 30 and abs(shape_of(stray)[0][0]) < 0.3
    assert np.isfinite(shape_of(np.zeros((5, 1)))).all()


def test_typical_texts_are_the_tenth_with_most_of_it(model):
    found = discover(model, texts(95), k=2, layer=1)
    contrast, away = found.contrast(1), found.contrast(1, away=True)
    assert len(contrast.positive) == 10 and len(contrast.background) == 85
    scores = dict(zip(found.texts, found.candidates[0].scores.tolist(), strict=True))
    assert min(map(scores.get, contrast.positive)) >= max(map(scores.get, contrast.background))
    assert max(map(scores.get, away.positive)) <= min(map(scores.get, away.background))
    for number in (0, 3, -1):
        with pytest.raises(InputError, match="from 1 to 2"):
            found.candidate(number)


def test_the_model_writes_texts_of_its_own(model):
    found = discover(model, k=3, samples=40, seed=5)
    assert found.own and found.layer == 1 and len(found.candidates) == 3
    longest = min(MAX_TOKENS, 63)
    written = sample_prompt_free(model, 40, seed=5, max_tokens=MAX_TOKENS)
    assert set(found.texts) == set(written) and all(len(model.encode([text])[0]) <= longest + 1 for text in written)
    assert sample_prompt_free(model, 10, seed=5, max_tokens=MAX_TOKENS) == written[:10]


@pytest.mark.parametrize(
    ("given", "options", "said"),
    [
        ([], {}, "0 different texts"),
        (["the sea"], {}, "1 different texts"),
        (["the sea"] * 100, {}, "1 different texts"),
        (texts(40), {"k": 33}, "width 32"),
        ([*texts(32)[:31], "a"], {"k": 32, "layer": 9}, "layers 0 to 2"),
        (texts(40), {"k": 0}, "whole number"),
        (texts(40), {"method": "kmeans"}, "choose from"),
        ([*texts(40), ""], {}, "no token of its own"),
        (None, {"samples": 5}, "5 different texts"),
        (None, {"samples": 0}, "0 different texts"),
    ],
)
def test_what_cannot_be_looked_in_is_refused(model, given, options, said):
    with pytest.raises(InputError, match=said):
        discover(model, given, **options)


def test_a_model_without_a_start_token_needs_texts(make_hf, make_tokenizer):
    silent = ResidualModel(make_hf("gpt2"), make_tokenizer(bos=False, eos=False), name="silent")
    with pytest.raises(ModelError, match="--texts"):
        discover(silent, k=2)
    assert len(discover(silent, texts(40), k=2).candidates) == 2
