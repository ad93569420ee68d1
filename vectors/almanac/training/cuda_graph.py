"""The gradient of what the embedded model is trained to do, on a CUDA device.

A model this small is computed there faster than Python can ask for it: a step took four times as long as its kernels.
So the work on a batch is recorded once for each shape that batches have, and played back from then on.
"""

import copy
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import pad

from vectors.almanac.training import corpus
from vectors.almanac.training.loss import ENTRY, WORTH_COMPILING, Pupil

WIDTH = 32
"""Rows are filled up to a multiple of so many tokens, so that few shapes are recorded."""

_Record = tuple[torch.cuda.CUDAGraph, Tensor, Tensor, Tensor]


class RecordedGradient:
    """The loss of a batch and its gradient in `dtype`, as `Gradient` gives them."""

    def __init__(self, pupil: Pupil, *, dtype: str, steps: int, calm: float = 0.0, asked: float = 0.0) -> None:
        self.weighed = {"calm": calm, "asked": asked}
        self.bos_id: int = pupil.model.config.bos_token_id or 0
        self.weights = list(pupil.parameters())
        self.working = copy.deepcopy(pupil).to(getattr(torch, dtype))
        self.parameters = list(self.working.parameters())
        if steps > WORTH_COMPILING:
            self.working.model.model.compile(dynamic=False)
        self.found = [torch.zeros_like(weight) for weight in self.weights]
        self.records: dict[torch.Size, _Record] = {}

    def __call__(self, ids: Int64[Tensor, "rows pos"], about: Int64[Tensor, "rows attributes"]) -> float:
        """Set every parameter's gradient, and return the mean loss in nats per predicted token."""
        ids = pad(ids, (0, -ids.shape[1] % WIDTH), value=corpus.NOTHING)
        if ids.shape not in self.records:
            self.records[ids.shape] = self._recorded(ids, about)
        graph, its_ids, its_about, loss = self.records[ids.shape]
        its_ids.copy_(ids)
        its_about.copy_(about)
        graph.replay()
        for weight, found in zip(self.weights, self.found, strict=True):
            weight.grad = found
        return float(loss)

    def close(self) -> None:
        """Give the device's memory back."""
        self.records.clear()

    def _recorded(self, ids: Tensor, about: Tensor) -> _Record:
        ids, about, graph = ids.clone(), about.clone(), torch.cuda.CUDAGraph()
        cuda: Any = torch.cuda  # its streams have no types
        aside, current = cuda.Stream(), cuda.current_stream()
        aside.wait_stream(current)
        with torch.cuda.stream(aside):  # libraries set themselves up at the first call, which cannot be recorded
            self._work(ids, about)
        current.wait_stream(aside)
        with torch.cuda.graph(graph):
            loss = self._work(ids, about)
        return graph, ids, about, loss

    def _work(self, ids: Tensor, about: Tensor) -> Float[Tensor, ""]:
        with torch.no_grad():
            for working, weight in zip(self.parameters, self.weights, strict=True):
                working.copy_(weight)
        predicted = (corpus.targets(ids, corpus.starts(ids, self.bos_id)) != corpus.NOTHING).sum()
        loss = self.working.loss(ids, about, **self.weighed)
        gradients = torch.autograd.grad(loss * predicted / (ENTRY * len(ids)), self.parameters)
        for found, gradient in zip(self.found, gradients, strict=True):
            found.copy_(gradient)
        return loss.detach()
