"""The low-rank covariance of activations, against numpy's covariance and scikit-learn's distances."""

import numpy as np
import pytest
import torch
from sklearn.covariance import EmpiricalCovariance

from vectors.activations.covariance import LowRankCovariance, estimate_covariance
from vectors.activations.text_activations import encode_texts, text_means
from vectors.common.errors import InputError
from vectors.model.residual_model import ResidualModel

WORDS = ("sea", "cat", "dog", "storm", "river", "night", "day", "light", "dark", "red", "blue", "old", "young", "king")


def texts(n: int) -> list[str]:
    random = np.random.default_rng(0)
    return [" ".join(random.choice(WORDS, 6)) for _ in range(n)]


def means(model: ResidualModel, chosen: list[str], layer: int) -> np.ndarray:
    rows = np.zeros((len(chosen), model.d_model))
    for indices, hidden in text_means(model, encode_texts(model, chosen), [layer]):
        rows[indices] = hidden[layer].double().numpy()
    return rows


def test_leading_directions_are_those_of_the_covariance(llama_model: ResidualModel) -> None:
    chosen = texts(300)
    covariance, rows = estimate_covariance(llama_model, chosen, 1, rank=5), means(llama_model, chosen, 1)
    values = np.linalg.eigvalsh(np.cov(rows.T))[::-1]
    np.testing.assert_allclose(covariance.deviations.numpy() ** 2, values[:5], rtol=1e-6)
    assert covariance.rest == pytest.approx(np.sqrt(values[5:].mean()), rel=1e-6)
    np.testing.assert_allclose((covariance.basis @ covariance.basis.T).numpy(), np.eye(5), atol=1e-9)
    np.testing.assert_allclose(covariance.mean.numpy(), rows.mean(axis=0), atol=1e-6)
    assert covariance.count == 300 and len(covariance.distances) == 300


def test_distances_are_mahalanobis_at_full_rank(llama_model: ResidualModel) -> None:
    chosen = texts(600)
    covariance, rows = estimate_covariance(llama_model, chosen, 1, rank=31), means(llama_model, chosen, 1)
    wanted = EmpiricalCovariance().fit(rows).mahalanobis(rows) * (599 / 600)
    np.testing.assert_allclose(np.sort(np.sqrt(wanted)), covariance.distances, rtol=1e-4)


def test_colour_gives_white_rows_the_covariance_and_distance_inverts_it(llama_model: ResidualModel) -> None:
    covariance = estimate_covariance(llama_model, texts(300), 1, rank=5)
    white = torch.randn(20_000, llama_model.d_model, generator=torch.Generator().manual_seed(0)).double()
    rows = covariance.colour(white)
    along = (rows @ covariance.basis.T).std(dim=0)
    np.testing.assert_allclose(along.numpy(), covariance.deviations.numpy(), rtol=0.03)
    np.testing.assert_allclose(covariance.distance(rows).numpy(), white.norm(dim=1).numpy(), rtol=1e-9)
    assert covariance.percentile(torch.zeros(llama_model.d_model)) == 0.0
    assert covariance.percentile(1e6 * covariance.basis[0]) == 1.0


def test_the_digest_depends_on_the_texts_alone(llama_model: ResidualModel) -> None:
    one, same = (estimate_covariance(llama_model, texts(300), 1, rank=5) for _ in range(2))
    assert one.digest == same.digest != estimate_covariance(llama_model, texts(200), 1, rank=5).digest
    assert isinstance(one, LowRankCovariance)


def test_too_few_or_equal_texts_are_refused(llama_model: ResidualModel) -> None:
    with pytest.raises(InputError, match="give at least 32"):
        estimate_covariance(llama_model, texts(31), 1)
    with pytest.raises(InputError, match="do not vary"):
        estimate_covariance(llama_model, ["the sea"] * 40, 1)
