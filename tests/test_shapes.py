"""The tensor annotations of the packages are checked while the tests run."""

import pytest
import torch
from helpers.shapes import check
from jaxtyping import Float, TypeCheckError, jaxtyped
from torch import Tensor

from vectors.decoding.token_sampling import Settings, sample_tokens


@jaxtyped(typechecker=check)
def added(one: Float[Tensor, " d_model"], other: Float[Tensor, " d_model"] | None, times: int) -> Tensor:
    return one if other is None else one + times * other


def test_shapes_and_dtypes_are_checked_and_nothing_else() -> None:
    assert added(torch.ones(3), torch.ones(3), 2.5).shape == (3,)
    assert added(torch.ones(3), None, 1).shape == (3,)
    for other in (torch.ones(1, 3), torch.ones(3, dtype=torch.int64), torch.ones(4)):
        with pytest.raises(TypeCheckError):
            added(torch.ones(3), other, 1)


def test_the_packages_are_checked() -> None:
    with pytest.raises(TypeCheckError, match="logits"):
        sample_tokens(torch.zeros(4), torch.ones(1, 66), Settings())
