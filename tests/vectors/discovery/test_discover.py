"""Discovery finds what texts differ in, whatever their order, and refuses unusable arguments."""

import numpy as np
import pytest
import torch
from helpers.planted import rainbows as texts
from scipy import stats

from vectors.common.errors import InputError, ModelError
from vectors.common.statistics import auc
from vectors.decoding.prompt_free_samples import sample_prompt_free
from vectors.discovery.discover import MAX_TOKENS, discover, skewness_and_kurtosis
from vectors.model.residual_model import ResidualModel, load_model


@pytest.fixture(scope="module")
def model(model_folder) -> ResidualModel:
    return load_model(model_folder("llama"), "cpu")


def test_a_word_that_few_texts_have_comes_first(model):
    discovery = discover(model, texts(), k=16, layer=0)
    has = np.array(["rainbow" in text for text in discovery.texts])
    aucs = [auc(each.scores.numpy()[has], each.scores.numpy()[~has]) for each in discovery.candidates]
    assert aucs[0] > 0.95  # and it comes first
    assert all("rainbow" in discovery.texts[place] for place in discovery.ranked(1)[:3])
    assert all("rainbow" in snippet for snippet in discovery.candidates[0].snippets)
    assert not any("rainbow" in discovery.texts[place] for place in discovery.ranked(1, away=True)[:3])


@pytest.mark.parametrize("method", ["ica", "pca", "dictionary"])
def test_the_order_of_the_texts_has_no_effect_and_a_seed_reproduces_the_result(model, method):
    rainbows = texts(60)
    one = discover(model, rainbows, k=4, method=method, layer=1, seed=2)
    two = discover(model, [*rainbows[::-1], *rainbows[:5]], k=4, method=method, layer=1, seed=2)
    assert one.texts == two.texts and torch.equal(one.means, two.means)
    for first, second in zip(one.candidates, two.candidates, strict=True):
        assert torch.equal(first.part, second.part) and torch.equal(first.scores, second.scores)
        assert (first.top, first.snippets, first.share) == (second.top, second.snippets, second.share)


def test_a_score_is_the_mean_product_with_the_filter(model):
    discovery = discover(model, texts(40), k=3, layer=1)
    candidate = discovery.candidates[1]
    read = []
    for text in discovery.texts:
        with torch.no_grad():
            states = model.hf(torch.tensor(model.encode([text])), output_hidden_states=True).hidden_states[2][0, 1:]
        read.append(float((states @ candidate.filter).mean()))
    offset = np.array(read) - candidate.scores.numpy()
    assert np.allclose(offset, offset[0], atol=1e-3)  # all texts have the same length; the offset is the mean
    skewness, kurtosis = skewness_and_kurtosis(candidate.scores.double().numpy()[:, None])
    assert candidate.skewness == pytest.approx(float(skewness[0]), abs=1e-3)
    assert candidate.kurtosis == pytest.approx(float(kurtosis[0]), abs=1e-3)
    assert 0 < candidate.share < 1


def test_pca_is_ranked_by_variance_and_other_methods_by_skewness(model):
    by_variance = discover(model, texts(), k=6, method="pca", layer=0).candidates
    assert [each.share for each in by_variance] == sorted((each.share for each in by_variance), reverse=True)
    by_skewness = discover(model, texts(), k=6, layer=0).candidates
    assert [each.skewness for each in by_skewness] == sorted((each.skewness for each in by_skewness), reverse=True)


def test_skewness_and_kurtosis_are_those_of_scipy_without_outliers():
    scores = np.random.default_rng(0).gamma(2.0, size=(1000, 1))
    skewness, kurtosis = skewness_and_kurtosis(scores)
    near = scores[np.abs(scores - np.median(scores)).argsort(axis=0)[:995, 0]]
    assert np.allclose(skewness, stats.skew(near)) and np.allclose(kurtosis, stats.kurtosis(near))
    outlier = np.random.default_rng(1).standard_normal((1000, 1))
    outlier[0] = 1000.0
    assert stats.skew(outlier)[0] > 30 and abs(skewness_and_kurtosis(outlier)[0][0]) < 0.3
    assert np.isfinite(skewness_and_kurtosis(np.zeros((5, 1)))).all()


def test_the_model_writes_texts_of_its_own(model):
    discovery = discover(model, k=3, samples=40, seed=5)
    assert discovery.own and discovery.layer == 1 and len(discovery.candidates) == 3
    longest = min(MAX_TOKENS, 63)
    written = sample_prompt_free(model, 40, seed=5, max_tokens=MAX_TOKENS)
    assert set(discovery.texts) == set(written) and all(len(model.encode([text])[0]) <= longest + 1 for text in written)
    assert sample_prompt_free(model, 10, seed=5, max_tokens=MAX_TOKENS) == written[:10]


@pytest.mark.parametrize(
    ("given", "options", "message"),
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
def test_unusable_arguments_are_refused(model, given, options, message):
    with pytest.raises(InputError, match=message):
        discover(model, given, **options)


def test_a_model_without_a_start_token_needs_texts(make_hf, make_tokenizer):
    silent = ResidualModel(make_hf("gpt2"), make_tokenizer(bos=False, eos=False), name="silent")
    with pytest.raises(ModelError, match="--texts"):
        discover(silent, k=2)
    assert len(discover(silent, texts(40), k=2).candidates) == 2
