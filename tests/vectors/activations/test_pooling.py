"""Pooling of positions into one row, against numpy."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vectors.activations.moments import moments
from vectors.activations.pooling import pool_tokens
from vectors.activations.text_activations import encode_texts, text_means
from vectors.common.errors import InputError
from vectors.common.option_names import POOLS

HIDDEN = torch.tensor(
    [[[9.0, 9.0], [1.0, 0.0], [3.0, 4.0], [2.0, 0.0]], [[7.0, 7.0], [5.0, 1.0], [8.0, 8.0], [8.0, 8.0]]]
)
OWN = torch.tensor([[False, True, True, True], [False, True, False, False]])


@given(st.integers(0, 10**6))
def test_pools_agree_with_numpy(seed: int) -> None:
    random = np.random.default_rng(seed)
    hidden, own = random.normal(size=(3, 6, 4)).astype(np.float32), random.random((3, 6)) < 0.5
    own[:, 2] = True
    rows_by_pool = {pool: pool_tokens(torch.from_numpy(hidden), torch.from_numpy(own), pool).numpy() for pool in POOLS}
    for row in range(3):
        own_rows = hidden[row][own[row]]
        rest = np.delete(own_rows, np.linalg.norm(own_rows, axis=1).argmax(), axis=0) if len(own_rows) > 1 else own_rows
        assert np.allclose(rows_by_pool["mean"][row], own_rows.mean(axis=0), atol=1e-6)
        assert np.array_equal(rows_by_pool["last"][row], own_rows[-1])
        assert np.allclose(rows_by_pool["no-max-norm"][row], rest.mean(axis=0), atol=1e-6)


def test_other_positions_do_not_count() -> None:
    spoilt = torch.where(OWN[:, :, None], HIDDEN, torch.nan)
    for pool in (*POOLS, lambda rows: torch.ones(len(rows))):
        assert torch.equal(pool_tokens(HIDDEN, OWN, pool), pool_tokens(spoilt, OWN, pool))


def test_a_function_weighs_the_positions_of_each_text() -> None:
    seen = []

    def first(rows: torch.Tensor) -> torch.Tensor:
        seen.append(len(rows))
        return torch.eye(len(rows))[0]

    assert pool_tokens(HIDDEN, OWN, first).tolist() == [[1.0, 0.0], [5.0, 1.0]]
    assert seen == [3, 1]


@pytest.mark.parametrize(
    "token_weights",
    [
        lambda rows: torch.zeros(len(rows)),
        lambda rows: -torch.ones(len(rows)),
        lambda rows: torch.full((len(rows),), torch.nan),
        lambda rows: torch.ones(len(rows) + 1),
        lambda rows: [1.0] * len(rows),
    ],
)
def test_useless_weights_are_refused(token_weights) -> None:
    with pytest.raises(InputError, match="pool gave"):
        pool_tokens(HIDDEN, OWN, token_weights)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(InputError, match="pool is 'median': choose from mean, last, no-max-norm, or pass a function"):
        pool_tokens(HIDDEN, OWN, "median")


def test_the_last_token_of_a_text_is_read(llama_model) -> None:
    ((_, rows),) = text_means(llama_model, encode_texts(llama_model, ["the cat ran"]), [1], pool="last")
    ids = llama_model.batch(llama_model.encode(["the cat ran"]))
    with torch.no_grad():
        hidden = llama_model.hf(**ids, output_hidden_states=True).hidden_states[2]
    assert torch.allclose(rows[1][0], hidden[0, -1], atol=1e-6)


def test_a_text_of_weight_two_counts_like_two_copies(llama_model) -> None:
    texts = ["the cat ran", "a dog in the night", "blue sea"]
    rows = encode_texts(llama_model, texts)
    weighed = moments(llama_model, rows, [1], second=True, weights=torch.tensor([1.0, 2.0, 1.0]).double())[1]
    twice = moments(llama_model, [*rows, rows[1]], [1], second=True)[1]
    assert weighed.count == twice.count == 4
    assert torch.allclose(weighed.mean, twice.mean) and torch.allclose(weighed.scatter, twice.scatter)
    left_out = moments(llama_model, rows, [1], weights=torch.tensor([0.0, 1.0, 1.0]).double())[1]
    assert torch.allclose(left_out.mean, moments(llama_model, rows[1:], [1])[1].mean)
