"""Sampling: a steering point, a radius and a seed in, samples with their cost out, each as it finishes."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from steer.ball import perturb
from steer.figures.judges import Judge
from steer.point import SteeringPoint, compose
from steer.proposals import judges_for, propose
from steer.record import Sample
from steer.samplefile import SampleFile, check_output
from steer.samples import SampleSet
from vectors.checks import MAX_BATCH, shown, whole
from vectors.concept import check_fits
from vectors.decode import Finished, decode, prefix_ids
from vectors.drawing import Settings
from vectors.errors import InputError, ModelError
from vectors.model import ResidualModel
from vectors.positions import check_positions
from vectors.residual import prove_steering

Point = SteeringPoint | str | Mapping[Any, float] | None
"""What can be switched on: a point, what `compose` takes, or nothing."""

_PROPOSALS, _LEAST_PROPOSALS = 64, 4096  # at most, for each calibrated text; and for few texts


def sample(
    model: ResidualModel,
    point: Point,
    *,
    n: int = 8,
    radius: float = 0.0,
    seed: int = 0,
    geometry: str = "shell",
    prompt: str | None = None,
    max_tokens: int = 128,
    temperature: float = 1.0,
    top_p: float = 1.0,
    top_k: int = 0,
    min_p: float = 0.0,
    positions: str | None = None,
    batch_size: int | None = None,
    calibrated: bool = False,
    judges: Sequence[Judge] | None = None,
    most_proposals: int | None = None,
    output: str | Path | None = None,
    force: bool = False,
    resume: bool = False,
    watcher: Callable[[Sample], None] | None = None,
) -> SampleSet:
    """Return `n` samples with a point switched on, each in a direction of its own.

    The arguments are those of `stream`, and a JSONL file `output` that each sample is appended to as it finishes:
    `force` replaces it if it exists, `resume` goes on with a file of the same run and samples only what it lacks. A
    `watcher` is told of each sample as it finishes.

    With `calibrated=True` the samples are proposals: what is returned is drawn among them by what the base model makes
    of them, so that they are texts of the base model itself in which the `judges` find what was asked for (of the
    embedded model, its world's oracle). As many are proposed as a pilot says that it takes, `most_proposals` of them
    (by default 64 for each text, and 4096); where those are worth fewer than `n` texts, nothing is returned. See
    `steer.proposals`.

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
    if resume and calibrated:
        raise InputError("calibrated samples are drawn all at once: leave resume out")
    composed = composed_of(point, model)
    settings = settings_of(composed, max_tokens, temperature, top_p, top_k, min_p, positions)

    def made(skip: Collection[int], n: int = n) -> Iterator[Sample]:
        for finished in stream(
            model,
            composed,
            n=n,
            radius=radius,
            seed=seed,
            geometry=geometry,
            prompt=prompt,
            batch_size=batch_size,
            skip=skip,
            **asdict(settings),
        ):
            yield finished
            if watcher is not None:
                watcher(finished)

    if calibrated:
        if output is not None:
            check_output(output, "force" if force else "new")
        most = max(_LEAST_PROPOSALS, _PROPOSALS * n) if most_proposals is None else most_proposals
        asked = judges_for(model, composed, judges)
        found = propose(lambda count, skip: made(skip, count), asked, n, most=most, seed=seed)
        if output is not None:
            found.save(output, force=force)
        return found
    if output is None:
        return SampleSet(made(()))
    run = identity(model, composed, radius=radius, seed=seed, geometry=geometry, prompt=prompt, settings=settings)
    with SampleFile(output, "force" if force else "resume" if resume else "new", run) as file:
        for finished in made(frozenset(file.done)):
            file.append(finished)
    return SampleSet(found for found in SampleSet.load(output) if found.index < n)


def stream(
    model: ResidualModel,
    point: Point,
    *,
    n: int = 8,
    radius: float = 0.0,
    seed: int = 0,
    geometry: str = "shell",
    prompt: str | None = None,
    max_tokens: int = 128,
    temperature: float = 1.0,
    top_p: float = 1.0,
    top_k: int = 0,
    min_p: float = 0.0,
    positions: str | None = None,
    batch_size: int | None = None,
    skip: Collection[int] = (),
) -> Iterator[Sample]:
    """Yield samples as they finish, in no fixed order.

    Sample `i` is a pure function of the point, the settings and `(seed, i)`: neither `n` nor `batch_size` matters,
    but for the rounding of matrix kernels, which may differ between batch sizes.

    Args:
        model: the model to sample; it is as it was afterwards.
        point: what to switch on; an expression or a mapping is composed, `None` samples the base model.
        n: number of samples.
        radius: length of each sample's own perturbation, relative to the point's; see `perturb`.
        seed: of directions and tokens.
        geometry: of the perturbations.
        prompt: text to continue; without one, texts start from the start token alone.
        max_tokens: longest text, in generated tokens.
        temperature: divides the logits; 1 is the model as it is, 0 the likeliest token.
        top_p: keep the likeliest tokens that reach this mass; 1 keeps all.
        top_k: keep so many of the likeliest tokens; 0 keeps all.
        min_p: keep tokens at least this fraction as likely as the likeliest; 0 keeps all.
        positions: which positions are shifted: `bos` (the start token's), `all`, `generated` or `not-bos`; by default
            those that the concepts were made for.
        batch_size: samples decoded together, halved where memory runs out; by default what suits the device.
        skip: indices that are not to be sampled.

    Raises:
        InputError: an argument outside its range, or an expression that cannot be composed.
        ModelError: logits that are finite in no text, no memory for a single one, or no prompt for a model without a
            start token.
        VectorError: a vector of another model.
        UnsteeredError: a shift that does not reach the logits; no text is returned then.
    """
    composed = composed_of(point, model)
    settings = settings_of(composed, max_tokens, temperature, top_p, top_k, min_p, positions)
    check_positions(settings.positions, bos=model.bos_id is not None)
    if batch_size is not None:
        whole(batch_size, "batch_size", low=1, high=MAX_BATCH)
    perturb(composed, 1, radius, seed=seed, geometry=geometry)  # refuses a bad radius before anything is sampled
    prefix = prefix_ids(model, prompt, settings.max_tokens)
    for vector in composed.vectors:
        check_fits(vector, model)
    for layer, delta in composed.deltas.items():
        prove_steering(model, layer, delta, positions=settings.positions, prefix=prefix, new=settings.max_tokens)
    run = identity(model, composed, radius=radius, seed=seed, geometry=geometry, prompt=prompt, settings=settings)
    wanted = (index for index in range(whole(n, "n", low=1)) if index not in skip)
    return _decoded(model, composed, settings, prefix, run, wanted, batch_size)


def _decoded(
    model: ResidualModel,
    point: SteeringPoint,
    settings: Settings,
    prefix: list[int],
    run: dict[str, Any],
    wanted: Iterator[int],
    batch_size: int | None,
) -> Iterator[Sample]:
    shape = {"seed": run["seed"], "geometry": run["geometry"]}
    broken = whole_texts = 0

    def shifts(indices: Sequence[int]) -> dict[int, Tensor]:
        rows = [perturb(point, 1, run["radius"], start=index, **shape) for index in indices]
        return {layer: torch.cat([row[layer] for row in rows]) for layer in point.layers}

    for finished in decode(
        model,
        shifts if point.layers else None,
        prefix=prefix,
        settings=settings,
        seed=run["seed"],
        indices=wanted,
        batch_size=batch_size,
    ):
        broken += finished.finish == "not-finite"
        whole_texts += finished.finish != "not-finite"
        yield _sample(model, prefix, finished, run)
    if broken and not whole_texts:
        raise ModelError(
            "the model's logits are not finite under this shift, in every text: lower the doses, or load it in float32"
        )


def _sample(model: ResidualModel, prefix: list[int], finished: Finished, run: dict[str, Any]) -> Sample:
    # decoded with what it continues: some tokenizers drop the blank before a text's first word
    before, whole_text = model.decode(prefix), model.decode([*prefix, *finished.tokens])
    joined = whole_text.startswith(before)
    return Sample(
        index=finished.index,
        text=whole_text[len(before) :] if joined else model.decode(finished.tokens),
        tokens=finished.tokens,
        logprob_base=float(finished.cost.logprob_base.sum()),
        logprob_steered=float(finished.cost.logprob_steered.sum()),
        pressure=finished.cost.pressure,
        finish=finished.finish,
        **run,
    )


def composed_of(point: Point, model: ResidualModel) -> SteeringPoint:
    """Return a point as it is, or composed from what was given for one.

    Raises:
        InputError: what is no point.
    """
    if isinstance(point, SteeringPoint):
        return point
    if point is None:
        return SteeringPoint(deltas={}, doses={}, vectors=())
    if isinstance(point, str | Mapping):
        return compose(point, model)
    raise InputError(f"point is {shown(point)}: give an expression, a mapping from concepts to doses, or `compose` one")


def settings_of(
    point: SteeringPoint,
    max_tokens: int,
    temperature: float,
    top_p: float,
    top_k: int,
    min_p: float,
    positions: str | None,
) -> Settings:
    """Return the settings of a run; the positions are the point's own where none were given."""
    return Settings(
        max_tokens=max_tokens,
        temperature=temperature,
        top_p=top_p,
        top_k=top_k,
        min_p=min_p,
        positions=point.positions if positions is None else positions,
    )


def identity(
    model: ResidualModel,
    point: SteeringPoint,
    *,
    radius: float,
    seed: int,
    geometry: str,
    prompt: str | None,
    settings: Settings,
) -> dict[str, Any]:
    """Return what every sample of one run shares; weights and vectors by their digests, since names can be reused."""
    digests = {"model_hash": model.hash[:16], "vectors": {made.name: made.digest[:16] for made in point.vectors}}
    how = {"dtype": str(model.dtype).removeprefix("torch."), "composition": point.method}
    return {
        "seed": seed,
        "radius": radius,
        "geometry": geometry,
        "doses": point.doses,
        "layer": list(point.layers),
        "model": model.name,
        "prompt": prompt or "",
        "settings": asdict(settings) | how | digests,
    }
