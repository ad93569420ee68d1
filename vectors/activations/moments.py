"""Count, mean and second moments of activations, added up batch by batch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from vectors.activations.pooling import Pool
from vectors.activations.text_activations import text_means
from vectors.common.progress import Advance
from vectors.model.residual_model import ResidualModel


@dataclass
class Moments:
    """Running first and, if asked for, second moments of one layer's text means, in float64.

    >>> import torch
    >>> moments = Moments.empty(2)
    >>> moments.add(torch.tensor([[1.0, 0.0], [3.0, 2.0]]))
    >>> moments.count, moments.mean.tolist()
    (2, [2.0, 1.0])
    """

    count: float
    """How many rows there were, or the sum of their weights."""

    mean: Float64[Tensor, " d_model"]
    scatter: Float64[Tensor, "d_model d_model"] | None
    """Sum of outer products of deviations from the mean."""

    @classmethod
    def empty(cls, d_model: int, *, second: bool = False) -> "Moments":
        """Moments of nothing yet."""
        scatter = torch.zeros(d_model, d_model, dtype=torch.float64) if second else None
        return cls(0, torch.zeros(d_model, dtype=torch.float64), scatter)

    def add(self, rows: Float[Tensor, "rows d_model"], weights: Float64[Tensor, " rows"] | None = None) -> None:
        """Take more rows in. Source: Chan, Golub and LeVeque, "Updating formulae" (1979)."""
        rows = rows.cpu().double()  # in this order: not every device knows float64
        more = len(rows) if weights is None else float(weights.sum())
        if not more:
            return
        mean, count = rows.mean(dim=0) if weights is None else weights @ rows / more, self.count + more
        step = mean - self.mean
        if self.scatter is not None:
            centred = rows - mean
            spread = centred if weights is None else centred * weights[:, None]
            self.scatter += centred.T @ spread + torch.outer(step, step) * (self.count * more / count)
        self.mean = self.mean + step * (more / count)
        self.count = count

    def without(self, part: "Moments") -> "Moments":
        """Return the moments of the rows that are not in a part of them.

        >>> import torch
        >>> every, part = Moments.empty(1), Moments.empty(1)
        >>> every.add(torch.tensor([[1.0], [2.0], [6.0]])), part.add(torch.tensor([[6.0]]))
        (None, None)
        >>> every.without(part).mean.tolist()
        [1.5]
        """
        count = self.count - part.count
        if count <= 0:
            return Moments.empty(len(self.mean), second=self.scatter is not None)
        mean = self.mean + (self.mean - part.mean) * (part.count / count)
        if self.scatter is None or part.scatter is None:
            return Moments(count, mean, None)
        step = part.mean - mean
        spread = torch.outer(step, step) * (part.count * count / self.count)
        return Moments(count, mean, self.scatter - part.scatter - spread)


def moments(
    model: ResidualModel,
    texts: Sequence[str],
    layers: Sequence[int],
    *,
    second: bool = False,
    pool: Pool = "mean",
    weights: Mapping[str, float] | None = None,
    progress: Advance | None = None,
) -> dict[int, Moments]:
    """Return, for each layer, the moments of the texts' mean activations, or of what another `pool` makes of them.

    A text counts as much as its weight says, and 1 where nothing is said.

    Raises:
        InputError: a text without a token of its own, or a layer the model does not have.
    """
    found = {layer: Moments.empty(model.d_model, second=second) for layer in layers}
    for places, means in text_means(model, texts, layers, pool=pool):
        counts = None
        if weights:
            counts = torch.tensor([weights.get(texts[place], 1.0) for place in places], dtype=torch.float64)
        for layer in layers:
            found[layer].add(means[layer], counts)
        if progress:
            progress(len(places))
    return found
