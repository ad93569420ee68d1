"""What the embedded model is trained to do, and the gradient of it, shared out over the cores."""

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

QUIET = 4.0
"""Root mean square of the start token's residual up to which its length costs nothing."""

ENTRY = 64
"""Predicted tokens of an entry, about: what a row's nats are divided by, whatever its length.

Were a batch's nats divided by its own tokens, entries would count for more in the company of short ones: in batches of
like length, sonnets came to be written 1.4 times as often as they are in the world.
"""

_PARTS = 8
"""Into how many a batch is split by length, so that little of it is padding."""

WORTH_COMPILING = 2000
"""Steps: compiling costs a minute or two. In float32 on a CPU it gains nothing."""

_NEVER = -1e9


class _Pass(NamedTuple):
    nats: Float[Tensor, ""]
    hidden: tuple[Float[Tensor, "rows pos d_model"], ...]
    start: Int64[Tensor, " rows"]


class Pupil(torch.nn.Module):
    """A model in training, and the linear head that reads from its start token what a page is about.

    The head is thrown away in the end. What it leaves behind is a start token that takes in every attribute, also
    those that an entry shows in a place or two, and keeps them side by side where directions will be added.
    """

    def __init__(self, model: LlamaForCausalLM) -> None:
        super().__init__()
        self.model = model
        self.reader = torch.nn.Linear(model.config.hidden_size, sum(map(len, distribution.VALUES.values())))
        torch.nn.init.zeros_(self.reader.weight)
        torch.nn.init.zeros_(self.reader.bias)
        self.reader.to(next(model.parameters()).device)

    def loss(
        self, ids: Int64[Tensor, "rows pos"], about: Int64[Tensor, "rows attributes"], *, calm: float, asked: float
    ) -> Float[Tensor, ""]:
        """Mean negative log-likelihood in nats per predicted token, and what the start token's state costs besides.

        Left alone, a small model makes its start token's residual a hundred times longer than any other, and then hears
        nothing that is said there: `calm` weighs what that length costs (`_loudness`). `asked` weighs the nats that the
        head needs to tell what each page is `about`.
        """
        made = _passed(self.model, ids)
        loss = made.nats + calm * _loudness(made.hidden[1:-1], made.start)
        return loss + asked * self._unread(made.hidden, made.start, about)

    def _unread(self, hidden: tuple[Tensor, ...], start: Tensor, about: Tensor) -> Tensor:
        """Nats that the head needs for all attributes of a page that has a scrap, on average; 0 where none has one."""
        layer = int(self.model.config.num_hidden_layers * LEARNED_DEPTH) + 1
        rows = torch.arange(len(start), device=start.device)
        told = self.reader(hidden[layer][rows, start]).float().split([*map(len, distribution.VALUES.values())], dim=1)
        found = [
            cross_entropy(logits, about[:, place], ignore_index=corpus.NOTHING, reduction="sum")
            for place, logits in enumerate(told)
        ]
        return torch.stack(found).sum() / (about[:, 0] != corpus.NOTHING).sum().clamp(min=1)


def nats_per_token(model: Any, ids: Int64[Tensor, "rows pos"]) -> Float[Tensor, ""]:
    """Mean negative log-likelihood per predicted token."""
    return _passed(model, ids).nats


def _passed(model: Any, ids: Tensor) -> _Pass:
    start = corpus.starts(ids, model.config.bos_token_id)
    hidden = corpus.visible(start, ids.shape[1]).logical_not()
    mask = torch.zeros(hidden.shape, dtype=model.dtype, device=ids.device).masked_fill(hidden, _NEVER)
    wanted = corpus.targets(ids, start)
    made = model.model(input_ids=ids.clamp(min=0), attention_mask=mask, use_cache=False, output_hidden_states=True)
    logits = model.lm_head(made.last_hidden_state[:, :-1]).float()
    nats = cross_entropy(logits.flatten(0, 1), wanted.flatten(), ignore_index=corpus.NOTHING)
    return _Pass(nats, made.hidden_states, start)


