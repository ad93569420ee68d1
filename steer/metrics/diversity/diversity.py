"""Diversity: how different the texts of a set are, in words, in the model's eyes, and in what they tell."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float64

from steer.judges.reference import Reference
from steer.judges.success import Judges, accepted
from steer.metrics.diversity.ngrams import beginning, compression_ratio, distinct, words
from steer.metrics.diversity.self_bleu import Overlap
from steer.metrics.diversity.vendi import DRAWS, bags, cosines, vendi_of
from steer.runs.sample_set import SampleSet, texts_of
from steer.statistics.estimate import Estimate
from steer.statistics.statistic import RULE_OF_THREE, Statistic
from vectors.activations.text_activations import text_means
from vectors.common.errors import InputError
from vectors.common.validation import check_integer, quote
from vectors.model.residual_model import ResidualModel

FEWEST = 8
"""Texts that diversity is measured on, at least."""

MOST = 1000
"""Texts that are compared with one another, at most: the first of them."""

Embedder = Callable[[Sequence[str]], Float64[np.ndarray, "n features"]]
"""From texts to a row each, whose cosines say how alike they are."""

_BLEU_TEXTS = 256
_MANY, _FEW_GROUPS = 256, 16  # above so many texts, eigenvalues are slow
_SHORT = 0.25  # of the texts are shorter than the length that all are cut to
_DEPTH = 0.5  # of the model, at which its activations are compared


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
    """Return how different the texts are: all of them or, with a judge, those that it accepts.

    Every text is cut to the same number of words, since longer texts repeat themselves more, and at most the first
    thousand are compared. Vendi scores count the different texts in effect, of order 1 and, giving rare ones less
    weight, 2; they grow with the number of texts, so that only sets of one size can be compared.

    Args:
        samples: a run, or texts.
        judges: tell which texts are successful; only those are compared.
        embedders: ways besides words to compare texts, by name; see `activations` and `sentence_transformer`.
        reference: with it, the different tuples of attributes are counted, too.
        real: real texts; as many of them, cut alike, are what a perfect sampler would show.
        length: words that texts are cut to; by default a quarter of the texts are shorter.
        seed: of the intervals, and of the choice among the real texts.

    Raises:
        InputError: fewer than eight texts, or fewer real ones than texts.
    """
    texts = texts_of(samples)
    if judges is not None:
        hits = accepted(texts, judges)
        kept = [text for text, hit in zip(texts, hits, strict=True) if hit]
        if len(kept) < FEWEST:
            raise InputError(f"{len(kept)} of {len(texts)} texts are successful: diversity needs {FEWEST} or more")
        texts = kept
    found = diversities_of(texts, embedders=embedders, reference=reference, real=real, length=length, seed=seed)
    return tuple(each.estimate(seed=seed) for each in found)


def diversities_of(
    texts: Sequence[str],
    *,
    embedders: dict[str, Embedder] | None = None,
    reference: Reference | None = None,
    real: Sequence[str] | None = None,
    length: int | None = None,
    seed: int = 0,
) -> list[Statistic]:
    """Return the figures of `diversity` as statistics of these texts."""
    texts = texts[:MOST]
    if len(texts) < FEWEST:
        raise InputError(f"there are {len(texts)} texts: diversity needs {FEWEST} or more")
    cut = check_integer(length, "length", low=1) if length is not None else common_length(texts)
    measures = partial(_measures, length=cut, embedders=embedders or {}, reference=reference)
    perfect: dict[str, float] = {}
    if real is not None:
        if len(real) < len(texts):
            raise InputError(f"there are {len(real)} real texts for {len(texts)} sampled ones: give as many or more")
        shown_by = measures(real[:MOST], {})
        perfect = {each.name: _usual(each, min(len(texts), each.n), seed) for each in shown_by}
    return measures(texts, perfect)


def _usual(real: Statistic, n: int, seed: int) -> float:
    """What `n` of the real texts show, on the average over a few draws of them."""
    random = np.random.default_rng(seed)
    return float(np.mean([real.compute(np.sort(random.choice(real.n, n, replace=False))) for _ in range(DRAWS)]))


def common_length(texts: Sequence[str]) -> int:
    """Return the number of words that texts are cut to: a quarter of them are shorter."""
    return max(2, int(np.quantile([len(words(text)) for text in texts], _SHORT)))


def _measures(
    texts: Sequence[str],
    perfect: dict[str, float],
    *,
    length: int,
    embedders: dict[str, Embedder],
    reference: Reference | None,
) -> list[Statistic]:
    cut = [words(text)[:length] for text in texts]
    joined, starts = [" ".join(text) for text in cut], [beginning(text, length) for text in texts]
    n, longest = len(texts), max(cut, key=len)
    groups = _FEW_GROUPS if n > _MANY else Statistic.groups
    rare = RULE_OF_THREE / n
    made: list[Statistic] = []

    def add(name: str, of: Callable[[np.ndarray], float], empty: float, **more: Any) -> None:
        given = {"n": n, "groups": groups, "empty": empty, "perfect": perfect.get(name)} | more
        made.append(Statistic(name=name, compute=of, **given))

    kernels = {"words": cosines(bags(cut)), **{name: cosines(embed(starts)) for name, embed in embedders.items()}}
    for name, kernel in kernels.items():
        for order in (1, 2):
            unseen = (1.0, _other_kinds(rare, order))
            add(f"Vendi {order}, {name}", partial(_vendi, kernel, order), 1.0, least=1.0, most=n, unseen=unseen)
    for size in (1, 2, 3):
        if sum(len(each) >= size for each in cut) > n / 2:
            one = distinct([longest], size) / n
            unseen = (one, min(1.0, one * (1 + RULE_OF_THREE)))
            add(f"distinct-{size}", partial(_distinct, cut, size), one, most=1.0, unseen=unseen)
    overlap = Overlap(joined[:_BLEU_TEXTS]).self_bleu
    add("self-BLEU", overlap, 1.0, n=min(n, _BLEU_TEXTS), most=1.0, unseen=(1.0, 1 - rare))
    if any(joined):
        add("compression ratio", partial(_packed, joined), compression_ratio([" ".join(longest)] * n))
    if reference:
        told = [tuple(sorted((name, str(value)) for name, value in reference.read(text).items())) for text in texts]
        add("distinct attributes", partial(_distinct_tuples, told), 1 / n, most=1.0, unseen=(1.0, 1 - rare))
    return made


def _vendi(kernel: np.ndarray, order: int, kept: np.ndarray) -> float:
    return vendi_of(kernel[np.ix_(kept, kept)], order=order)


def _other_kinds(rare: float, order: int) -> float:
    """The Vendi score of copies of one text and three others, which together are as rare as this."""
    shares = np.array([1 - rare, *[rare / 3] * 3])
    return vendi_of(np.diag(shares) * 4, order=order)


def _distinct(cut: Sequence[Sequence[str]], size: int, kept: np.ndarray) -> float:
    return distinct([cut[i] for i in kept], size)


def _packed(joined: Sequence[str], kept: np.ndarray) -> float:
    return compression_ratio([joined[i] for i in kept])


def _distinct_tuples(told: Sequence[object], kept: np.ndarray) -> float:
    return len({told[i] for i in kept}) / len(kept)


def activations(model: ResidualModel, *, layer: int | None = None) -> Embedder:
    """Return an embedder by the model's own mean activation after a block, by default half-way up.

    It remembers the texts that it has seen: a run and its successful part are read once. A blank text is all zeros.
    """
    chosen = int(model.n_layers * _DEPTH) if layer is None else model.check_layer(layer)
    known: dict[str, np.ndarray] = {}

    def embed(texts: Sequence[str]) -> np.ndarray:
        known.update((text, np.zeros(model.d_model)) for text in texts if not text.strip())
        new = [text for text in dict.fromkeys(texts) if text not in known]
        for places, means in text_means(model, new, [chosen]) if new else ():
            rows = means[chosen].cpu().double().numpy()
            known.update(zip([new[place] for place in places], rows, strict=True))
        return np.stack([known[text] for text in texts])

    return embed


def sentence_transformer(name: str) -> Embedder:
    """Return an embedder by a model of the sentence-transformers library: a hub name, or a folder.

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
