"""The decode loop: samples side by side, each with its own shift and random numbers."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from vectors.common.errors import InputError, ModelError
from vectors.common.validation import check_utf8, quote
from vectors.decoding.batch import Batch
from vectors.decoding.token_costs import Cost
from vectors.decoding.token_sampling import Settings
from vectors.model.interventions import Intervention
from vectors.model.loading import block_configs, is_out_of_memory, short_message
from vectors.model.positions import Shifts
from vectors.model.residual_model import ResidualModel
from vectors.model.weights import memory_of

if TYPE_CHECKING:
    from vectors.decoding.packed_weights import PackedWeights

_CPU_ROWS = 64
_GPU_ROWS = 1024
_MEMORY_SHARE = 0.6  # share of the free memory to use
_MEMINFO = Path("/proc/meminfo")
_PACKED_WEIGHTS = 50_000_000  # with fewer, calls cost more than products
_PACKED_SHARE = 0.25  # share of the free memory that packed weights may take
_DROP_SHARE = 8  # free rows are dropped once they are 1 in 8: copying the cache has a cost too

ShiftsOf = Callable[[Sequence[int]], Shifts]
"""Maps the indices of some samples to their shifts, one row a sample."""


@dataclass(frozen=True)
class Finished:
    """A finished sample.

    Attributes:
        index: index of the sample.
        tokens: generated ids, the end token included.
        finish: `eos` (the model ended the text), `length` (the text was cut) or `not-finite` (the logits of the next
            token are not finite).
        cost: log-probabilities and KL of the generated tokens.
    """

    index: int
    tokens: list[int]
    finish: str
    cost: Cost


def prefix_ids(model: ResidualModel, prompt: str | None, max_tokens: int) -> list[int]:
    """Return the ids that every sample starts from: the start token alone, or those of a prompt.

    Raises:
        InputError: the prompt is empty, or prefix and `max_tokens` together exceed the model's context.
        ModelError: there is no prompt, and the model has no start token.
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
        fix = f"ask for at most {room} tokens" if room > 0 else "shorten the prompt"
        read = f"{len(ids)} prompt tokens" if prompt is not None else "the start token"
        raise InputError(f"{read} and {max_tokens} new tokens exceed the context of {model.max_context}: {fix}")
    return ids


def _check_prompt(prompt: object) -> None:
    if not isinstance(prompt, str):
        raise InputError(f"the prompt is {quote(prompt)}: give text, or None to sample without a prompt")
    check_utf8(prompt, "the prompt")


def rows_that_fit(model: ResidualModel, length: int, *, doubled: bool) -> int:
    """Return a batch size for texts of `length` tokens that fits into the free memory of the model's device.

    At most 64 rows on a CPU, where more gain little, and 1024 on a GPU. `doubled` says that every row has a base row.
    """
    limit = _GPU_ROWS if model.device.type == "cuda" else _CPU_ROWS
    if (free := _free_memory(model.device)) is None:
        return limit
    config = model.hf.config.get_text_config(decoder=True)
    width = max(_key_width(block, model.d_model) for block in block_configs(config))
    cache = 2 * model.n_layers * width * model.dtype.itemsize * length
    logits = 24 * config.vocab_size  # several float32 copies
    return int(max(1, min(limit, _MEMORY_SHARE * free / ((cache + logits) * (2 if doubled else 1)))))


def _key_width(config: Any, d_model: int) -> int:
    """Return how many numbers a block stores for the key, and for the value, of one token."""
    heads = getattr(config, "num_attention_heads", None) or 1
    head_width = getattr(config, "head_dim", None) or d_model // heads
    return int((getattr(config, "num_key_value_heads", None) or heads) * head_width)


def _free_memory(device: torch.device) -> int | None:
    """Return the free memory of a device in bytes, or None if it is unknown."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + unused
    try:
        lines = _MEMINFO.read_text().splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, IndexError, ValueError):  # not Linux
        return None


def _packed_weights(model: ResidualModel) -> "PackedWeights | None":
    """Return a place for packed weights, if the model is large, on a CPU, and there is memory for a copy of it."""
    if model.device.type != "cpu" or (free := _free_memory(model.device)) is None:
        return None
    count, size = memory_of(model.hf)
    if count < _PACKED_WEIGHTS or size > _PACKED_SHARE * free:
        return None
    from vectors.decoding.packed_weights import PackedWeights  # only a large model needs it

    return PackedWeights(model.hf)


def decode(
    model: ResidualModel,
    shifts: ShiftsOf | None,
    *,
    prefix: Sequence[int],
    settings: Settings,
    seed: int,
    indices: Iterable[int],
    batch_size: int | None = None,
    interventions: Mapping[int, Intervention] | None = None,
    costs: bool = True,
) -> Iterator[Finished]:
    """Decode samples and yield each as soon as it is finished.

    Each sample has noise of its own for each token, so that its text does not depend on its neighbours in the batch
    (matrix kernels may still round differently at another batch size). A row whose sample is finished starts the next
    one.

    Args:
        model: the model; it is unchanged between two yields.
        shifts: maps sample indices to their shifts, by the same layers or sites for all; `None` decodes the plain
            model.
        prefix: token ids that every sample starts from.
        settings: how tokens are sampled, and at which positions the shift is added.
        seed: seed of the tokens.
        indices: indices of the samples.
        batch_size: samples decoded side by side, halved when memory runs out; by default as many as fit.
        interventions: for each layer a function that replaces the addition of the shift.
        costs: whether every shifted row has a base row that reads the same tokens without the shift. Without base
            rows, the base log-probabilities and the KL of a shifted sample are NaN.

    Raises:
        ModelError: memory runs out with a single sample.
    """
    waiting = iter(indices)
    rows = batch_size or rows_that_fit(model, len(prefix) + settings.max_tokens, doubled=shifts is not None and costs)
    packed = _packed_weights(model)
    while samples := list(islice(waiting, rows)):
        batch = Batch(
            model, len(samples), shifts, prefix=prefix, settings=settings, seed=seed, interventions=interventions,
            costs=costs, packed=packed,
        )  # fmt: skip
        try:
            batch.start(samples)
            while batch.live:
                for index, tokens, finish, cost in batch.advance():
                    yield Finished(index, tokens, finish, cost)
                if batch.free and batch.refillable:
                    batch.start(list(islice(waiting, batch.free)))
                if batch.free * _DROP_SHARE >= batch.rows:
                    batch.drop_free_rows()
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            # finished samples have been yielded; the others start again in a smaller batch
            if (rows := len(samples) // 2) == 0:
                raise ModelError(
                    f"model {model.name!r} runs out of memory with a single sample ({short_message(error)}): ask for "
                    "fewer tokens, or give a smaller --dtype or another --device"
                ) from error
            waiting = chain(batch.unfinished or samples, waiting)
        finally:
            batch.close()
        if rows < len(samples) and model.device.type == "cuda":
            torch.cuda.empty_cache()
