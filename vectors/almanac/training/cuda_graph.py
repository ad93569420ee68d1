"""The training gradient on a CUDA device, captured as a CUDA graph.

A model this small is computed faster than Python can launch its kernels: a step took four times as long as they did. So
a step is captured once for each shape that batches have, and replayed from then on.
"""

import copy
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import pad

from vectors.almanac.training import corpus
from vectors.almanac.training.loss import MIN_COMPILED_STEPS, TOKENS_PER_ENTRY, TrainedModel

WIDTH = 32
"""Rows are padded to a multiple of this many tokens, so that few shapes are captured."""

_Captured = tuple[torch.cuda.CUDAGraph, Tensor, Tensor, Tensor]


class CapturedGradient:
    """The loss of a batch and its gradient in `dtype`, as `Gradient` gives them."""

    def __init__(
        self,
        trained: TrainedModel,
        *,
        dtype: str,
        steps: int,
        start_norm_weight: float = 0.0,
        attribute_weight: float = 0.0,
    ) -> None:
        self.loss_weights = {"start_norm_weight": start_norm_weight, "attribute_weight": attribute_weight}
        self.bos_id: int = trained.model.config.bos_token_id or 0
        self.weights = list(trained.parameters())
        self.working = copy.deepcopy(trained).to(getattr(torch, dtype))
        self.parameters = list(self.working.parameters())
        if steps > MIN_COMPILED_STEPS:
            self.working.model.model.compile(dynamic=False)
        self.gradients = [torch.zeros_like(weight) for weight in self.weights]
        self.captured: dict[torch.Size, _Captured] = {}

    def __call__(self, ids: Int64[Tensor, "rows pos"], attributes: Int64[Tensor, "rows attributes"]) -> float:
        """Set every parameter's gradient, and return the mean loss in nats per predicted token."""
        ids = pad(ids, (0, -ids.shape[1] % WIDTH), value=corpus.IGNORED)
        if ids.shape not in self.captured:
            self.captured[ids.shape] = self._capture_step(ids, attributes)
        graph, graph_ids, graph_attributes, loss = self.captured[ids.shape]
        graph_ids.copy_(ids)
        graph_attributes.copy_(attributes)
        graph.replay()
        for weight, gradient in zip(self.weights, self.gradients, strict=True):
            weight.grad = gradient
        return float(loss)

    def close(self) -> None:
        """Release the device's memory."""
        self.captured.clear()

    def _capture_step(self, ids: Tensor, attributes: Tensor) -> _Captured:
        ids, attributes, graph = ids.clone(), attributes.clone(), torch.cuda.CUDAGraph()
        cuda: Any = torch.cuda  # its streams have no types
        side_stream, current = cuda.Stream(), cuda.current_stream()
        side_stream.wait_stream(current)
        with torch.cuda.stream(side_stream):  # a first run initialises libraries, which cannot be captured
            self._step(ids, attributes)
        current.wait_stream(side_stream)
        with torch.cuda.graph(graph):
            loss = self._step(ids, attributes)
        return graph, ids, attributes, loss

    def _step(self, ids: Tensor, attributes: Tensor) -> Float[Tensor, ""]:
        with torch.no_grad():
            for working, weight in zip(self.parameters, self.weights, strict=True):
                working.copy_(weight)
        predicted = (corpus.targets(ids, corpus.start_positions(ids, self.bos_id)) != corpus.IGNORED).sum()
        loss = self.working.loss(ids, attributes, **self.loss_weights)
        gradients = torch.autograd.grad(loss * predicted / (TOKENS_PER_ENTRY * len(ids)), self.parameters)
        for buffer, gradient in zip(self.gradients, gradients, strict=True):
            buffer.copy_(gradient)
        return loss.detach()
