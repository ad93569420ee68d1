"""The decode loop: texts side by side, each with its own shift and random numbers, beside their unshifted selves."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from vectors.common.errors import InputError, ModelError
from vectors.common.validation import check_utf8, quote
from vectors.decoding.batch import Batch
from vectors.decoding.token_costs import Cost
from vectors.decoding.token_sampling import Settings
from vectors.model.interventions import Intervention
from vectors.model.loading import block_configs, is_out_of_memory, short_message
from vectors.model.residual_model import ResidualModel

_ON_CPU = 64  # rows
_MOST = 1024  # rows on a GPU
_SHARE = 0.6  # of the free memory that is used
_MEMORY = Path("/proc/meminfo")
_DROP_SHARE = 8  # rows without a text leave the batch once they are one in so many: copying the cache costs too

Shifts = Callable[[Sequence[int]], Mapping[int, Float[Tensor, "some d_model"]]]
"""From the indices of some samples to the shift of each of them, by layer."""


@dataclass(frozen=True)
class Finished:
    """One finished text: its sample's index, the ids it generated (the end token included), why it ended, its cost.

    `finish` is `eos` (the model ended the text), `length` (it was cut) or `not-finite` (the next token's logits were).
    """

    index: int
    tokens: list[int]
    finish: str
    cost: Cost


def prefix_ids(model: ResidualModel, prompt: str | None, max_tokens: int) -> list[int]:
    """Return the ids every row starts from: the start token alone, or a prompt's.

    Raises:
        InputError: the prompt is empty, or prefix and `max_tokens` together outgrow the model's context.
        ModelError: no prompt, and a model without a start token.
    """
    if prompt is None:
        ids = model.start_ids()
    else:
        _check_prompt(prompt)
        ids = model.encode([prompt])[0]
        if len(ids) == (model.bos_id is not None):
            raise InputError("the prompt is empty: leave it out to sample without a prompt, or give some text")
    if len(ids) + max_tokens > model.max_context:
        room = model.max_context - len(ids)
        mend = f"ask for at most {room} tokens" if room > 0 else "shorten the prompt"
        raise InputError(
            f"{len(ids)} prompt tokens and {max_tokens} new ones outgrow the context of {model.max_context}: {mend}"
        )
    return ids


def _check_prompt(prompt: object) -> None:
    if not isinstance(prompt, str):
        raise InputError(f"the prompt is {quote(prompt)}: give text, or None to sample without a prompt")
    check_utf8(prompt, "the prompt")


def rows_that_fit(model: ResidualModel, length: int, *, doubled: bool) -> int:
    """Return how many texts of so many tokens are written side by side at best, on the model's device.

    On a CPU more than a few rows gain little; on a GPU they are nearly free until its memory is full.
    """
    most = _MOST if model.device.type == "cuda" else _ON_CPU
    if (free := _free(model.device)) is None:
        return most
    config = model.hf.config.get_text_config(decoder=True)
    width = max(_width(block, model.d_model) for block in block_configs(config))
    kept = 2 * model.n_layers * width * model.dtype.itemsize * length
    logits = 24 * config.vocab_size  # float32, a few times over
    return int(max(1, min(most, _SHARE * free / ((kept + logits) * (2 if doubled else 1)))))


def _width(config: Any, d_model: int) -> int:
    """How many numbers a block keeps of each key, and of each value."""
    heads = getattr(config, "num_attention_heads", None) or 1
    head = getattr(config, "head_dim", None) or d_model // heads
    return int((getattr(config, "num_key_value_heads", None) or heads) * head)


def _free(device: torch.device) -> int | None:
    """Bytes of memory that can be had on a device, or None where nothing says so."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + unused
    try:
        lines = _MEMORY.read_text().splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, IndexError, ValueError):  # another system than Linux
        return None


def decode(
    model: ResidualModel,
    shifts: Shifts | None,
    *,
    prefix: Sequence[int],
    settings: Settings,
    seed: int,
    indices: Iterable[int],
    batch_size: int | None = None,
    interventions: Mapping[int, Intervention] | None = None,
    costs: bool = True,
) -> Iterator[Finished]:
    """Yield the text of each sample as it finishes; sample `i` is shifted by its row of `shifts([i])`.

    Tokens come by inverse CDF from the sample's own uniform stream, one number a step, so that a text does not depend
    on its neighbours (matrix kernels may still round differently at another batch size). Every shifted row has an
    unshifted one beside it that reads the same tokens: what a text costs is known once it is written. A row whose text
    is finished begins the next one.

    Raises:
        ModelError: memory runs out at a single text.

    Args:
        model: the model; between two texts it is as it was.
        shifts: what each sample is shifted by, the same layers for all; `None` shifts nothing.
        prefix: the ids that every text starts from.
        settings: how tokens are drawn, and at which positions texts are shifted.
        seed: of the tokens.
        indices: the samples.
        batch_size: texts written side by side, halved where memory runs out; by default what fits into it.
        interventions: what else than adding a shift does, by layer.
        costs: whether the unshifted rows are there; without, a shifted text's base log-probabilities and KL are NaN.
    """
    waiting = iter(indices)
    rows = batch_size or rows_that_fit(model, len(prefix) + settings.max_tokens, doubled=shifts is not None and costs)
    while some := list(islice(waiting, rows)):
        batch = Batch(
            model, len(some), shifts, prefix=prefix, settings=settings, seed=seed, interventions=interventions,
            costs=costs,
        )  # fmt: skip
        try:
            batch.begin(some)
            while batch.live:
                for index, tokens, finish, cost in batch.advance():
                    yield Finished(index, tokens, finish, cost)
                if batch.free and batch.refills:
                    batch.begin(list(islice(waiting, batch.free)))
                if batch.free * _DROP_SHARE >= batch.rows:
                    batch.shrink()
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            # what is finished has been yielded; the others begin anew, fewer at a time
            if (rows := len(some) // 2) == 0:
                raise ModelError(
                    f"model {model.name!r} runs out of memory at a single text ({short_message(error)}): ask for "
                    "fewer tokens, or give a smaller --dtype or another --device"
                ) from error
            waiting = chain(batch.unfinished or some, waiting)
        finally:
            batch.close()
        if rows < len(some) and model.device.type == "cuda":
            torch.cuda.empty_cache()
