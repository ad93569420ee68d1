"""The shipped library: every concept is there and calibrated, and its texts show it, alone and with others."""

from collections import Counter, defaultdict
from collections.abc import Sequence

import pytest
import torch

import steer
import vectors
from vectors.almanac.concepts import CONCEPTS
from vectors.almanac.world import distribution, oracle
from vectors.almanac.world.author import entry
from vectors.common.paths import EMBEDDED_LIBRARY
from vectors.concepts.vector_file import load_file
from vectors.model.residual_model import ResidualModel

N = 24


@pytest.fixture(scope="module")
def model() -> ResidualModel:
    """The embedded model."""
    return vectors.load_model(device="cpu")


def success(model: ResidualModel, concepts: Sequence[str], *, dose: float = 1.0, radius: float = 0.0) -> float:
    """Share of texts in which the oracle reads all of the concepts."""
    point = steer.compose(dict.fromkeys(concepts, dose), model)
    texts = steer.sample(model, point, n=N, radius=radius, seed=11).texts
    wanted = dict(CONCEPTS[concept] for concept in concepts)
    return sum(oracle.read(text).matches(wanted) for text in texts) / N


@pytest.mark.slow
def test_the_model_begins_texts_as_often_as_the_author(model: ResidualModel) -> None:
    counts: dict[int, Counter[str | None]] = defaultdict(Counter)
    for i in range(6000):
        made = entry(99, i)
        counts[model.encode([made.text[:40]])[0][1]][made.attributes.form] += 1
    with torch.no_grad():
        probs = model.hf(torch.tensor([[model.bos_id]])).logits[0, -1].double().softmax(dim=-1)
    found: Counter[str | None] = Counter()
    drawn: Counter[str | None] = Counter()
    for token, forms in counts.items():
        drawn.update(forms)
        for form, count in forms.items():
            found[form] += float(probs[token]) * count / forms.total()
    # against these very entries; what begins none of them, and the noise of rare beginnings, is about 0.03
    away = sum(abs(found[form] / found.total() - count / drawn.total()) for form, count in drawn.items())
    assert len(drawn) == 8 and away / 2 < 0.04


def test_every_concept_is_there_and_calibrated(model: ResidualModel) -> None:
    files = {
        place.name.removesuffix(".safetensors"): load_file(place) for place in EMBEDDED_LIBRARY.glob("*.safetensors")
    }
    assert files.keys() == CONCEPTS.keys()
    for name, vector in files.items():
        assert (vector.name, vector.model_hash, vector.positions) == (name, model.hash, "bos")
        assert vector.calibrated and len(vector.unit_curve) > 6 and vector.auc is not None and vector.auc > 0.7


@pytest.mark.slow
@pytest.mark.parametrize("concept", ["cat", "quantum", "midnight", "sonnet", "gloomy"])
def test_a_concept_shows_at_dose_one(model: ResidualModel, concept: str) -> None:
    name, value = CONCEPTS[concept]
    assert success(model, [concept]) > distribution.probability({name: value}) + 0.4


@pytest.mark.slow
def test_three_concepts_show_together(model: ResidualModel) -> None:
    assert success(model, ["sonnet", "quantum", "cat"], radius=0.5) > 0.4
    assert success(model, ["forecast", "desert", "crow"]) > 0.4
