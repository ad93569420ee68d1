"""Extract a concept vector from contrast texts: find its direction, measure it, and calibrate its unit."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from vectors.activations.layer_auc import layers_over_depth
from vectors.activations.pooling import Pool
from vectors.activations.text_activations import encode_by_text
from vectors.calibration.checkpoint import Checkpoint
from vectors.common.errors import InputError
from vectors.common.option_names import CONTEST_METHODS
from vectors.common.progress import Progress, ProgressOption, count_progress, progress_callback, with_progress_bars
from vectors.common.validation import check_name, quote
from vectors.concepts.vector import ConceptVector
from vectors.data.contrast import ContrastSet
from vectors.decoding.own_texts import own_texts
from vectors.extraction.contest.contest import Show
from vectors.extraction.contest.extract_best import extract_best
from vectors.extraction.extraction_input import ContrastSplit, ExtractionInput, check_options
from vectors.extraction.layer_selection import find_directions, select_layer
from vectors.extraction.methods import METHODS
from vectors.extraction.prompts import write_texts
from vectors.extraction.shifts.learned_shift import Learning
from vectors.model.residual_model import ResidualModel

OWN_TEXTS = (64, 160)
"""Least and most texts that the model samples as a background; in between, as many as there are positives."""


@with_progress_bars
def extract(
    model: ResidualModel,
    name: str,
    *,
    positive: Sequence[str] | None = None,
    background: Sequence[str] | None = None,
    prompts: Sequence[str] | None = None,
    as_examples: bool = False,
    method: str = "auto",
    layer: int | Sequence[int] | Literal["auto"] = "auto",
    positions: str | None = None,
    pool: Pool = "mean",
    paired: bool = False,
    weights: Mapping[str, float] | None = None,
    words: Sequence[str] | None = None,
    how: Learning | None = None,
    calibrate: bool = True,
    budget: str | None = None,
    stability: bool | None = None,
    held_out: float = 0.25,
    seed: int = 0,
    checkpoint: Path | None = None,
    show: Show | None = None,
    progress: ProgressOption = None,
) -> ConceptVector:
    """Extract the vector of a concept from texts with the concept and background texts.

    `learned`, `gradient` and `weighted-difference` read the first 64 tokens of each text; the other methods read up to
    the model's context length. If a concept shows later than that, cut the texts to where it shows.

    The gap of a method that finds a shift is the length of that shift. The AUC is measured on held-out texts, ranked by
    their projection on the direction or, for a shift, by how much more likely it makes them. If `auto` chose the layer
    by AUC, the AUC is the highest of several, and slightly too high.

    Args:
        model: the model to steer.
        name: what expressions call the concept.
        positive: texts with the concept; not needed by `token`.
        background: texts of the same kind, with or without the concept; by default, the model samples some.
        prompts: prompts behind which the model writes texts with the concept, in place of `positive`.
        as_examples: take the positive texts as examples in prompts, and what the model writes behind these as positive.
        method: `auto` holds a contest of methods, layers and positions by samples (see
            `vectors.extraction.contest.contest`); `distilled` of layers only, for shifts under which the model predicts
            as behind a prompt of a few of the texts. Or one of `vectors.extraction.methods.METHODS`: `learned` raises
            the likelihood of the texts by gradient descent, `gradient` takes a single step of it, `token` leads to
            words, the others read activations only.
        layer: 0-based block; or several, for a contest among them or, with another method, for a vector that steers at
            all of them; or `auto`: of a few candidate layers, the one where samples of equal pressure most often show
            the concept. Without a pilot, `auto` is a third of the depth for a contest, a quarter for `learned`; for
            other methods it is the layer with the highest AUC on held-out texts and, if several are equal, with the
            largest standardised difference.
        positions: where the direction is added (see `sample`), learned and calibrated. Default: several at once in a
            contest, `bos` for `learned` and `gradient` if the model has a start token, otherwise `all`. Means are
            always read over all tokens of a text.
        pool: how the activations of a text become one row: `mean`, `last`, `no-max-norm`, or a function (see
            `vectors.activations.pooling`).
        paired: whether the positive and the background text of the same index are two versions of one text.
        weights: the weight of a text; 1 for texts that it does not name.
        words: for `token`, the words that it leads to; by default the name of the concept.
        how: for `learned`, further terms of its loss, and early stopping.
        calibrate: hold the contest and find the unit by samples; otherwise dose 1 is the natural gap.
        budget: for a contest, how long it may take, such as `10m`, or how many tokens, such as `300k`.
        stability: find the direction again in each half of the texts, and measure the cosine of the two; by default for
            methods that only read activations, for which it is fast.
        held_out: share of the texts that is held out for the AUC and for the judge of the pilot.
        seed: of the split, the learning and the pilot.
        checkpoint: for a contest, a folder that keeps its finished parts, so that an interrupted one goes on.
        show: for a contest, called with a heading and some of the texts that are sampled, as the work goes on.
        progress: called as the work goes on, or `True` for progress bars.

    Raises:
        InputError: unusable texts, an unknown method, or a layer that the model does not have.
        VectorError: texts of both sides that look alike to the model.
    """
    if method not in (*METHODS, *CONTEST_METHODS):
        raise InputError(f"method is {quote(method)}: choose from {', '.join((*CONTEST_METHODS, *METHODS))}")
    positive, background = (None if texts is None else _listed(texts) for texts in (positive, background))
    name, report, written = check_name(name), progress_callback(progress), None
    if method == "auto" and not calibrate and model.bos_id is None:
        method = "mean-difference"  # a shift is learned from the start token on, and nothing can be sampled
    if method in CONTEST_METHODS:
        for option, value in (("words", words), ("how", how), ("stability", stability)):
            if value is not None:
                raise InputError(f"method {method!r} is a contest and takes no {option}: name a method, or drop it")
        check_options(model, calibrate=calibrate, positions=positions, pool=pool)
        if prompts is not None or as_examples:
            if prompts is not None and (positive is not None or as_examples):
                raise InputError("prompts stand in place of positive texts: give one of them")
            if paired or weights:
                raise InputError("the model writes the texts itself: leave pairs and weights out")
            given = _listed(positive if prompts is None else prompts)  # type: ignore[arg-type]
            if isinstance(given, str) or not given:
                raise InputError(f"{'prompts' if prompts is not None else 'positive'} is {quote(given)}: give a list")
            parts = Checkpoint(
                checkpoint and checkpoint / "prompts",
                {"given": list(given), "examples": as_examples, "seed": seed, "model": model.hash},
            )
            written = write_texts(model, given, examples=as_examples, seed=seed, checkpoint=parts, progress=report)
            positive = written.texts
            if show is not None:
                show("the model writes", positive[:2])
        texts = _contrast(model, "learned", positive, background, paired, weights, seed, report)
        assert texts is not None  # the method needs texts
        blocks = None if layer == "auto" else layers_for(model, "mean-difference", layer, choose=False)
        return extract_best(
            model, name, texts, method=method, layers=blocks, positions=positions, pool=pool, calibrated=calibrate,
            budget=budget, held_out=held_out, seed=seed, folder=checkpoint and checkpoint / "contest", progress=report,
            written=written, show=show,
        )  # fmt: skip
    if prompts is not None or as_examples:
        raise InputError(f"method {method!r} takes texts: give positive, or leave the method out for prompts")
    if budget is not None:
        raise InputError(f"a budget is for a contest of methods, and method {method!r} is one: leave one of them out")
    spec = METHODS[method]
    positions = check_options(
        model, calibrate=calibrate, positions=positions, default_positions=spec.positions, pool=pool
    )
    layers = layers_for(model, method, layer, choose=calibrate and (positive is not None or not spec.needs_texts))
    contrast = _contrast(model, method, positive, background, paired, weights, seed, report)
    if contrast is None:
        fit, split = ContrastSet(["a"], ["b"]), None  # stands for no texts
        tokens = encode_by_text(model, [*fit.positive, *fit.background])
    else:
        tokens = encode_by_text(model, [*contrast.positive, *contrast.background])
        fit, held = contrast.split(held_out=held_out, seed=seed)
        split = ContrastSplit(whole=contrast, held_out=held, share=held_out, seed=seed)
        if method == "mean-centred":
            fit = _with_own_background(model, fit, seed, report)
            tokens |= encode_by_text(model, fit.background)
    data = ExtractionInput(
        model=model, fit=fit, tokens=tokens, layers=tuple(layers), positions=positions, pool=pool, seed=seed,
        words=tuple(words or (name,)), objective=how or Learning(), progress=report,
    )  # fmt: skip
    return select_layer(
        name,
        find_directions(data, method),
        data,
        split,
        by_effect=layer == "auto" and calibrate,
        several=not isinstance(layer, int | str) and len(layers) > 1,
        calibrated=calibrate,
        stability=not spec.shift if stability is None else stability,
    )


def _listed(texts: Sequence[str]) -> Sequence[str]:
    """Return texts that may be read several times; a single text, a common mistake, stays for a message of its own."""
    return texts if isinstance(texts, str) or not isinstance(texts, Iterable) else list(texts)


def layers_for(model: ResidualModel, method: str, layer: int | Sequence[int] | str, *, choose: bool) -> list[int]:
    """Return the candidate layers; with `choose`, a pilot can choose among several.

    Raises:
        InputError: a layer that the model does not have, or several for a method that finds a shift.
    """
    depths = METHODS[method].depths
    if layer == "auto":
        if depths and not choose:
            return [int(model.n_layers * depths[0])]
        return sorted({int(model.n_layers * share) for share in depths}) or layers_over_depth(model.n_layers)
    layers: list[int] = list(layer) if isinstance(layer, Iterable) else [layer]  # type: ignore[arg-type]
    if not layers or isinstance(layer, str):
        raise InputError(f"layer is {quote(layer)}: give auto, the number of a block, or several of them")
    if len(layers) > 1 and METHODS[method].shift:
        raise InputError(f"method {method!r} finds a shift that works at one layer by itself: give one layer")
    return sorted({model.check_layer(block) for block in layers})


def _contrast(
    model: ResidualModel, method: str, positive: Sequence[str] | None, background: Sequence[str] | None,
    paired: bool, weights: Mapping[str, float] | None, seed: int, report: Progress,
) -> ContrastSet | None:  # fmt: skip
    """The contrast set; the model samples the background if none is given."""
    if positive is None:
        if METHODS[method].needs_texts:
            raise InputError(f"method {method!r} needs texts that have the concept: give positive")
        if background is not None:
            raise InputError("there are background texts, but no positive ones: give both, or neither")
        return None
    if background is None:
        if paired:
            raise InputError("pairs have two sides: give background texts as well")
        background = _sample_background(model, len(positive), seed, report)
    return ContrastSet(positive, background, paired=paired, weights=weights or {})


def n_own_texts(n_positive: int) -> int:
    """Return how many texts the model samples as a background for so many positive ones."""
    return min(max(n_positive, OWN_TEXTS[0]), OWN_TEXTS[1])


def _sample_background(model: ResidualModel, n_positive: int, seed: int, report: Progress) -> list[str]:
    n = n_own_texts(n_positive)
    return own_texts(model, n, seed=seed, progress=count_progress(report, "writing texts of the model's own", n))


def _with_own_background(model: ResidualModel, fit: ContrastSet, seed: int, report: Progress) -> ContrastSet:
    """The positives against texts that the model samples."""
    samples = _sample_background(model, len(fit.positive), seed + 1, report)
    weights = {text: weight for text, weight in fit.weights.items() if text in set(fit.positive)}
    return ContrastSet(fit.positive, samples, weights=weights)
