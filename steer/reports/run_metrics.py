"""Every statistic of a run, by the section that it is shown in."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from steer.judges.evaluation_set import EvaluationSet
from steer.judges.success import accepted, success_statistic
from steer.metrics.branching import branching_statistic
from steer.metrics.diversity.diversity import MAX_TEXTS, MIN_TEXTS, Embedder, common_length, diversity_statistics
from steer.metrics.diversity.ngrams import words
from steer.metrics.diversity.vendi import word_cosines
from steer.metrics.frontier import frontier_statistics
from steer.metrics.pressure import pressure_statistics
from steer.metrics.typicality import RealCosts, is_typical, typicality_statistics
from steer.runs.sample_set import Sample
from steer.statistics.statistic import Statistic
from vectors.decoding.token_costs import Cost

SECTIONS = ("success", "frontier", "diversity", "diversity of successes", "typicality", "pressure")


@dataclass(frozen=True)
class RunStatistic:
    """A statistic, and which texts of the run its own places are."""

    statistic: Statistic
    places: np.ndarray


def run_statistics(
    samples: Sequence[Sample],
    evaluation_set: EvaluationSet,
    *,
    replayed: Sequence[Cost] | None = None,
    real_costs: RealCosts | None = None,
    embedders: dict[str, Embedder] | None = None,
    seed: int = 0,
) -> dict[str, list[RunStatistic]]:
    """Return the statistics of a run that what is known of it allows, by section.

    Args:
        samples: of a run, or of two that are to be compared.
        evaluation_set: what they are measured against.
        replayed: what they cost token by token.
        real_costs: what real texts cost.
        embedders: ways besides words to compare texts.
        seed: of the choice among real texts.
    """
    texts = [sample.text for sample in samples]
    every = np.arange(len(texts))
    found: dict[str, list[RunStatistic]] = {}

    def put(section: str, statistics: Sequence[Statistic], places: np.ndarray) -> None:
        found[section] = [RunStatistic(each, places[: each.n]) for each in statistics]

    hits = accepted(texts, evaluation_set.judges) if evaluation_set.judges else None
    length = common_length(texts)
    real = evaluation_set.real or None

    def varied(places: np.ndarray) -> list[Statistic]:
        chosen = [texts[place] for place in places[:MAX_TEXTS]]
        enough = real if real is not None and len(real) >= len(chosen) else None
        return diversity_statistics(
            chosen, embedders=embedders, reference=evaluation_set.reference, real=enough, length=length, seed=seed
        )

    if hits is not None:
        put("success", [success_statistic(hits, evaluation_set.judges)], every)
    if (
        hits is not None
        and real_costs is not None
        and real is not None
        and 2 <= len(texts) <= min(MAX_TEXTS, len(real))
    ):
        kernels = [word_cosines([words(text)[:length] for text in some]) for some in (texts, real[:MAX_TEXTS])]
        put("frontier", frontier_statistics(hits, is_typical(samples, real_costs), kernels[0], real=kernels[1]), every)
    if len(texts) >= MIN_TEXTS:
        put("diversity", varied(every), every)
    if hits is not None and hits.sum() >= MIN_TEXTS:
        put("diversity of successes", varied(every[hits]), every[hits])
    if real_costs is not None:
        put("typicality", typicality_statistics(samples, real_costs), every)
    if replayed is not None or all(sample.pressure is not None for sample in samples):
        put("pressure", pressure_statistics(samples, replayed), every)
    if replayed is not None:
        found["pressure"].append(RunStatistic(branching_statistic(samples, replayed), every))
    return {section: found[section] for section in SECTIONS if section in found}
