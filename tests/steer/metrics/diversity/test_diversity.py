"""Diversity of copies and of real texts, and of texts that differ in length or in success only."""

from collections.abc import Sequence

import numpy as np
import pytest

from steer.judges.almanac import Almanac
from steer.metrics.diversity.diversity import MIN_TEXTS, activations, diversity
from steer.metrics.diversity.ngrams import first_words, words
from steer.metrics.diversity.vendi import cosines, vendi_of_kernel
from vectors.common.errors import InputError
from vectors.model.residual_model import ResidualModel

WORLD = Almanac()
REAL = WORLD.texts({"topic": "sea"}, 160, seed=1)


def named(figures) -> dict:
    return {each.name: each for each in figures}


def test_copies_of_one_text_have_the_values_of_an_empty_sampler() -> None:
    estimates = named(diversity([REAL[0]] * 40, reference=WORLD, real=REAL))
    assert {"Vendi 1, words", "Vendi 2, words", "distinct-3", "self-BLEU", "compression ratio"} < set(estimates)
    for figure in estimates.values():
        assert figure.value == pytest.approx(figure.empty, rel=1e-6), figure.name
        assert figure.empty != pytest.approx(figure.perfect) and figure.low < figure.high, figure.name


def test_real_texts_have_the_expected_values() -> None:
    """Some of the 95 % intervals may miss."""
    estimates = diversity(WORLD.texts({"topic": "sea"}, 60, seed=9), reference=WORLD, real=REAL)
    missed = [each.name for each in estimates if not each.low <= each.perfect <= each.high]
    assert len(missed) <= 2, missed


def test_all_texts_are_cut_to_the_same_length() -> None:
    """A text repeated twice is less diverse as a whole, and the same over its first words."""
    twice = [f"{text} {text}" for text in REAL[:30]]
    one, other = (named(diversity(texts, length=20)) for texts in (REAL[:30], twice))
    assert one["distinct-1"].value == other["distinct-1"].value
    assert named(diversity(twice, length=500))["distinct-1"].value < one["distinct-1"].value


def test_embedders_see_the_same_words() -> None:
    seen: list[str] = []

    def embed(texts) -> np.ndarray:
        seen.extend(texts)
        return np.random.default_rng(0).normal(size=(len(texts), 4))

    diversity(REAL[:10], embedders={"any": embed}, length=5)
    assert all(words(text) == words(whole)[:5] for text, whole in zip(seen, REAL, strict=False)) and len(seen) == 10


def test_only_drawn_real_texts_are_embedded() -> None:
    def embed(texts: Sequence[str]) -> np.ndarray:
        n_embedded.append(len(texts))
        return np.array([[len(text), text.count("e"), text.count("the")] for text in texts], dtype=float)

    n_embedded: list[int] = []
    texts = WORLD.texts({"topic": "sea"}, 10, seed=9)
    figures = named(diversity(texts, embedders={"letters": embed}, real=REAL, length=20, seed=3))
    assert sorted(n_embedded)[0] == 10 and sorted(n_embedded)[1] <= 8 * 10 < len(REAL)
    rows = embed([first_words(text, 20) for text in REAL])
    random = np.random.default_rng(3)
    subsets = [np.sort(random.choice(len(REAL), 10, replace=False)) for _ in range(8)]
    scores = [vendi_of_kernel(cosines(rows[subset])) for subset in subsets]
    assert figures["Vendi 1, letters"].perfect == pytest.approx(np.mean(scores))


@pytest.mark.parametrize("blank", ["", "\n"])
def test_blank_texts_are_alike_and_unlike_all_others(llama_model: ResidualModel, blank: str) -> None:
    texts = [blank, blank, "a", "the cat sat", *REAL[:8]]
    estimates = named(diversity(texts, embedders={"activations": activations(llama_model)}))
    one = named(diversity([text for text in texts if text.strip()], length=500))
    assert np.isfinite([each.value for each in estimates.values()]).all() and "distinct-1" in estimates
    assert estimates["Vendi 1, words"].value > 1 and one["Vendi 1, words"].value > 1
    assert "distinct-3" not in named(diversity(["one", *["two words"] * 9]))


def test_only_texts_that_a_judge_accepts_are_compared() -> None:
    mixed = [*REAL[:20], *["a failure"] * 30]
    estimates = named(diversity(mixed, judges=lambda text: text != "a failure", length=20))
    alone = named(diversity(REAL[:20], length=20))
    assert estimates["Vendi 1, words"] == alone["Vendi 1, words"]
    with pytest.raises(InputError, match=f"0 of 50 texts are successful: diversity needs {MIN_TEXTS}"):
        diversity(mixed, judges=lambda text: False)


def test_activations_are_cached_and_in_order(llama_model: ResidualModel, monkeypatch: pytest.MonkeyPatch) -> None:
    embed, texts = activations(llama_model), ["the cat sat", "a storm", "the cat sat", "the sea"]
    rows = embed(texts)
    assert np.array_equal(rows[0], rows[2]) and not np.array_equal(rows[0], rows[1])
    monkeypatch.setattr("steer.metrics.diversity.diversity.text_means", None)
    assert np.array_equal(embed(texts[::-1]), rows[::-1])


def test_too_few_texts_and_too_few_real_ones_are_refused() -> None:
    with pytest.raises(InputError, match="needs 8 or more"):
        diversity(REAL[:7])
    with pytest.raises(InputError, match="as many or more"):
        diversity(REAL[:20], real=REAL[:10])