def _loudness(layers: tuple[Tensor, ...], start: Tensor) -> Tensor:
    """By how much the start token's root mean square exceeds `QUIET`, in squared logarithms over the layers."""
    rows = torch.arange(len(start), device=start.device)
    sizes = torch.stack([layer[rows, start].float().square().mean(dim=-1).sqrt() for layer in layers])
    return torch.relu(torch.log(sizes / QUIET)).square().mean(dim=1).sum()


class Gradient:
    """The loss of a batch and its gradient in `dtype`, shared out over the cores.

    On a CPU each core takes rows of like length in a thread of its own, since kernels this small gain little from two
    cores (a step takes two thirds of the time); shares are added up in order, so that the sum does not depend on
    timing. The weights stay in float32 and are copied into a model of that dtype at each step. Until it is closed,
    torch itself uses one thread.
    """

    def __init__(self, pupil: Pupil, *, dtype: str, steps: int, calm: float = 0.0, asked: float = 0.0) -> None:
        self.weighed = {"calm": calm, "asked": asked}
        self.bos_id: int = pupil.model.config.bos_token_id or 0
        self.weights = list(pupil.parameters())
        self.working = working = copy.deepcopy(pupil).to(getattr(torch, dtype))
        self.parameters = list(working.parameters())
        if dtype != "float32" and steps > WORTH_COMPILING:
            working.model.model.compile(dynamic=True)
        on_cpu = self.parameters[0].device.type == "cpu"
        cores = (os.cpu_count() or 1) if on_cpu else 1
        self.parts = _PARTS if on_cpu else 1
        self.pool = ThreadPoolExecutor(cores)
        self.threads = torch.get_num_threads()
        if cores > 1:
            torch.set_num_threads(1)
        for length in (40, 60):  # compiles here and not in several threads at once
            ids = torch.ones(2, length, dtype=torch.long, device=self.parameters[0].device)
            ids[:, 1] = self.bos_id
            self._share((ids, torch.zeros(2, len(distribution.VALUES), dtype=torch.long, device=ids.device)))

    def __call__(self, ids: Int64[Tensor, "rows pos"], about: Int64[Tensor, "rows attributes"]) -> float:
        """Set every parameter's gradient, and return the mean loss in nats per predicted token.

        The gradient is that of the summed loss over `ENTRY` tokens a row.
        """
        with torch.no_grad():
            for working, weight in zip(self.parameters, self.weights, strict=True):
                working.copy_(weight)
        losses, predicted, gradients = zip(*self.pool.map(self._share, _by_length(ids, about, self.parts)), strict=True)
        for weight, *found in zip(self.weights, *gradients, strict=True):
            weight.grad = sum((share.float() for share in found[1:]), start=found[0].float()) / (ENTRY * len(ids))
        return float(sum(losses) / sum(predicted))

    def close(self) -> None:
        """Give the cores back to whatever comes next."""
        self.pool.shutdown()
        torch.set_num_threads(self.threads)

    def _share(self, share: tuple[Tensor, Tensor]) -> tuple[float, int, tuple[Tensor, ...]]:
        ids, about = share
        predicted = int((corpus.targets(ids, corpus.starts(ids, self.bos_id)) != corpus.NOTHING).sum())
        loss = self.working.loss(ids, about, **self.weighed) * predicted
        return loss.item(), predicted, torch.autograd.grad(loss, self.parameters)


def _by_length(ids: Tensor, about: Tensor, parts: int) -> list[tuple[Tensor, Tensor]]:
    """The rows in `parts` of like length, the longest first, each cut where its longest row ends."""
    lengths = (ids != corpus.NOTHING).sum(dim=1)
    order = lengths.argsort(descending=True, stable=True).chunk(parts)
    return [(ids[places, : int(lengths[places].max())], about[places]) for places in order]
