"""The plane that separates the start token from other positions has the largest margin."""

import pytest
import torch

from vectors.formats.checkpoint.neurons import separating_plane


@pytest.mark.parametrize("seed", range(5))
def test_the_plane_is_that_of_a_support_vector_machine(seed: int) -> None:
    """Compared with scikit-learn in the same coordinates."""
    svm = pytest.importorskip("sklearn.svm")
    random = torch.Generator().manual_seed(seed)
    others = torch.randn(200, 5, generator=random).double() * torch.tensor([1.0, 3.0, 0.1, 1.0, 1.0]).double()
    start = others.mean(dim=0) + torch.tensor([6.0, 9.0, 0.0, 0.0, 0.0]).double()
    row, offset, margin = separating_plane(start, others)
    assert float(start @ row) + offset == pytest.approx(64.0)
    assert float((others @ row).max()) + offset == pytest.approx(-936.0)
    mean = others.mean(dim=0)
    eigenvalues, eigenvectors = torch.linalg.eigh((others - mean).T @ (others - mean) / len(others))
    whitening = eigenvectors / (eigenvalues + 1e-3 * eigenvalues.mean()).sqrt()
    both = torch.cat([(start - mean)[None] @ whitening, (others - mean) @ whitening]).numpy()
    fit = svm.SVC(kernel="linear", C=1e6).fit(both, [1] + [0] * len(others))
    assert margin == pytest.approx(2 / float((fit.coef_**2).sum()) ** 0.5, rel=0.01)


def test_a_point_among_the_others_has_no_margin() -> None:
    others = torch.randn(500, 3, generator=torch.Generator().manual_seed(0)).double()
    assert separating_plane(others.mean(dim=0), others)[2] == 0.0
