"""Typical texts of a candidate are those with the highest scores."""

import pytest
from helpers.planted import rainbows as texts

from vectors.common.errors import InputError
from vectors.discovery.discover import discover
from vectors.model.residual_model import ResidualModel, load_model


@pytest.fixture(scope="module")
def model(model_folder) -> ResidualModel:
    return load_model(model_folder("llama"), "cpu")


def test_typical_texts_are_the_tenth_with_the_highest_scores(model):
    discovery = discover(model, texts(95), k=2, layer=1)
    contrast, away = discovery.contrast(1), discovery.contrast(1, away=True)
    assert len(contrast.positive) == 10 and len(contrast.background) == 85
    scores = dict(zip(discovery.texts, discovery.candidates[0].scores.tolist(), strict=True))
    assert min(map(scores.get, contrast.positive)) >= max(map(scores.get, contrast.background))
    assert max(map(scores.get, away.positive)) <= min(map(scores.get, away.background))
    for number in (0, 3, -1):
        with pytest.raises(InputError, match="from 1 to 2"):
            discovery.candidate(number)
