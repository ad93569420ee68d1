"""Candidate concepts from activations alone: directions that texts differ along, each with what is known of it."""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float64

from vectors.activations.logit_lens import logit_lens_tokens
from vectors.activations.text_activations import check_texts
from vectors.common.errors import InputError, ModelError
from vectors.common.progress import Progress, ProgressOption, count_progress, progress_callback, with_progress_bars
from vectors.common.validation import check_integer, quote
from vectors.decoding.prompt_free_samples import sample_prompt_free
from vectors.discovery.activation_sample import ActivationSample, gather
from vectors.discovery.candidates import Candidate, Discovery
from vectors.discovery.decomposition import METHODS, Components, components
from vectors.discovery.snippets import Snippets
from vectors.model.residual_model import ResidualModel

METHOD = "ica"
"""The method that finds most of a known world (see benchmarks/RESULTS.md)."""

DEPTH = 0.4
"""Layer that is looked at, as a share of the depth (see there)."""

FEWEST = 32
"""Texts, at least: fewer say nothing about what texts differ in."""

SAMPLES = 512
"""Texts that the model writes where none are given."""

MAX_TOKENS = 96
"""Of each of them."""

TOKENS = 8
"""Of the logit lens, on either side."""

SNIPPETS = 3
"""Texts that stand for each end of a direction."""


_STRAYS = 0.005  # of the texts
_ROWS_AN_AXIS = 32  # an axis is only turned where there are so many rows for it


@with_progress_bars
def discover(
    model: ResidualModel,
    texts: Sequence[str] | None = None,
    *,
    k: int = 16,
    samples: int = SAMPLES,
    method: str = METHOD,
    layer: int | Literal["auto"] = "auto",
    seed: int = 0,
    progress: ProgressOption = None,
) -> Discovery:
    """Find directions that texts differ along, which may be concepts, without being told what to look for.

    Activations at single positions are taken apart into components, more of them than are asked for; of those, the
    ones come first whose mean over a text is the most skewed among texts: few have much of it. Of `pca` the axes of
    largest variance come first.

    Args:
        model: the model to look in.
        texts: what is read; left out, the model writes `samples` texts of its own, from its start token.
        k: candidates.
        samples: texts that the model writes.
        method: `ica`, `pca` or `dictionary`.
        layer: 0-based block, or `auto`.
        seed: of the texts, of what is kept of them, and of the search. The order of the texts means nothing.
        progress: called as the work goes on, or `True` for bars.

    Raises:
        InputError: too few different texts, more candidates than texts or than the stream is wide, an unknown method
            or layer.
        ModelError: no texts and a model without a start token, or activations that are not finite.

    >>> from itertools import islice
    >>> from vectors.almanac.world.author import stream
    >>> from vectors.model.residual_model import load_model
    >>> found = discover(load_model(), [made.text for made in islice(stream(1), 48)], k=2)
    >>> [each.number for each in found.candidates], found.layer, len(found.candidates[0].top)
    ([1, 2], 2, 8)
    """
    if method not in METHODS:
        raise InputError(f"method is {quote(method)}: choose from {', '.join(METHODS)}")
    if isinstance(texts, str):
        raise InputError(f"texts is one string ({quote(texts)}): give a list of texts")
    check_integer(seed, "seed")
    at = int(model.n_layers * DEPTH) if layer == "auto" else model.check_layer(layer)
    tell = progress_callback(progress)
    check_integer(k, "k", low=1)
    check_k(model, k, samples if texts is None else len(set(texts)))
    own = texts is None
    read = _own_texts(model, samples, seed=seed, progress=tell) if texts is None else list(texts)
    check_k(model, k, len(set(read)))
    check_texts(model, read)
    found = gather(model, read, [at], seed=seed, progress=lambda done, total: tell("reading texts", done, total))[at]
    tell(f"looking for {method} components", 0, 0)
    parts = decompose(found, k, method=method, seed=seed)
    tell("describing candidates", 0, 0)
    return Discovery(
        model=model.name,
        model_hash=model.hash,
        layer=at,
        method=method,
        seed=seed,
        own=own,
        texts=found.texts,
        means=found.means,
        candidates=_candidates(model, found, parts, k, ranked=method != "pca"),
    )


