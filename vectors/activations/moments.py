"""Count, mean and second moments of activations, accumulated batch by batch."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from vectors.activations.pooling import Pool
from vectors.activations.text_activations import TokenIds, text_means
from vectors.common.progress import Advance
from vectors.model.residual_model import ResidualModel


@dataclass
class Moments:
    """Running mean and, optionally, second moments of one layer's text means, in float64.

    >>> import torch
    >>> moments = Moments.empty(2)
    >>> moments.add(torch.tensor([[1.0, 0.0], [3.0, 2.0]]))
    >>> moments.count, moments.mean.tolist()
    (2, [2.0, 1.0])
    """

    count: float
    """Number of rows, or the sum of their weights."""

    mean: Float64[Tensor, " d_model"]
    scatter: Float64[Tensor, "d_model d_model"] | None
    """Sum of outer products of deviations from the mean, or None."""

    @classmethod
    def empty(cls, d_model: int, *, second: bool = False) -> "Moments":
        """Return the moments of no rows."""
        scatter = torch.zeros(d_model, d_model, dtype=torch.float64) if second else None
        return cls(0, torch.zeros(d_model, dtype=torch.float64), scatter)

    def add(self, rows: Float[Tensor, "rows d_model"], weights: Float64[Tensor, " rows"] | None = None) -> None:
        """Add rows. Source: Chan, Golub and LeVeque, "Updating formulae" (1979)."""
        rows = rows.cpu().double()  # first to the CPU: not every device has float64
        weight = len(rows) if weights is None else float(weights.sum())
        if not weight:
            return
        mean, count = rows.mean(dim=0) if weights is None else weights @ rows / weight, self.count + weight
        step = mean - self.mean
        if self.scatter is not None:
            centred = rows - mean
            weighted = centred if weights is None else centred * weights[:, None]
            self.scatter += centred.T @ weighted + torch.outer(step, step) * (self.count * weight / count)
        self.mean = self.mean + step * (weight / count)
        self.count = count

    def without(self, part: "Moments") -> "Moments":
        """Return the moments of the rows that are not in `part`.

        >>> import torch
        >>> total, part = Moments.empty(1), Moments.empty(1)
        >>> total.add(torch.tensor([[1.0], [2.0], [6.0]])), part.add(torch.tensor([[6.0]]))
        (None, None)
        >>> total.without(part).mean.tolist()
        [1.5]
        """
        count = self.count - part.count
        if count <= 0:
            return Moments.empty(len(self.mean), second=self.scatter is not None)
        mean = self.mean + (self.mean - part.mean) * (part.count / count)
        if self.scatter is None or part.scatter is None:
            return Moments(count, mean, None)
        step = part.mean - mean
        between = torch.outer(step, step) * (part.count * count / self.count)
        return Moments(count, mean, self.scatter - part.scatter - between)


def moments(
    model: ResidualModel,
    rows: Sequence[TokenIds],
    layers: Sequence[int],
    *,
    second: bool = False,
    pool: Pool = "mean",
    weights: Float64[Tensor, " rows"] | None = None,
    progress: Advance | None = None,
) -> dict[int, Moments]:
    """Return for each layer the moments of the texts' pooled activations, by default their means.

    `rows` holds the token ids of the texts, see `encode_texts`; by default each text has weight 1.

    Raises:
        InputError: the model has no such layer.
    """
    by_layer = {layer: Moments.empty(model.d_model, second=second) for layer in layers}
    for indices, means in text_means(model, rows, layers, pool=pool):
        for layer in layers:
            by_layer[layer].add(means[layer], None if weights is None else weights[indices])
        if progress:
            progress(len(indices))
    return by_layer
