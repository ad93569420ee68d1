"""Components are compared with numpy's and with planted sources."""

import numpy as np
import pytest
import torch

from vectors.common.errors import InputError
from vectors.discovery.decomposition import METHODS, components


def planted(kind: str, *, rows: int = 4000, d_model: int = 24, count: int = 6, seed: int = 0):
    """Rows that mix a few skewed sources along oblique directions, with a little noise."""
    random = np.random.default_rng(seed)
    sources = {
        "rare": (random.random((rows, count)) < 0.1).astype(float),
        "heavy": random.exponential(size=(rows, count)),
    }[kind]
    parts = random.standard_normal((count, d_model))
    parts /= np.linalg.norm(parts, axis=1, keepdims=True)
    noise = 0.02 * random.standard_normal((rows, d_model))
    return torch.from_numpy(sources @ parts + noise).float(), parts, sources


@pytest.mark.parametrize("kind", ["rare", "heavy"])
def test_ica_finds_the_planted_sources_and_their_directions(kind):
    rows, parts, sources = planted(kind)
    found = components(rows, 6, method="ica", seed=3)
    scores = ((rows.double() - found.mean) @ found.filters.T).numpy()
    correlations = np.abs(np.corrcoef(scores.T, sources.T)[:6, 6:])
    assert correlations.max(axis=0).min() > 0.97  # each source has a component
    directions = found.parts.numpy() / np.linalg.norm(found.parts.numpy(), axis=1, keepdims=True)
    assert np.abs(directions @ parts.T).max(axis=0).min() > 0.97
    assert np.allclose(scores.std(axis=0), 1, atol=1e-3)


def test_pca_does_not_find_the_planted_sources():
    rows, _, sources = planted("rare")
    found = components(rows, 6, method="pca")
    correlations = np.abs(np.corrcoef(((rows.double() - found.mean) @ found.filters.T).numpy().T, sources.T)[:6, 6:])
    assert correlations.max(axis=0).min() < 0.9


def test_pca_is_the_singular_value_decomposition():
    rows, _, _ = planted("heavy", rows=300)
    values = rows.double().numpy()
    _, singular, axes = np.linalg.svd(values - values.mean(axis=0), full_matrices=False)
    found = components(rows, 8, method="pca")
    directions = found.parts.numpy() / np.linalg.norm(found.parts.numpy(), axis=1, keepdims=True)
    assert np.allclose(np.abs((directions * axes[:8]).sum(axis=1)), 1, atol=1e-6)
    assert np.allclose(found.shares.numpy(), singular[:8] ** 2 / (singular**2).sum())
    assert np.allclose(np.linalg.norm(found.parts.numpy(), axis=1), singular[:8] / np.sqrt(300))


def test_dictionary_learning_finds_the_planted_directions():
    rows, parts, _ = planted("rare")
    found = components(rows, 6, method="dictionary", seed=0)
    directions = found.parts.numpy() / np.linalg.norm(found.parts.numpy(), axis=1, keepdims=True)
    assert np.sort(np.abs(directions @ parts.T).max(axis=0))[-4:].min() > 0.8


@pytest.mark.parametrize("method", METHODS)
def test_a_seed_reproduces_the_components_and_scores_reconstruct_the_rows(method):
    rows, _, _ = planted("heavy", rows=500)
    one, two = (components(rows, 6, method=method, width=12, seed=5) for _ in range(2))
    for name in ("mean", "parts", "filters", "shares"):
        assert torch.equal(getattr(one, name), getattr(two, name))
    if method == "ica":
        whole = components(rows, 24, method=method, seed=5)
        back = (rows.double() - whole.mean) @ whole.filters.T @ whole.parts + whole.mean
        torch.testing.assert_close(back, rows.double(), rtol=1e-4, atol=1e-4)


def test_more_components_than_directions_of_variance_are_refused():
    flat = torch.ones(50, 8)
    for rows in (flat, flat * torch.arange(50.0)[:, None]):
        with pytest.raises(InputError, match="vary along"):
            components(rows, 2, method="ica")
    with pytest.raises(InputError, match="choose from"):
        components(flat, 1, method="kmeans")
