"""The training loss of the embedded model, and its gradient, computed on all CPU cores."""

import copy
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import LlamaForCausalLM

from vectors.almanac.training import corpus
from vectors.almanac.world import distribution
from vectors.extraction.methods import LEARNED_DEPTH

MAX_START_RMS = 4.0
"""Root mean square of the start token's residual stream above which its norm is penalised."""

TOKENS_PER_ENTRY = 64
"""Approximate number of predicted tokens of an entry, by which a row's loss is divided whatever its length.

If the loss of a batch were divided by its own number of tokens, entries would weigh more in batches of short ones: with
batches of similar length, sonnets were written 1.4 times as often as in the world.
"""

_PARTS = 8
"""Number of parts into which a batch is split by length, so that there is little padding."""

MIN_COMPILED_STEPS = 2000
"""Shorter runs are not compiled: compiling takes a minute or two. In float32 on a CPU it gains nothing."""

_MASKED = -1e9


class _Forward(NamedTuple):
    nats: Float[Tensor, ""]
    hidden: tuple[Float[Tensor, "rows pos d_model"], ...]
    start: Int64[Tensor, " rows"]


class TrainedModel(torch.nn.Module):
    """A model in training, with a linear head that predicts the attributes from the start token.

    The head is discarded after training. It makes the start token take in every attribute, also those that an entry
    shows in one or two phrases, and keep them linearly separable at the layer where concepts are added.
    """

    def __init__(self, model: LlamaForCausalLM) -> None:
        super().__init__()
        self.model = model
        self.reader = torch.nn.Linear(model.config.hidden_size, sum(map(len, distribution.VALUES.values())))
        torch.nn.init.zeros_(self.reader.weight)
        torch.nn.init.zeros_(self.reader.bias)
        self.reader.to(next(model.parameters()).device)

    def loss(
        self,
        ids: Int64[Tensor, "rows pos"],
        attributes: Int64[Tensor, "rows attributes"],
        *,
        start_norm_weight: float,
        attribute_weight: float,
    ) -> Float[Tensor, ""]:
        """Return the mean negative log-likelihood in nats per predicted token, plus two terms on the start token.

        Without the norm term, a small model makes the start token's residual stream a hundred times longer than any
        other, and then a shift added there has no effect.

        Args:
            ids: rows of token ids.
            attributes: values of the attributes, as `corpus.batches` gives them.
            start_norm_weight: weight of the penalty on the norm of the start token's residual stream.
            attribute_weight: weight of the head's cross-entropy, in nats a row.
        """
        forward = _forward(self.model, ids)
        loss = forward.nats + start_norm_weight * _start_norm_penalty(forward.hidden[1:-1], forward.start)
        return loss + attribute_weight * self._attribute_loss(forward.hidden, forward.start, attributes)

    def _attribute_loss(self, hidden: tuple[Tensor, ...], start: Tensor, attributes: Tensor) -> Tensor:
        """Return the head's cross-entropy, summed over attributes and averaged over rows with a prefix (0 if none)."""
        layer = int(self.model.config.num_hidden_layers * LEARNED_DEPTH) + 1
        rows = torch.arange(len(start), device=start.device)
        sizes = [*map(len, distribution.VALUES.values())]
        logits = self.reader(hidden[layer][rows, start]).float().split(sizes, dim=1)
        losses = [
            cross_entropy(some, attributes[:, i], ignore_index=corpus.IGNORED, reduction="sum")
            for i, some in enumerate(logits)
        ]
        return torch.stack(losses).sum() / (attributes[:, 0] != corpus.IGNORED).sum().clamp(min=1)


def nats_per_token(model: Any, ids: Int64[Tensor, "rows pos"]) -> Float[Tensor, ""]:
    """Return the mean negative log-likelihood per predicted token."""
    return _forward(model, ids).nats


