"""A candidate of the contest: shifts by site, and what samples showed of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jaxtyping import Float
from torch import Tensor

from vectors.calibration.equal_pressure import Effect
from vectors.common.layer_ranges import format_layers
from vectors.common.statistics import wilson
from vectors.model.positions import Site


@dataclass(frozen=True, eq=False)
class Candidate:
    """Shifts that may become a concept.

    Attributes:
        method: how they were found.
        shifts: by site, at their natural length.
        most: the largest scale at which they are tried.
        steps: optimiser steps that they were learned in; 0 if they were not.
    """

    method: str
    shifts: Mapping[Site, Float[Tensor, " d_model"]] = field(repr=False)
    most: float = 16.0
    steps: int = 0

    @property
    def layers(self) -> list[int]:
        """The layers, in order."""
        return sorted({layer for layer, _ in self.shifts})

    @property
    def positions(self) -> list[str]:
        """The positions, the start token first and all of them last."""
        return sorted({where for _, where in self.shifts}, key=lambda where: (where != "bos", where == "all", where))

    @property
    def label(self) -> str:
        """Method, layers and positions in words.

        >>> import torch
        >>> Candidate("distilled", {(6, "bos"): torch.ones(2), (6, "all"): torch.ones(2)}).label
        'distilled, layer 6, bos + all'
        """
        steps = f", {self.steps} steps" if self.steps else ""
        layers = f"layer{'s' * (len(self.layers) > 1)} {format_layers(self.layers)}"
        return f"{self.method}, {layers}, {' + '.join(self.positions)}{steps}"

    def row(self, effect: Effect) -> dict[str, Any]:
        """Return what is recorded of the candidate, plain JSON."""
        low, high = wilson(effect.hits, effect.n)
        return {
            "method": self.method,
            "layers": self.layers,
            "positions": self.positions,
            "steps": self.steps,
            "scale": float(f"{effect.scale:.4g}"),
            "success": round(effect.success, 4),
            "low": round(low, 4),
            "high": round(high, 4),
            "pressure": round(effect.pressure, 4),
            "n": effect.n,
        }
