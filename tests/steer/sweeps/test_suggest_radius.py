"""The suggested radius: exact on exact counts, monotone, its interval as wide as it says, and honest refusals."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import steer
from steer.judges.judge import FunctionJudge
from steer.sweeps.suggest_radius import _falling, radius_from_counts
from vectors.common.errors import InputError
from vectors.concepts.vector import ConceptVector
from vectors.model.residual_model import ResidualModel

RADII = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0)


def truth(radius: np.ndarray, middle: float = 2.5) -> np.ndarray:
    return 0.95 / (1 + np.exp((radius - middle) / 0.5))


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(50, 90)), min_size=2, max_size=9))
def test_pooling_is_isotonic_regression(rows: list[tuple[int, int]]) -> None:
    hits, n = (np.array(column) for column in zip(*rows, strict=True))
    count = len(n)
    wanted = [  # the min-max formula: Barlow et al. (1972), theorem 1.1
        min(max(hits[i : k + 1].sum() / n[i : k + 1].sum() for k in range(j, count)) for i in range(j + 1))
        for j in range(count)
    ]
    np.testing.assert_allclose(_falling(hits / n, n), wanted, atol=1e-9)


def test_the_radius_is_where_success_passes_below_its_share() -> None:
    result = radius_from_counts((0.0, 1.0, 2.0), (100, 95, 75), (100, 100, 100))
    assert result.radius == pytest.approx(1.25) and not result.open and 0 < result.low < 1.25 < result.high <= 2
    kept = radius_from_counts((0.0, 1.0, 2.0), (100, 99, 98), (100, 100, 100))
    assert kept.radius == 2.0 and kept.open and str(kept).startswith("at least 2 (")
    assert radius_from_counts((0.0, 1.0), (100, 0), (100, 100)).radius == pytest.approx(0.1)


@pytest.mark.slow
def test_the_interval_covers_at_its_rate() -> None:
    random, covered = np.random.default_rng(1), 0
    fine = np.linspace(0, 4, 40_001)
    exact = float(np.interp(-0.9 * truth(np.array(0.0)), -np.interp(fine, RADII, truth(np.array(RADII))), fine))
    for _ in range(300):
        hits = random.binomial(200, truth(np.array(RADII)))
        result = radius_from_counts(RADII, hits, [200] * len(RADII))
        covered += result.low <= exact <= result.high
    assert 0.91 <= covered / 300 <= 0.995


def test_more_texts_are_surer() -> None:
    widths = []
    for n in (50, 200, 800):
        hits = np.round(n * truth(np.array(RADII))).astype(int)
        result = radius_from_counts(RADII, hits, [n] * len(RADII))
        widths.append(result.high - result.low)
    assert widths[0] > widths[1] > widths[2]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"keep": 0.0}, "keep is 0"),
        ({"keep": 1.0}, "keep is 1"),
        ({"radii": (0.0,), "hits": (50,), "n": (60,)}, "1 radii, 0: give two or more"),
        ({"radii": (1.0, 0.5)}, "that rise"),
        ({"hits": (11, 9)}, "only 11 of 60 texts"),
    ],
)  # fmt: skip
def test_what_says_nothing_is_refused(change: dict, why: str) -> None:
    with pytest.raises(InputError, match=why):
        radius_from_counts(**({"radii": (0.0, 1.0), "hits": (50, 40), "n": (60, 60)} | change))


def test_a_pilot_stops_where_success_has_clearly_fallen(llama_model: ResidualModel) -> None:
    row = torch.randn(llama_model.d_model, generator=torch.Generator().manual_seed(1))
    vector = ConceptVector(
        name="cat", model=llama_model.name, model_hash=llama_model.hash, layer=1, direction=row / row.norm(),
        mean=torch.zeros(llama_model.d_model), gap=6.0, method="mean", positions="all",
    )  # fmt: skip
    told: list[tuple[float, int]] = []
    wanted = steer.sample(llama_model, {vector: 1.0}, n=40, max_tokens=8).texts
    judge = FunctionJudge("as at radius 0", lambda text: text in wanted)
    options = {"judges": [judge], "n": 40, "max_tokens": 8, "watcher": lambda *seen: told.append(seen)}
    result = steer.suggest_radius(llama_model, {vector: 1.0}, **options)
    assert told[0] == (0.0, 40) and result.hits == tuple(hits for _, hits in told)
    assert result.radii == tuple(radius for radius, _ in told) and len(told) < 9
    assert 0 < result.low <= result.radius <= result.high < 4
    with pytest.raises(InputError, match="only 0 of 40"):
        steer.suggest_radius(
            llama_model, {vector: 1.0}, **options | {"judges": [FunctionJudge("no", lambda text: False)]}
        )
    with pytest.raises(InputError, match="success needs a judge"):
        steer.suggest_radius(llama_model, {vector: 1.0}, **options | {"judges": []})
    with pytest.raises(InputError, match="there is no judge for these concepts"):
        steer.suggest_radius(llama_model, {vector: 1.0}, n=4)
