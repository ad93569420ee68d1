"""From a contrast set to a concept: find its direction, say how sure we are, and calibrate its unit."""

from collections.abc import Mapping, Sequence
from typing import Literal

from vectors.activations.layer_auc import layers_over_depth
from vectors.activations.pooling import Pool, check_pool
from vectors.activations.text_activations import check_texts
from vectors.common.errors import InputError
from vectors.common.progress import Progress, ProgressOption, count_progress, progress_callback, with_progress_bars
from vectors.common.validation import check_name, quote
from vectors.concepts.vector import ConceptVector
from vectors.data.contrast import ContrastSet
from vectors.decoding.prompt_free_samples import sample_prompt_free
from vectors.extraction.extraction_input import ExtractionInput
from vectors.extraction.layer_selection import Sides, find, select_layer
from vectors.extraction.learned_shift import Learning
from vectors.extraction.methods import METHODS
from vectors.model.positions import check_positions
from vectors.model.residual_model import ResidualModel

OWN = (64, 512)
"""Texts that the model writes where no background is given: as many as positives, but at least and at most so many."""


@with_progress_bars
def extract(
    model: ResidualModel,
    name: str,
    *,
    positive: Sequence[str] | None = None,
    background: Sequence[str] | None = None,
    method: str = "learned",
    layer: int | Sequence[int] | Literal["auto"] = "auto",
    positions: str | None = None,
    pool: Pool = "mean",
    paired: bool = False,
    weights: Mapping[str, float] | None = None,
    words: Sequence[str] | None = None,
    how: Learning | None = None,
    calibrate: bool = True,
    stability: bool | None = None,
    held_out: float = 0.25,
    seed: int = 0,
    progress: ProgressOption = None,
) -> ConceptVector:
    """Find a concept's direction in texts that have it against texts that need not.

    `learned`, `gradient` and `weighted-difference` look at the first 64 tokens of each text, the other methods at as
    many as the model's context holds: where a concept shows later than that, cut the texts to where it does.

    The gap of a method that finds a shift is the length of that shift. The AUC is that of held-out texts, ranked by
    their projection on the direction or, for a shift, by how much likelier it makes them; where `auto` chose among
    layers by it, it is the best of them, and a little high for that.

    Args:
        model: the model to look in.
        name: what expressions will call the concept.
        positive: texts that have the concept; `token` needs none.
        background: texts of the same world that need not have it; without them, the model writes some by itself.
        method: one of `vectors.extraction.methods.METHODS`: `learned` raises the texts' likelihood
            by gradient, `gradient` goes one step of that way, `token` leads to words, the others read activations only.
        layer: 0-based block; several of them, for a vector that steers all of them at once; or `auto`: of a handful of
            layers the one at which samples of the same pressure most often show the concept. Without a pilot it is
            a quarter of the depth for `learned`, else the layer that best tells held-out texts apart and, of several
            that do so equally well, the one at which they lie farthest apart for their spread.
        positions: where the direction is added (see `sample`), and learned, and its unit found. Default: `bos` for
            `learned` where the model has a start token, else `all`. Means are read over a text's own tokens whatever
            this is.
        pool: how a text's activations become one row: `mean` over its own tokens, `last`, `no-max-norm`, or a function
            (see `vectors.activations.pooling`).
        paired: whether a positive text and the background text of the same place are two versions of one text.
        weights: how much a text counts, 1 where nothing is said.
        words: for `token`, the words that it leads to; by default the concept's name.
        how: for `learned`, what it aims at besides likelier texts.
        calibrate: find the unit by a pilot of samples; else dose 1 stands for the natural gap.
        stability: find the direction twice more, in either half of the texts, for how nearly the two agree; by default
            for methods that only read, where it takes little time.
        held_out: share of the texts kept from the direction, for the AUC and for the pilot's judge.
        seed: of the split, the learning and the pilot.
        progress: called as the work goes on, or `True` for bars.

    Raises:
        InputError: unusable texts, an unknown method, a layer the model does not have.
        VectorError: texts that look alike to the model.
    """
    if method not in METHODS:
        raise InputError(f"method is {quote(method)}: choose from {', '.join(METHODS)}")
    chosen, name, has_bos = METHODS[method], check_name(name), model.bos_id is not None
    tell = progress_callback(progress)
    if calibrate and not has_bos:
        raise InputError(
            f"model {model.name!r} has no start token, so that no pilot can sample it without a prompt: pass "
            "calibrate=False (--no-calibrate)"
        )
    added_at = check_positions(positions or (chosen.positions if has_bos else "all"), bos=has_bos)
    layers = layers_for(model, method, layer, choose=calibrate and (positive is not None or not chosen.needs_texts))
    check_pool(pool)
    contrast = _contrast(model, method, positive, background, paired, weights, seed, tell)
    fit, sides = None, None
    if contrast is not None:
        fit, held = contrast.split(held_out=held_out, seed=seed)
        sides = Sides(whole=contrast, held=held, share=held_out, seed=seed)
    material = ExtractionInput(
        model=model, fit=_seen(model, method, fit, seed, tell), layers=tuple(layers), positions=added_at, pool=pool,
        seed=seed, words=tuple(words or (name,)), how=how or Learning(), tell=tell,
    )  # fmt: skip
    return select_layer(
        name,
        find(material, method),
        material,
        sides,
        by_effect=layer == "auto" and calibrate,
        several=not isinstance(layer, int | str) and len(layers) > 1,
        calibrated=calibrate,
        stability=not chosen.shift if stability is None else stability,
    )