def check_k(model: ResidualModel, k: int, texts: int) -> None:
    """Refuse to look for more candidates than there can be.

    Raises:
        InputError: too few texts, or more candidates than texts or than the stream is wide.
    """
    if texts < FEWEST:
        raise InputError(f"{texts} different texts say too little about what texts differ in: give at least {FEWEST}")
    if k > min(texts, model.d_model):
        what = f"the width {model.d_model} of model {model.name!r}" if k > model.d_model else f"the {texts} texts"
        raise InputError(f"{k} candidates are more than {what}: ask for at most {min(texts, model.d_model)}")


def decompose(found: ActivationSample, k: int, *, method: str, seed: int) -> Components:
    """Return the components of what was read, at least `k` of them."""
    d_model = found.rows.shape[1]
    width = max(k, min(d_model // 2, len(found.rows) // _ROWS_AN_AXIS))
    count = k if method == "pca" else width
    return components(found.rows, count, method=method, width=width, seed=seed)


def _own_texts(model: ResidualModel, n: int, *, seed: int, progress: Progress) -> list[str]:
    """Sample texts from the model's start token.

    Raises:
        ModelError: a model without a start token.
    """
    if model.bos_id is None:
        raise ModelError(
            f"model {model.name!r} has no start token to write texts of its own from: give texts (--texts FILE)"
        )
    n = check_integer(n, "samples", low=1)
    more = count_progress(progress, "writing texts", n)
    return sample_prompt_free(model, n, seed=seed, max_tokens=MAX_TOKENS, progress=more)


def shape_of(scores: Float64[np.ndarray, "texts k"]) -> tuple[np.ndarray, np.ndarray]:
    """Return the skewness and the excess kurtosis of each column, without the few rows farthest from its median.

    With them, a single stray text among a thousand would be the most telling thing about all.

    >>> scores = np.array([[0.0]] * 6 + [[1.0]] * 2 + [[99.0]])
    >>> [float(each[0].round(3)) for each in shape_of(scores)]
    [1.155, -0.667]
    """
    far = np.abs(scores - np.median(scores, axis=0)).argsort(axis=0, kind="stable")
    kept = np.take_along_axis(scores, far[: len(scores) - math.ceil(_STRAYS * len(scores))], axis=0)
    away = kept - kept.mean(axis=0)
    away /= np.maximum(away.std(axis=0), np.finfo(float).tiny)
    return (away**3).mean(axis=0), (away**4).mean(axis=0) - 3


def _candidates(
    model: ResidualModel, found: ActivationSample, parts: Components, k: int, *, ranked: bool
) -> tuple[Candidate, ...]:
    scores = found.scores(parts.filters, parts.mean).numpy()
    skewness, kurtosis = shape_of(scores)
    order = np.argsort(-np.abs(skewness), kind="stable")[:k] if ranked else np.arange(k)
    signs = np.where(skewness < 0, -1.0, 1.0)[order]
    filters, mine = parts.filters[order].numpy() * signs[:, None], scores[:, order] * signs
    snippets = Snippets(model, found)
    result = []
    for row, place in enumerate(order):
        part = (parts.parts[place] * signs[row]).float()
        reader = torch.from_numpy(filters[row]).float()
        top, bottom = logit_lens_tokens(model, part, TOKENS)
        ranking = np.argsort(-mine[:, row], kind="stable")
        result.append(
            Candidate(
                number=row + 1,
                part=part,
                filter=reader,
                scores=torch.from_numpy(mine[:, row]).float(),
                share=float(parts.shares[place]),
                skewness=float(abs(skewness[place])),
                kurtosis=float(kurtosis[place]),
                top=tuple(top),
                bottom=tuple(bottom),
                snippets=snippets.of(ranking[:SNIPPETS].tolist(), reader),
                away=snippets.of(ranking[::-1][:SNIPPETS].tolist(), -reader),
            )
        )
    return tuple(result)
