"""The algebra of several concepts: smallest shifts against least squares, bases, and dependent directions."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vectors.common.errors import VectorError
from vectors.concepts.composition import as_shift, check_independent, compose_shifts, orthonormal, smallest_shift


def unit_vectors(n: int, d_model: int, seed: int) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((n, d_model))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_composed_shifts_are_the_smallest_with_the_lengths_of_their_concepts():
    random = np.random.default_rng(0)
    shifts, signs = random.standard_normal((5, 12)) * random.uniform(1, 9, (5, 1)), random.integers(-1, 2, (20, 5))
    composed = compose_shifts(torch.from_numpy(shifts), torch.from_numpy(signs)).numpy()
    for shift, row in zip(composed, signs, strict=True):
        included = row != 0
        lengths = np.linalg.norm(shifts[included], axis=1)
        projections = row[included] * lengths
        expected = np.linalg.lstsq(shifts[included] / lengths[:, None], projections)[0] if included.any() else 0.0
        assert np.allclose(shift, expected, rtol=1e-2, atol=1e-2)


@given(st.integers(0, 10**6), st.integers(1, 6))
def test_the_smallest_shift_is_the_least_squares_solution(seed, n):
    directions = unit_vectors(n, 16, seed)
    projections = np.random.default_rng(seed + 1).standard_normal((3, n))
    shifts = smallest_shift(torch.from_numpy(directions), torch.from_numpy(projections)).numpy()
    for shift, row in zip(shifts, projections, strict=True):
        assert np.allclose(shift, np.linalg.lstsq(directions, row)[0], atol=1e-6)


@given(st.integers(0, 10**6), st.integers(1, 6))
def test_a_basis_is_orthonormal_and_spans_the_rows(seed, n):
    rows = unit_vectors(n, 16, seed)
    basis = orthonormal(np.concatenate([rows, rows[:1]]))  # a repeated row adds nothing
    assert basis.shape == (n, 16) and np.allclose(basis @ basis.T, np.eye(n), atol=1e-12)
    assert np.allclose(rows @ basis.T @ basis, rows, atol=1e-9)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_parallel_and_opposite_directions_are_refused_by_name(sign):
    first, other = unit_vectors(2, 16, 0)
    with pytest.raises(VectorError, match="'cat' and 'kitten' are nearly parallel"):
        check_independent(np.stack([first, other, sign * first]), ["cat", "sea", "kitten"])
    check_independent(np.stack([first, other]), ["cat", "sea"])


def test_dependent_directions_are_refused_by_name():
    first, second, free = np.eye(16)[:3]
    rows = np.stack([first, second, free, (first + second) / 2**0.5])
    with pytest.raises(VectorError, match="concepts 'a', 'b', 'c' are nearly dependent"):
        check_independent(rows, ["a", "b", "free", "c"])


def test_shifts_that_float32_cannot_hold_are_refused():
    with pytest.raises(VectorError, match="the shift at layer 3 overflows float32"):
        as_shift(np.array([1e300, 0.0]), 3)
    with pytest.raises(VectorError, match="the shift at layer 3 is too small for float32"):
        as_shift(np.array([1e-300, 0.0]), 3)
    zero = as_shift(np.array([-0.0, 0.0]), 3)
    assert zero.dtype == torch.float32 and not bool(torch.signbit(zero).any())
