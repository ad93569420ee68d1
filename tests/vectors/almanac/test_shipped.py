"""The library that ships: every concept is there, measured, and does what its name says, alone and in company."""

from collections.abc import Sequence

import pytest

import steer
import vectors
from vectors.almanac import oracle, world
from vectors.almanac.concepts import CONCEPTS
from vectors.model import LIBRARY, ResidualModel
from vectors.store import load_file

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


def test_every_concept_is_there_for_this_model_and_measured(model: ResidualModel) -> None:
    files = {place.name.removesuffix(".safetensors"): load_file(place) for place in LIBRARY.glob("*.safetensors")}
    assert files.keys() == CONCEPTS.keys()
    for name, vector in files.items():
        assert (vector.name, vector.model_hash, vector.positions) == (name, model.hash, "bos")
        assert vector.calibrated and len(vector.unit_curve) > 6 and vector.auc is not None and vector.auc > 0.7


@pytest.mark.parametrize("concept", ["cat", "quantum", "midnight", "sonnet", "gloomy"])
def test_a_concept_shows_at_dose_one(model: ResidualModel, concept: str) -> None:
    name, value = CONCEPTS[concept]
    assert success(model, [concept]) > world.probability({name: value}) + 0.4


def test_three_concepts_show_together(model: ResidualModel) -> None:
    assert success(model, ["sonnet", "quantum", "cat"], radius=0.5) > 0.4
    assert success(model, ["forecast", "desert", "crow"]) > 0.4
