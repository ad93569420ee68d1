"""Sample a steered model: `sample` returns a set of samples, `stream` yields each as it finishes."""

from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

from steer.judges.judge import Judge
from steer.runs.sample import Sample
from steer.runs.sample_file import SampleFile, check_output
from steer.runs.sample_set import SampleSet
from steer.sampling.importance_sampling import sample_calibrated
from steer.sampling.run_plan import Point, SamplingOptions, make_plan
from steer.sampling.sampler import samples_of
from vectors.common.errors import InputError
from vectors.common.progress import ProgressOption, count_progress, progress_callback, with_progress_bars
from vectors.model.residual_model import ResidualModel

# default limit of the proposals for calibrated samples: per text, and at least
_PROPOSALS, _LEAST_PROPOSALS = 64, 4096


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
    """Return `n` samples of the steered model, each with its own direction.

    The arguments up to `batch_size` are those of `stream`. The others:

    - `calibrated`: draw the samples by importance weights, see below;
    - `judges`: who accepts a text, for calibrated samples; by default the oracle of the embedded model;
    - `most_proposals`: limit for calibrated samples; by default 64 per text and at least 4096;
    - `output`: a JSONL file to which each sample is appended as it finishes;
    - `force`: replace the file if it exists;
    - `resume`: continue the file of the same run and sample only what it lacks;
    - `watcher`: called with each sample as it finishes;
    - `progress`: called with the number of finished samples; `True` shows a progress bar.

    With `calibrated=True`, steered texts are proposals, and the returned texts are drawn from them by importance
    weights: they are distributed as the base model's own texts in which the `judges` find the concepts. A pilot decides
    how many proposals are sampled, at most `most_proposals`; if they are worth fewer than `n` texts, an error says so
    and nothing is returned. See `steer.sampling.importance_sampling`.

    Raises:
        InputError: options that exclude each other, or proposals that are worth too little; otherwise as `stream`.
        OutputError: a file that exists or cannot be written.

    >>> import steer, vectors
    >>> runs = steer.sample(vectors.load_model(), "cat", n=2, radius=0.5, seed=7, max_tokens=8)
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
    options = SamplingOptions(
        radius=radius, geometry=geometry, seed=seed, prompt=prompt, max_tokens=max_tokens, temperature=temperature,
        top_p=top_p, top_k=top_k, min_p=min_p, positions=positions, gate=gate, max_pressure=max_pressure, costs=costs,
    )  # fmt: skip
    plan = make_plan(model, point, options)
    advance = count_progress(progress_callback(progress), "sampling", 0 if calibrated else n)

    def draw(count: int, skip: Collection[int]) -> Iterator[Sample]:
        for finished in samples_of(model, plan, n=count, batch_size=batch_size, skip=skip):
            yield finished
            advance(1)
            if watcher is not None:
                watcher(finished)

    if calibrated:
        from steer.judges.almanac import judges_for

        if output is not None:
            check_output(output, "force" if force else "new")
        limit = max(_LEAST_PROPOSALS, _PROPOSALS * n) if most_proposals is None else most_proposals
        samples = sample_calibrated(draw, judges_for(model, plan.point, judges), n, most=limit, seed=seed)
        if output is not None:
            samples.save(output, force=force)
        return samples
    if output is None:
        return SampleSet(draw(n, ()))
    with SampleFile(output, "force" if force else "resume" if resume else "new", plan.identity(model)) as file:
        for finished in draw(n, frozenset(file.done)):
            file.append(finished)
    return SampleSet(finished for finished in SampleSet.load(output) if finished.index < n)


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

    Sample `i` is a pure function of the point, the options and `(seed, i)`. Neither `n` nor `batch_size` changes it,
    except for the rounding of matrix kernels, which may differ between batch sizes.

    Args:
        model: the model to sample; it is unchanged afterwards.
        point: what to sample. An expression or a mapping is composed, `None` is the plain model, and a centre from
            `steer.recentre` also gives the default radius, geometry, positions, prompt and gate.
        n: number of samples.
        radius: length of each sample's own perturbation, relative to the point's (see `perturb`); by default 0, or the
            radius of the centre.
        seed: of directions and tokens.
        geometry: of the perturbations: `shell` (default), `cap` or `natural`; see `perturb`.
        prompt: text to continue; without one, texts begin at the start token.
        max_tokens: largest number of generated tokens.
        temperature: divides the logits; 1 leaves the model as it is, 0 takes the likeliest token.
        top_p: keep the likeliest tokens up to this total probability; 1 keeps all.
        top_k: keep this many of the likeliest tokens; 0 keeps all.
        min_p: keep tokens at least this fraction as likely as the likeliest; 0 keeps all.
        positions: positions that are shifted: `bos` (the start token), `all`, `generated`, `not-bos`, `first:N` (until
            N tokens are generated) or `decay:H` (all, halved every H tokens); by default those that the concepts were
            made for.
        gate: add only as much of each concept as a position lacks; not for concepts at the start token.
        max_pressure: limit for the 95th percentile of the pressure, in nats per token. A pilot of 32 samples finds the
            largest multiple of the point that stays within it; `settings["scale"]` records the factor.
        costs: compute what each text costs while it is written, which takes about twice as long. Without it, a text's
            base log-probability and pressure are None; `steer.sampling.replay.replayed` can compute them later.
        batch_size: samples decoded together, halved when memory runs out; by default what suits the device.
        skip: indices to leave out.

    Raises:
        InputError: an argument outside its range, or an expression that cannot be composed.
        ModelError: logits that are not finite in any text, too little memory for a single text, or no prompt for a
            model without a start token.
        VectorError: a vector of another model.
        UnsteeredError: a shift that does not reach the logits; no text is returned then.
    """
    options = SamplingOptions(
        radius=radius, geometry=geometry, seed=seed, prompt=prompt, max_tokens=max_tokens, temperature=temperature,
        top_p=top_p, top_k=top_k, min_p=min_p, positions=positions, gate=gate, max_pressure=max_pressure, costs=costs,
    )  # fmt: skip
    return samples_of(model, make_plan(model, point, options), n=n, batch_size=batch_size, skip=skip)
