"""All statistics of a run, by the section of the report that shows them."""

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
    """A statistic, and the indices in the run of the texts that it is computed from."""

    statistic: Statistic
    indices: np.ndarray


def run_statistics(
    samples: Sequence[Sample],
    evaluation_set: EvaluationSet,
    *,
    replayed: Sequence[Cost] | None = None,
    real_costs: RealCosts | None = None,
    embedders: dict[str, Embedder] | None = None,
    seed: int = 0,
) -> dict[str, list[RunStatistic]]:
    """Return all statistics of a run that the arguments allow, by section.

    Args:
        samples: of a run, or of two that are to be compared.
        evaluation_set: judges, real texts and true shares.
        replayed: token costs of the samples.
        real_costs: token costs of real texts.
        embedders: ways besides words to compare texts.
        seed: of the choice among real texts.
    """
    texts = [sample.text for sample in samples]
    all_indices = np.arange(len(texts))
    sections: dict[str, list[RunStatistic]] = {}

    def add(section: str, statistics: Sequence[Statistic], indices: np.ndarray) -> None:
        sections[section] = [RunStatistic(statistic, indices[: statistic.n]) for statistic in statistics]

    hits = accepted(texts, evaluation_set.judges) if evaluation_set.judges else None
    length = common_length(texts)
    real = evaluation_set.real

    def diversities(indices: np.ndarray) -> list[Statistic]:
        chosen = [texts[index] for index in indices[:MAX_TEXTS]]
        return diversity_statistics(
            chosen,
            embedders=embedders,
            reference=evaluation_set.reference,
            real=_enough(real, chosen),
            length=length,
            seed=seed,
        )

    if hits is not None:
        add("success", [success_statistic(hits, evaluation_set.judges)], all_indices)
    if hits is not None and real_costs is not None and 2 <= len(texts) <= min(MAX_TEXTS, len(real)):
        kernels = [word_cosines([words(text)[:length] for text in some]) for some in (texts, real[:MAX_TEXTS])]
        add(
            "frontier",
            frontier_statistics(hits, is_typical(samples, real_costs), kernels[0], real=kernels[1]),
            all_indices,
        )
    if len(texts) >= MIN_TEXTS:
        add("diversity", diversities(all_indices), all_indices)
    if hits is not None and hits.sum() >= MIN_TEXTS:
        add("diversity of successes", diversities(all_indices[hits]), all_indices[hits])
    if real_costs is not None:
        add("typicality", typicality_statistics(samples, real_costs), all_indices)
    if replayed is not None or all(sample.pressure is not None for sample in samples):
        add("pressure", pressure_statistics(samples, replayed), all_indices)
    if replayed is not None:
        sections["pressure"].append(RunStatistic(branching_statistic(samples, replayed), all_indices))
    return {section: sections[section] for section in SECTIONS if section in sections}


def first_statistics(
    samples: Sequence[Sample], evaluation_set: EvaluationSet, *, seed: int = 0
) -> dict[str, Statistic]:
    """Return one statistic for each of three sections, those of the summary, without a model.

    They are equal to those of `run_statistics`: success, the Vendi score over words (of the successful texts if there
    is a judge), and the mean pressure.
    """
    texts = [sample.text for sample in samples]
    statistics: dict[str, Statistic] = {}
    chosen, section = texts, "diversity"
    if evaluation_set.judges:
        hits = accepted(texts, evaluation_set.judges)
        statistics["success"] = success_statistic(hits, evaluation_set.judges)
        chosen, section = [text for text, hit in zip(texts, hits, strict=True) if hit], "diversity of successes"
    if len(chosen) >= MIN_TEXTS:
        chosen = chosen[:MAX_TEXTS]
        real = _enough(evaluation_set.real, chosen)
        diversities = diversity_statistics(chosen, real=real, length=common_length(texts), seed=seed)
        statistics[section] = next(statistic for statistic in diversities if statistic.name == "Vendi 1, words")
    if all(sample.pressure is not None for sample in samples):
        statistics["pressure"] = pressure_statistics(samples)[0]
    return statistics


def _enough(real: Sequence[str], texts: Sequence[str]) -> Sequence[str] | None:
    """Return the real texts if there are at least as many of them."""
    return real if real and len(real) >= len(texts) else None
