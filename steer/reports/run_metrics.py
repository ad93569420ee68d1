"""Every statistic of a run, by the section that it is shown in."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from steer.judges.evaluation_set import EvaluationSet
from steer.judges.success import accepted, success_of
from steer.metrics.branching import branching_of
from steer.metrics.diversity.diversity import FEWEST, MOST, Embedder, common_length, diversities_of
from steer.metrics.diversity.ngrams import words
from steer.metrics.diversity.vendi import bags, cosines
from steer.metrics.frontier import frontier_of
from steer.metrics.pressure import pressures_of
from steer.metrics.typicality import RealCosts, is_typical, typicalities_of
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
        chosen = [texts[place] for place in places[:MOST]]
        enough = real if real is not None and len(real) >= len(chosen) else None
        return diversities_of(
            chosen, embedders=embedders, reference=evaluation_set.reference, real=enough, length=length, seed=seed
        )

    if hits is not None:
        put("success", [success_of(hits, evaluation_set.judges)], every)
    if hits is not None and real_costs is not None and real is not None and 2 <= len(texts) <= min(MOST, len(real)):
        kernels = [cosines(bags([words(text)[:length] for text in some])) for some in (texts, real[:MOST])]
        put("frontier", frontier_of(hits, is_typical(samples, real_costs), kernels[0], real=kernels[1]), every)
    if len(texts) >= FEWEST:
        put("diversity", varied(every), every)
    if hits is not None and hits.sum() >= FEWEST:
        put("diversity of successes", varied(every[hits]), every[hits])
    if real_costs is not None:
        put("typicality", typicalities_of(samples, real_costs), every)
    if replayed is not None or all(sample.pressure is not None for sample in samples):
        put("pressure", pressures_of(samples, replayed), every)
    if replayed is not None:
        found["pressure"].append(RunStatistic(branching_of(samples, replayed), every))
    return {section: found[section] for section in SECTIONS if section in found}