def layers_for(model: ResidualModel, method: str, layer: int | Sequence[int] | str, *, choose: bool) -> list[int]:
    """Return every layer that is looked at."""
    depth = METHODS[method].depths
    if layer == "auto":
        if depth and not choose:
            return [int(model.n_layers * depth[0])]
        return sorted({int(model.n_layers * share) for share in depth}) or layers_over_depth(model.n_layers)
    several = [layer] if isinstance(layer, int) else [] if isinstance(layer, str) else list(layer)
    if not several:
        raise InputError(f"layer is {quote(layer)}: give auto, the number of a block, or several of them")
    if len(several) > 1 and METHODS[method].shift:
        raise InputError(f"method {method!r} finds a shift that works at one layer by itself: give one layer")
    return sorted({model.check_layer(at) for at in several})


def _contrast(
    model: ResidualModel, method: str, positive: Sequence[str] | None, background: Sequence[str] | None,
    paired: bool, weights: Mapping[str, float] | None, seed: int, tell: Progress,
) -> ContrastSet | None:  # fmt: skip
    """The texts, those of the model in the place of a background that is not given."""
    if positive is None:
        if METHODS[method].needs_texts:
            raise InputError(f"method {method!r} needs texts that have the concept: give positive")
        if background is not None:
            raise InputError("there are background texts, but no positive ones: give both, or neither")
        return None
    if background is None:
        if paired:
            raise InputError("pairs have two sides: give background texts as well")
        background = _own(model, len(positive), seed, tell)
    contrast = ContrastSet(positive, background, paired=paired, weights=weights or {})
    for side in (contrast.positive, contrast.background):
        check_texts(model, side)
    return contrast


def _own(model: ResidualModel, like: int, seed: int, tell: Progress) -> list[str]:
    n = min(max(like, OWN[0]), OWN[1])
    return sample_prompt_free(model, n, seed=seed, progress=count_progress(tell, "writing texts of the model's own", n))


def _seen(model: ResidualModel, method: str, fit: ContrastSet | None, seed: int, tell: Progress) -> ContrastSet:
    """What the method looks at."""
    if fit is None:
        blank = ["a", "b"]  # which nothing reads: the method looks at no texts
        return ContrastSet(blank[:1], blank[1:])
    if method != "mean-centred":
        return fit
    own = _own(model, len(fit.positive), seed + 1, tell)
    weights = {text: weight for text, weight in fit.weights.items() if text in set(fit.positive)}
    return ContrastSet(fit.positive, own, weights=weights)