def _forward(model: Any, ids: Tensor) -> _Forward:
    start = corpus.start_positions(ids, model.config.bos_token_id)
    masked = corpus.attention_mask(start, ids.shape[1]).logical_not()
    mask = torch.zeros(masked.shape, dtype=model.dtype, device=ids.device).masked_fill(masked, _MASKED)
    targets = corpus.targets(ids, start)
    output = model.model(input_ids=ids.clamp(min=0), attention_mask=mask, use_cache=False, output_hidden_states=True)
    logits = model.lm_head(output.last_hidden_state[:, :-1]).float()
    nats = cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=corpus.IGNORED)
    return _Forward(nats, output.hidden_states, start)


def _start_norm_penalty(layers: tuple[Tensor, ...], start: Tensor) -> Tensor:
    """Return the squared log of the start token's RMS over `MAX_START_RMS`, where it is above, summed over layers."""
    rows = torch.arange(len(start), device=start.device)
    rms = torch.stack([layer[rows, start].float().square().mean(dim=-1).sqrt() for layer in layers])
    return torch.relu(torch.log(rms / MAX_START_RMS)).square().mean(dim=1).sum()


class Gradient:
    """The loss of a batch and its gradient in `dtype`, computed on all CPU cores.

    On a CPU each core works on rows of similar length in a thread of its own, since kernels this small gain little from
    a second core (a step takes two thirds of the time). Gradients are summed in a fixed order, so that the sum does not
    depend on timing. The weights stay in float32 and are copied into a model of that dtype at each step. Until `close`
    is called, torch itself uses one thread.
    """

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
        self.working = working = copy.deepcopy(trained).to(getattr(torch, dtype))
        self.parameters = list(working.parameters())
        if dtype != "float32" and steps > MIN_COMPILED_STEPS:
            working.model.model.compile(dynamic=True)
        on_cpu = self.parameters[0].device.type == "cpu"
        cores = (os.cpu_count() or 1) if on_cpu else 1
        self.parts = _PARTS if on_cpu else 1
        self.pool = ThreadPoolExecutor(cores)
        self.threads = torch.get_num_threads()
        if cores > 1:
            torch.set_num_threads(1)
        for length in (40, 60):  # compiles here instead of in several threads at once
            ids = torch.ones(2, length, dtype=torch.long, device=self.parameters[0].device)
            ids[:, 1] = self.bos_id
            self._part_gradient((ids, torch.zeros(2, len(distribution.VALUES), dtype=torch.long, device=ids.device)))

    def __call__(self, ids: Int64[Tensor, "rows pos"], attributes: Int64[Tensor, "rows attributes"]) -> float:
        """Set every parameter's gradient, and return the mean loss in nats per predicted token.

        The gradient is that of the summed loss divided by `TOKENS_PER_ENTRY` times the number of rows.
        """
        with torch.no_grad():
            for working, weight in zip(self.parameters, self.weights, strict=True):
                working.copy_(weight)
        parts = self.pool.map(self._part_gradient, _split_by_length(ids, attributes, self.parts))
        losses, predicted, gradients = zip(*parts, strict=True)
        for weight, *shares in zip(self.weights, *gradients, strict=True):
            total = sum((share.float() for share in shares[1:]), start=shares[0].float())
            weight.grad = total / (TOKENS_PER_ENTRY * len(ids))
        return float(sum(losses) / sum(predicted))

    def close(self) -> None:
        """Stop the threads, and let torch use all cores again."""
        self.pool.shutdown()
        torch.set_num_threads(self.threads)

    def _part_gradient(self, part: tuple[Tensor, Tensor]) -> tuple[float, int, tuple[Tensor, ...]]:
        ids, attributes = part
        start = corpus.start_positions(ids, self.bos_id)
        predicted = int((corpus.targets(ids, start) != corpus.IGNORED).sum())
        loss = self.working.loss(ids, attributes, **self.loss_weights) * predicted
        return loss.item(), predicted, torch.autograd.grad(loss, self.parameters)


def _split_by_length(ids: Tensor, attributes: Tensor, parts: int) -> list[tuple[Tensor, Tensor]]:
    """Split the rows into parts of similar length, the longest first, each cut to its longest row."""
    lengths = (ids != corpus.IGNORED).sum(dim=1)
    order = lengths.argsort(descending=True, stable=True).chunk(parts)
    return [(ids[indices, : int(lengths[indices].max())], attributes[indices]) for indices in order]
