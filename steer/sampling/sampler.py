"""Sampling: a steering point, a radius and a seed in, samples with their cost out, each as it finishes."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from steer.judges.almanac import judges_for
from steer.judges.judge import Judge
from steer.runs.sample import Sample
from steer.runs.sample_file import SampleFile, check_output
from steer.runs.sample_set import SampleSet
from steer.sampling.importance_sampling import sample_calibrated
from steer.sampling.run_plan import Point, RunPlan, make_plan
from vectors.common.errors import InputError, ModelError
from vectors.common.progress import ProgressOption, count_progress, progress_callback, with_progress_bars
from vectors.common.validation import MAX_BATCH, check_integer
from vectors.decoding.decode import Finished
from vectors.decoding.token_sampling import Settings
from vectors.model.residual_model import ResidualModel

_PROPOSALS, _LEAST_PROPOSALS = 64, 4096  # at most, for each calibrated text; and for few texts


@with_progress_bars
def sample(
    model: ResidualModel,
    point: Point,
    *,
    n: int = 8,
    radius: float | None = None,
    seed: int = 0,
    geometry: str | None = None,
    prompt: str | None = None,
    max_tokens: int = 128,
    temperature: float = 1.0,
    top_p: float = 1.0,
    top_k: int = 0,
    min_p: float = 0.0,
    positions: str | None = None,
    gate: bool = False,
    max_pressure: float | None = None,
    costs: bool = True,
    batch_size: int | None = None,
    calibrated: bool = False,
    judges: Sequence[Judge] | None = None,
    most_proposals: int | None = None,
    output: str | Path | None = None,
    force: bool = False,
    resume: bool = False,
    watcher: Callable[[Sample], None] | None = None,
    progress: ProgressOption = None,
) -> SampleSet:
    """Return `n` samples with a point switched on, each in a direction of its own.

    The arguments are those of `stream`, and a JSONL file `output` that each sample is appended to as it finishes:
    `force` replaces it if it exists, `resume` goes on with a file of the same run and samples only what it lacks. A
    `watcher` is told of each sample as it finishes, `progress` how many have (`True` shows a bar).

    With `calibrated=True` the samples are proposals: what is returned is drawn among them by what the base model makes
    of them, so that they are texts of the base model itself in which the `judges` find what was asked for (of the
    embedded model, its world's oracle). As many are proposed as a pilot says that it takes, `most_proposals` of them
    (by default 64 for each text, and 4096); where those are worth fewer than `n` texts, nothing is returned. See
    `steer.sampling.importance_sampling`.

    Raises:
        InputError: proposals that are worth too little, and how much.
        OutputError: a file that exists or cannot be written; otherwise as `stream`.

    >>> from vectors import load_model
    >>> runs = sample(load_model(), "cat", n=2, radius=0.5, seed=7, max_tokens=8)
    >>> [len(run.tokens) for run in runs]
    [8, 8]
    """
    if force and resume:
        raise InputError("force and resume exclude each other: replace the file, or go on with it")
    if output is None and (force or resume):
        raise InputError("force and resume are about an output file: name it with output=")
    if calibrated and not costs:
        raise InputError("calibrated samples are weighed by what they cost: leave costs=False out")
    if resume and calibrated:
        raise InputError("calibrated samples are drawn all at once: leave resume out")
    settings = Settings(max_tokens=max_tokens, temperature=temperature, top_p=top_p, top_k=top_k, min_p=min_p)
    plan = make_plan(
        model, point, settings, positions=positions, radius=radius, geometry=geometry, seed=seed, prompt=prompt,
        gate=gate, max_pressure=max_pressure, costs=costs,
    )  # fmt: skip

    more = count_progress(progress_callback(progress), "sampling", 0 if calibrated else n)

    def made(skip: Collection[int], n: int = n) -> Iterator[Sample]:
        for finished in samples_of(model, plan, n=n, batch_size=batch_size, skip=skip):
            yield finished
            more(1)
            if watcher is not None:
                watcher(finished)

    if calibrated:
        if output is not None:
            check_output(output, "force" if force else "new")
        most = max(_LEAST_PROPOSALS, _PROPOSALS * n) if most_proposals is None else most_proposals
        asked = judges_for(model, plan.point, judges)
        found = sample_calibrated(lambda count, skip: made(skip, count), asked, n, most=most, seed=seed)
        if output is not None:
            found.save(output, force=force)
        return found
    if output is None:
        return SampleSet(made(()))
    with SampleFile(output, "force" if force else "resume" if resume else "new", plan.identity(model)) as file:
        for finished in made(frozenset(file.done)):
            file.append(finished)
    return SampleSet(found for found in SampleSet.load(output) if found.index < n)


def stream(
    model: ResidualModel,
    point: Point,
    *,
    n: int = 8,
    radius: float | None = None,
    seed: int = 0,
    geometry: str | None = None,
    prompt: str | None = None,
    max_tokens: int = 128,
    temperature: float = 1.0,
    top_p: float = 1.0,
    top_k: int = 0,
    min_p: float = 0.0,
    positions: str | None = None,
    gate: bool = False,
    max_pressure: float | None = None,
    costs: bool = True,
    batch_size: int | None = None,
    skip: Collection[int] = (),
) -> Iterator[Sample]:
    """Yield samples as they finish, in no fixed order.

    Sample `i` is a pure function of the point, the settings and `(seed, i)`: neither `n` nor `batch_size` matters,
    but for the rounding of matrix kernels, which may differ between batch sizes.

    Args:
        model: the model to sample; it is as it was afterwards.
        point: what to switch on; an expression or a mapping is composed, `None` samples the base model, and samples
            to stand on (`steer.recentre`) are the centre of the search, and tell the radius, geometry, positions,
            prompt and gate where nothing else is asked for.
        n: number of samples.
        radius: length of each sample's own perturbation, relative to the point's (see `perturb`); by default 0, or what
            the samples to stand on ask for.
        seed: of directions and tokens.
        geometry: of the perturbations, `shell` by default; see `perturb`.
        prompt: text to continue; without one, texts start from the start token alone.
        max_tokens: longest text, in generated tokens.
        temperature: divides the logits; 1 is the model as it is, 0 the likeliest token.
        top_p: keep the likeliest tokens that reach this mass; 1 keeps all.
        top_k: keep so many of the likeliest tokens; 0 keeps all.
        min_p: keep tokens at least this fraction as likely as the likeliest; 0 keeps all.
        positions: which positions are shifted: `bos` (the start token's), `all`, `generated`, `not-bos`, `first:N`
            (until N tokens are drawn) or `decay:H` (all, halved with every H tokens); by default those that the
            concepts were made for.
        gate: add only as much of each concept as a position lacks; not for concepts at the start token.
        max_pressure: the most, in nats per token, that the 95th percentile of the pressure may be; as much of the point
            is added as a pilot of 32 samples finds to stay within it, and `settings["scale"]` records how much.
        costs: know what each text costs, as it is written; it takes about as long again. Without, a text's base
            log-probability and pressure are None, and `steer.sampling.replay.replayed` finds them later.
        batch_size: samples decoded together, halved where memory runs out; by default what suits the device.
        skip: indices that are not to be sampled.

    Raises:
        InputError: an argument outside its range, or an expression that cannot be composed.
        ModelError: logits that are finite in no text, no memory for a single one, or no prompt for a model without a
            start token.
        VectorError: a vector of another model.
        UnsteeredError: a shift that does not reach the logits; no text is returned then.
    """
    settings = Settings(max_tokens=max_tokens, temperature=temperature, top_p=top_p, top_k=top_k, min_p=min_p)
    plan = make_plan(
        model, point, settings, positions=positions, radius=radius, geometry=geometry, seed=seed, prompt=prompt,
        gate=gate, max_pressure=max_pressure, costs=costs,
    )  # fmt: skip
    return samples_of(model, plan, n=n, batch_size=batch_size, skip=skip)


def samples_of(
    model: ResidualModel, plan: RunPlan, *, n: int, batch_size: int | None = None, skip: Collection[int] = ()
) -> Iterator[Sample]:
    """Yield the first `n` samples of a plan as they finish, without those to skip; see `stream`."""
    wanted = (index for index in range(check_integer(n, "n", low=1)) if index not in skip)
    return samples_at(model, plan, wanted, batch_size=batch_size)


def samples_at(
    model: ResidualModel, plan: RunPlan, indices: Iterable[int], *, batch_size: int | None = None
) -> Iterator[Sample]:
    """Yield the samples of a plan at some indices as they finish; see `stream`."""
    if batch_size is not None:
        check_integer(batch_size, "batch_size", low=1, high=MAX_BATCH)
    return _decoded(model, plan, plan.prefix(model), indices, batch_size)


def _decoded(
    model: ResidualModel, plan: RunPlan, prefix: list[int], wanted: Iterable[int], batch_size: int | None
) -> Iterator[Sample]:
    run, broken, sound = plan.identity(model), 0, 0
    for finished in plan.decoded(model, wanted, prefix=prefix, batch_size=batch_size):
        broken += finished.finish == "not-finite"
        sound += finished.finish != "not-finite"
        yield _sample(model, prefix, finished, run, known=plan.costs or not plan.point.layers)
    if broken and not sound:
        raise ModelError(
            "the model's logits are not finite under this shift, in every text: lower the doses, or load it in float32"
        )


def _sample(model: ResidualModel, prefix: list[int], finished: Finished, run: dict[str, Any], *, known: bool) -> Sample:
    # decoded with what it continues: some tokenizers drop the blank before a text's first word
    before, whole_text = model.decode(prefix), model.decode([*prefix, *finished.tokens])
    joined = whole_text.startswith(before)
    cost = finished.cost
    return Sample(
        index=finished.index,
        text=whole_text[len(before) :] if joined else model.decode(finished.tokens),
        tokens=finished.tokens,
        logprob_base=float(cost.logprob_base.sum()) if known else None,
        logprob_steered=float(cost.logprob_steered.sum()),
        pressure=cost.pressure if known else None,
        finish=finished.finish,
        **run,
    )
