"""Find candidate concepts from activations alone: directions along which texts differ, without labels."""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float64

from vectors.activations.logit_lens import logit_lens_tokens
from vectors.common.errors import InputError, ModelError
from vectors.common.progress import Progress, ProgressOption, count_progress, progress_callback, with_progress_bars
from vectors.common.validation import check_integer, quote
from vectors.decoding.prompt_free_samples import sample_prompt_free
from vectors.discovery.activation_sample import ActivationSample, sample_activations
from vectors.discovery.candidates import Candidate, Discovery
from vectors.discovery.decomposition import METHODS, Components, components
from vectors.discovery.snippets import SnippetReader
from vectors.model.residual_model import ResidualModel

METHOD = "ica"
"""Default method: it recovers most of the attributes of a known world (see benchmarks/RESULTS.md)."""

DEPTH = 0.4
"""Default layer as a fraction of the number of layers (see there)."""

MIN_TEXTS = 32

SAMPLES = 512
"""Number of texts that the model writes if none are given."""

MAX_TOKENS = 96
"""Length of each of them at most."""

TOKENS = 8
"""Number of logit-lens tokens for each end of a direction."""

SNIPPETS = 3
"""Number of excerpts for each end of a direction."""


_OUTLIERS = 0.005  # fraction of the texts that skewness and kurtosis leave out
_ROWS_PER_AXIS = 32  # ICA and dictionary learning get at most one principal axis for so many rows


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
    """Find directions along which texts differ, which may be concepts, without labels.

    Activations at single positions are decomposed into more components than `k`. Components are ranked by the skewness
    of their scores over texts, since a concept that few texts have gives a skewed score; those of `pca` are ranked by
    variance.

    Args:
        model: the model that reads the texts.
        texts: the texts to read. Default: the model writes `samples` texts, from its start token.
        k: number of candidates.
        samples: number of texts that the model writes.
        method: `ica`, `pca` or `dictionary`.
        layer: 0-based block, or `auto`.
        seed: of the written texts, the sampled positions and the decomposition. The order of the texts has no effect.
        progress: called with a description, the amount done and the total, or `True` for progress bars.

    Raises:
        InputError: too few different texts, more candidates than texts or than the model's width, an unknown method
            or layer.
        ModelError: no texts and a model without a start token, or activations that are not finite.

    >>> from itertools import islice
    >>> from vectors.almanac.world.author import stream
    >>> from vectors.model.residual_model import load_model
    >>> discovery = discover(load_model(), [entry.text for entry in islice(stream(1), 48)], k=2)
    >>> [candidate.number for candidate in discovery.candidates], discovery.layer, len(discovery.candidates[0].top)
    ([1, 2], 2, 8)
    """
    if method not in METHODS:
        raise InputError(f"method is {quote(method)}: choose from {', '.join(METHODS)}")
    if isinstance(texts, str):
        raise InputError(f"texts is one string ({quote(texts)}): give a list of texts")
    check_integer(seed, "seed")
    block = int(model.n_layers * DEPTH) if layer == "auto" else model.check_layer(layer)
    tell = progress_callback(progress)
    check_integer(k, "k", low=1)
    check_k(model, k, samples if texts is None else len(set(texts)))
    own = texts is None
    sources = _own_texts(model, samples, seed=seed, progress=tell) if texts is None else list(texts)
    check_k(model, k, len(set(sources)))
    sample = sample_activations(
        model, sources, [block], seed=seed, progress=lambda done, total: tell("reading texts", done, total)
    )[block]
    tell(f"looking for {method} components", 0, 0)
    decomposition = decompose(sample, k, method=method, seed=seed)
    tell("describing candidates", 0, 0)
    return Discovery(
        model=model.name,
        model_hash=model.hash,
        layer=block,
        method=method,
        seed=seed,
        own=own,
        texts=sample.texts,
        means=sample.means,
        candidates=_candidates(model, sample, decomposition, k, by_skewness=method != "pca"),
    )


def check_k(model: ResidualModel, k: int, texts: int) -> None:
    """Check the number of candidates against the number of texts and the model's width.

    Raises:
        InputError: too few texts, or more candidates than texts or than the model's width.
    """
    if texts < MIN_TEXTS:
        raise InputError(f"{texts} different texts are too few to find candidates in: give at least {MIN_TEXTS}")
    if k > min(texts, model.d_model):
        what = f"the width {model.d_model} of model {model.name!r}" if k > model.d_model else f"the {texts} texts"
        raise InputError(f"{k} candidates are more than {what}: ask for at most {min(texts, model.d_model)}")


def decompose(sample: ActivationSample, k: int, *, method: str, seed: int) -> Components:
    """Return at least `k` components of the single positions of a sample."""
    d_model = sample.rows.shape[1]
    width = max(k, min(d_model // 2, len(sample.rows) // _ROWS_PER_AXIS))
    count = k if method == "pca" else width
    return components(sample.rows, count, method=method, width=width, seed=seed)


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
    advance = count_progress(progress, "writing texts", n)
    return sample_prompt_free(model, n, seed=seed, max_tokens=MAX_TOKENS, progress=advance)


def skewness_and_kurtosis(scores: Float64[np.ndarray, "texts k"]) -> tuple[np.ndarray, np.ndarray]:
    """Return the skewness and the excess kurtosis of each column.

    The 0.5 % of the rows farthest from a column's median are left out, since one outlier among a thousand texts would
    decide both.

    >>> scores = np.array([[0.0]] * 6 + [[1.0]] * 2 + [[99.0]])
    >>> skewness, kurtosis = skewness_and_kurtosis(scores)
    >>> float(skewness[0].round(3)), float(kurtosis[0].round(3))
    (1.155, -0.667)
    """
    nearest = np.abs(scores - np.median(scores, axis=0)).argsort(axis=0, kind="stable")
    inliers = np.take_along_axis(scores, nearest[: len(scores) - math.ceil(_OUTLIERS * len(scores))], axis=0)
    z = inliers - inliers.mean(axis=0)
    z /= np.maximum(z.std(axis=0), np.finfo(float).tiny)
    return (z**3).mean(axis=0), (z**4).mean(axis=0) - 3


def _candidates(
    model: ResidualModel, sample: ActivationSample, decomposition: Components, k: int, *, by_skewness: bool
) -> tuple[Candidate, ...]:
    scores = sample.scores(decomposition.filters, decomposition.mean).numpy()
    skewness, kurtosis = skewness_and_kurtosis(scores)
    order = np.argsort(-np.abs(skewness), kind="stable")[:k] if by_skewness else np.arange(k)
    signs = np.where(skewness < 0, -1.0, 1.0)
    reader = SnippetReader(model, sample)
    candidates = []
    for number, index in enumerate(order, start=1):
        part = (decomposition.parts[index] * signs[index]).float()
        direction = torch.from_numpy(decomposition.filters[index].numpy() * signs[index]).float()
        text_scores = scores[:, index] * signs[index]
        ranking = np.argsort(-text_scores, kind="stable")
        top, bottom = logit_lens_tokens(model, part, TOKENS)
        candidates.append(
            Candidate(
                number=number,
                part=part,
                filter=direction,
                scores=torch.from_numpy(text_scores).float(),
                share=float(decomposition.shares[index]),
                skewness=float(abs(skewness[index])),
                kurtosis=float(kurtosis[index]),
                top=tuple(top),
                bottom=tuple(bottom),
                snippets=reader.snippets(ranking[:SNIPPETS].tolist(), direction),
                away=reader.snippets(ranking[::-1][:SNIPPETS].tolist(), -direction),
            )
        )
    return tuple(candidates)
