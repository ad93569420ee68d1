"""Diversity: how different the texts of a set are, by their words, by the model's activations, and by attributes."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float64

from steer.judges.reference import Reference
from steer.judges.success import Judges, accepted
from steer.metrics.diversity.ngrams import compression_ratio, distinct, first_words, words
from steer.metrics.diversity.self_bleu import NgramOverlap
from steer.metrics.diversity.vendi import DRAWS, cosines, vendi_of_kernel, word_cosines
from steer.runs.sample_set import SampleSet, texts_of
from steer.statistics.estimate import Estimate
from steer.statistics.intervals import Compute
from steer.statistics.statistic import RULE_OF_THREE, Statistic
from vectors.activations.text_activations import encode_texts, text_means
from vectors.common.errors import InputError
from vectors.common.validation import check_integer, quote
from vectors.model.residual_model import ResidualModel

MIN_TEXTS = 8
"""Minimum number of texts that diversity is measured on."""

MAX_TEXTS = 1000
"""Maximum number of texts that are compared with one another; further ones are left out."""

Embedder = Callable[[Sequence[str]], Float64[np.ndarray, "n features"]]
"""From texts to one row each; the cosines between rows say how alike the texts are."""

_BLEU_TEXTS = 256
_MANY, _FEW_GROUPS = 256, 16  # eigenvalues of larger kernels are slow, so the jackknife has fewer groups
_SHORTER = 0.25  # quantile of the texts' lengths that all texts are cut to
_DEPTH = 0.5  # depth in the model, as a share of its layers, of the activations that are compared


def diversity(
    samples: SampleSet | Sequence[str],
    *,
    judges: Judges | None = None,
    embedders: dict[str, Embedder] | None = None,
    reference: Reference | None = None,
    real: Sequence[str] | None = None,
    length: int | None = None,
    seed: int = 0,
) -> tuple[Estimate, ...]:
    """Return how different the texts are; with judges, how different the successful texts are.

    All texts are cut to the same number of words, because longer texts repeat themselves more. At most the first
    thousand texts are compared. Vendi scores are the effective number of different texts, of order 1 and of order 2,
    which gives rare texts less weight. They grow with the number of texts: compare only sets of the same size.

    Args:
        samples: a run, or texts.
        judges: if given, only texts that they accept are compared.
        embedders: ways to compare texts besides words, by name; see `activations` and `sentence_transformer`.
        reference: if given, different combinations of its attributes are counted, too.
        real: real texts; as many of them, cut to the same length, give the expected values of a perfect sampler.
        length: number of words that texts are cut to; by default a quarter of the texts are shorter.
        seed: of the intervals, and of the subsets of real texts.

    Raises:
        InputError: fewer than eight texts, or fewer real texts than texts.
    """
    texts = texts_of(samples)
    if judges is not None:
        hits = accepted(texts, judges)
        successes = [text for text, hit in zip(texts, hits, strict=True) if hit]
        if len(successes) < MIN_TEXTS:
            raise InputError(
                f"{len(successes)} of {len(texts)} texts are successful: diversity needs {MIN_TEXTS} or more"
            )
        texts = successes
    statistics = diversity_statistics(
        texts, embedders=embedders, reference=reference, real=real, length=length, seed=seed
    )
    return tuple(statistic.estimate(seed=seed) for statistic in statistics)


def diversity_statistics(
    texts: Sequence[str],
    *,
    embedders: dict[str, Embedder] | None = None,
    reference: Reference | None = None,
    real: Sequence[str] | None = None,
    length: int | None = None,
    seed: int = 0,
) -> list[Statistic]:
    """Return the values of `diversity` as statistics of these texts."""
    texts = texts[:MAX_TEXTS]
    if len(texts) < MIN_TEXTS:
        raise InputError(f"there are {len(texts)} texts: diversity needs {MIN_TEXTS} or more")
    cut = check_integer(length, "length", low=1) if length is not None else common_length(texts)
    statistics_of = partial(_statistics, length=cut, embedders=embedders or {}, reference=reference)
    perfect: dict[str, float] = {}
    if real is not None:
        if len(real) < len(texts):
            raise InputError(f"there are {len(real)} real texts for {len(texts)} sampled ones: give as many or more")
        real = real[:MAX_TEXTS]
        drawn = np.unique(np.concatenate(_draws(len(real), len(texts), seed)))
        real_statistics = statistics_of(real, {}, embedded=drawn)
        perfect = {each.name: _mean_of_draws(each, len(texts), seed) for each in real_statistics}
    return statistics_of(texts, perfect)


def _draws(n_real: int, n: int, seed: int) -> list[np.ndarray]:
    """Return a few random subsets of `n` of the indices of `n_real` texts, each in ascending order."""
    random = np.random.default_rng(seed)
    return [np.sort(random.choice(n_real, min(n, n_real), replace=False)) for _ in range(DRAWS)]


def _mean_of_draws(real: Statistic, n: int, seed: int) -> float:
    """Return the mean of a statistic over a few random subsets of `n` real texts."""
    return float(np.mean([real.compute(subset) for subset in _draws(real.n, n, seed)]))


def common_length(texts: Sequence[str]) -> int:
    """Return the number of words to cut texts to: a quarter of the texts are shorter, and it is 2 at least."""
    return max(2, int(np.quantile([len(words(text)) for text in texts], _SHORTER)))


def _statistics(
    texts: Sequence[str],
    perfect: dict[str, float],
    *,
    length: int,
    embedders: dict[str, Embedder],
    reference: Reference | None,
    embedded: np.ndarray | None = None,
) -> list[Statistic]:
    """Return the statistics; with `embedded`, those of embeddings can only be computed for subsets of its indices."""
    cut = [words(text)[:length] for text in texts]
    joined, beginnings = [" ".join(text) for text in cut], [first_words(text, length) for text in texts]
    n, longest = len(texts), max(cut, key=len)
    groups = _FEW_GROUPS if n > _MANY else Statistic.groups
    rare = RULE_OF_THREE / n
    statistics: list[Statistic] = []

    def add(name: str, compute: Compute, empty: float, **options: Any) -> None:
        defaults = {"n": n, "groups": groups, "empty": empty, "perfect": perfect.get(name)}
        statistics.append(Statistic(name=name, compute=compute, **defaults | options))

    indices = np.arange(n) if embedded is None else embedded
    kernels = {"words": word_cosines(cut)}
    for name, embed in embedders.items():
        kernels[name] = np.full((n, n), np.nan)
        kernels[name][np.ix_(indices, indices)] = cosines(embed([beginnings[index] for index in indices]))
    for name, kernel in kernels.items():
        for order in (1, 2):
            bound = (1.0, _vendi_with_rare_texts(rare, order))
            add(
                f"Vendi {order}, {name}",
                partial(_vendi, kernel, order),
                1.0,
                minimum=1.0,
                maximum=n,
                rule_of_three=bound,
            )
    for size in (1, 2, 3):
        if sum(len(text) >= size for text in cut) > n / 2:
            copies = distinct([longest], size) / n
            bound = (copies, min(1.0, copies * (1 + RULE_OF_THREE)))
            add(f"distinct-{size}", partial(_distinct, cut, size), copies, maximum=1.0, rule_of_three=bound)
    overlap = NgramOverlap(joined[:_BLEU_TEXTS]).self_bleu
    add("self-BLEU", overlap, 1.0, n=min(n, _BLEU_TEXTS), maximum=1.0, rule_of_three=(1.0, 1 - rare))
    if any(joined):
        add("compression ratio", partial(_compression_ratio, joined), compression_ratio([" ".join(longest)] * n))
    if reference:
        readings = [tuple(sorted((key, str(value)) for key, value in reference.read(text).items())) for text in texts]
        add(
            "distinct attributes",
            partial(_distinct_readings, readings),
            1 / n,
            maximum=1.0,
            rule_of_three=(1.0, 1 - rare),
        )
    return statistics


def _vendi(kernel: np.ndarray, order: int, subset: np.ndarray) -> float:
    return vendi_of_kernel(kernel[np.ix_(subset, subset)], order=order)


def _vendi_with_rare_texts(rare: float, order: int) -> float:
    """Return the Vendi score of copies of one text and three other texts with a total share of `rare`."""
    shares = np.array([1 - rare, *[rare / 3] * 3])
    return vendi_of_kernel(np.diag(shares) * 4, order=order)


def _distinct(cut: Sequence[Sequence[str]], size: int, subset: np.ndarray) -> float:
    return distinct([cut[index] for index in subset], size)


def _compression_ratio(joined: Sequence[str], subset: np.ndarray) -> float:
    return compression_ratio([joined[index] for index in subset])


def _distinct_readings(readings: Sequence[object], subset: np.ndarray) -> float:
    return len({readings[index] for index in subset}) / len(subset)


def activations(model: ResidualModel, *, layer: int | None = None) -> Embedder:
    """Return an embedder by the mean activation of a text after a layer, by default the middle one.

    It caches the embeddings, so that the successful texts of a run are not read again. A blank text is all zeros.
    """
    chosen = int(model.n_layers * _DEPTH) if layer is None else model.check_layer(layer)
    cache: dict[str, np.ndarray] = {}

    def embed(texts: Sequence[str]) -> np.ndarray:
        cache.update((text, np.zeros(model.d_model)) for text in texts if not text.strip())
        new = [text for text in dict.fromkeys(texts) if text not in cache]
        for indices, means in text_means(model, encode_texts(model, new), [chosen]) if new else ():
            rows = means[chosen].cpu().double().numpy()
            cache.update(zip([new[index] for index in indices], rows, strict=True))
        return np.stack([cache[text] for text in texts])

    return embed


def sentence_transformer(name: str) -> Embedder:
    """Return an embedder by a model of the sentence-transformers library, given its hub name or folder.

    Raises:
        InputError: the library is not installed, or has no such model.
    """
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise InputError(f"{quote(name)} needs another library: pip install sentence-transformers") from error
    try:
        model = SentenceTransformer(name)
    except (OSError, ValueError) as error:
        raise InputError(
            f"sentence-transformers cannot load {quote(name)} ({quote(str(error))}): give a hub name or a folder"
        ) from error
    return lambda texts: np.asarray(model.encode(list(texts)), dtype=float)
