"""Muon for small matrices on a CPU: momentum whose every update is made orthogonal, in float32."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

# torch.optim.Muon does this in bfloat16, which CPUs without such units emulate: there it takes half of a training step.
_QUINTIC = (3.4445, -4.7750, 2.0315)


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalised by five Newton-Schulz steps, scaled by the square root of the matrix's aspect.

    Source: Keller Jordan et al., "Muon: an optimizer for hidden layers in neural networks" (2024).

    Args:
        params: matrices only.
        lr: step length; an update has singular values near `lr`.
        momentum: share of the last update kept.
        weight_decay: share of the weight, times `lr`, taken off at each step.
    """

    def __init__(
        self, params: Iterable[Tensor], *, lr: float, momentum: float = 0.95, weight_decay: float = 0.01
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> Any:
        """Take one step."""
        for group in self.param_groups:
            for weight in group["params"]:
                state = self.state[weight]
                kept = state.setdefault("momentum", torch.zeros_like(weight))
                kept.lerp_(weight.grad, 1 - group["momentum"])
                update = orthogonal(weight.grad.lerp(kept, group["momentum"]))
                aspect = max(1.0, weight.shape[0] / weight.shape[1]) ** 0.5
                weight.mul_(1 - group["lr"] * group["weight_decay"]).sub_(update, alpha=group["lr"] * aspect)


def orthogonal(matrix: Tensor, *, steps: int = 5) -> Tensor:
    """Return the matrix with its singular values pushed towards one."""
    tall = matrix.shape[0] > matrix.shape[1]
    x: Tensor = matrix.T if tall else matrix
    x = x / (x.norm() + 1e-7)
    a, b, c = _QUINTIC
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x
