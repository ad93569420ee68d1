"""Batches padded at the left, which the packages never make but callers may."""

from collections.abc import Sequence

import torch
from torch import Tensor

from vectors.model.residual_model import ResidualModel


def pad_left(model: ResidualModel, sequences: Sequence[Sequence[int]]) -> dict[str, Tensor]:
    """Return the arguments of one forward over ``sequences``, padded at the left; positions count real tokens."""
    width = max(map(len, sequences))
    rows = [(width - len(sequence), list(sequence)) for sequence in sequences]
    batch = {
        "input_ids": torch.tensor([[0] * n_padding + sequence for n_padding, sequence in rows]),
        "attention_mask": torch.tensor([[0] * n_padding + [1] * len(sequence) for n_padding, sequence in rows]),
    }
    if model.takes_position_ids:
        batch["position_ids"] = torch.tensor(
            [[0] * n_padding + list(range(len(sequence))) for n_padding, sequence in rows]
        )
    return batch
