"""The samples of a plan, each as it finishes."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

from steer.runs.sample import Sample
from steer.sampling.run_plan import RunPlan
from vectors.common.validation import MAX_BATCH, MAX_SEED, check_integer
from vectors.decoding.decode import Finished
from vectors.model.residual_model import ResidualModel, not_finite


def samples_of(
    model: ResidualModel, plan: RunPlan, *, n: int, batch_size: int | None = None, skip: Collection[int] = ()
) -> Iterator[Sample]:
    """Yield the first `n` samples of a plan as they finish, except those to skip; see `steer.stream`."""
    indices = (index for index in range(check_integer(n, "n", low=1, high=MAX_SEED)) if index not in skip)
    return samples_at(model, plan, indices, batch_size=batch_size)


def samples_at(
    model: ResidualModel, plan: RunPlan, indices: Iterable[int], *, batch_size: int | None = None
) -> Iterator[Sample]:
    """Yield the samples of a plan at some indices as they finish; see `steer.stream`."""
    if batch_size is not None:
        check_integer(batch_size, "batch_size", low=1, high=MAX_BATCH)
    return _decoded_samples(model, plan, plan.prefix(model), indices, batch_size)


def _decoded_samples(
    model: ResidualModel, plan: RunPlan, prefix: list[int], indices: Iterable[int], batch_size: int | None
) -> Iterator[Sample]:
    run, broken, finite = plan.identity(model), 0, 0
    for finished in plan.decoded(model, indices, prefix=prefix, batch_size=batch_size):
        broken += finished.finish == "not-finite"
        finite += finished.finish != "not-finite"
        yield _to_sample(model, prefix, finished, run, has_costs=plan.costs or not plan.point.layers)
    if broken and not finite:
        raise not_finite(model, "logits under this shift in every text", hint="lower the doses")


def text_of(model: ResidualModel, prefix: Sequence[int], tokens: Sequence[int]) -> str:
    """Return the text of generated tokens that follow a prefix."""
    # decode the prefix too: some tokenizers drop the space before the first word of a text
    before, whole_text = model.decode(prefix), model.decode([*prefix, *tokens])
    return whole_text[len(before) :] if whole_text.startswith(before) else model.decode(tokens)


def _to_sample(
    model: ResidualModel, prefix: list[int], finished: Finished, run: dict[str, Any], *, has_costs: bool
) -> Sample:
    cost = finished.cost
    return Sample(
        index=finished.index,
        text=text_of(model, prefix, finished.tokens),
        tokens=finished.tokens,
        logprob_base=float(cost.logprob_base.sum()) if has_costs else None,
        logprob_steered=float(cost.logprob_steered.sum()),
        pressure=cost.pressure if has_costs else None,
        finish=finished.finish,
        **run,
    )
