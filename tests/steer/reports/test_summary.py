"""The summary claims no more than the intervals allow, and says what a missing figure needs."""

from dataclasses import replace

import pytest

import steer
from steer.judges.evaluation_set import EvaluationSet
from steer.judges.judge import FunctionJudge
from steer.metrics.fidelity import EventFidelity, Fidelity
from steer.reports.report import Report, first_figures, report
from steer.reports.summary import compare_diversity, summarise
from steer.runs.sample_set import SampleSet
from steer.statistics.estimate import Estimate
from vectors.model.residual_model import ResidualModel

SEA = EvaluationSet(judges=(FunctionJudge("sea", lambda text: "sea" in text),))


def diversity(low: float, high: float) -> Estimate:
    return Estimate(name="Vendi 1, words", value=(low + high) / 2, low=low, high=high, n=20, perfect=10.0)


@pytest.mark.parametrize(
    ("low", "high", "claim"),
    [
        (9.5, 10.5, "as varied as real texts"),
        (5.0, 12.0, "perhaps as varied as real texts (50 % to 120 % of their diversity)"),
        (9.5, 13.0, "perhaps as varied as real texts (95 % to 130 % of their diversity)"),
        (7.0, 9.0, "less varied than real texts (70 % to 90 % of their diversity)"),
        (9.2, 9.8, "less varied than real texts (92 % to 98 % of their diversity)"),
        (11.0, 13.0, "more varied than real texts (110 % to 130 % of their diversity)"),
    ],
)
def test_texts_are_as_varied_as_real_ones_only_if_the_interval_says_so(low: float, high: float, claim: str) -> None:
    assert compare_diversity(diversity(low, high)) == claim


def test_the_first_figures_are_those_of_the_report(llama_model: ResidualModel) -> None:
    samples = steer.sample(llama_model, None, n=24, seed=1, max_tokens=24)
    real = tuple(text for text in steer.sample(llama_model, None, n=60, seed=9, max_tokens=24).texts if text.strip())
    evaluation_set = replace(SEA, real=real)
    first = first_figures(samples, evaluation_set=evaluation_set)
    full = report(samples, evaluation_set=evaluation_set)
    for section, (figure,) in first.sections.items():
        assert figure in full.sections[section]
    assert summarise(samples, first) == summarise(samples, full)


def test_a_missing_figure_says_what_it_needs(llama_model: ResidualModel) -> None:
    samples = SampleSet(
        replace(sample, pressure=None, logprob_base=None)
        for sample in steer.sample(llama_model, None, n=4, seed=1, max_tokens=8)
    )
    summary = summarise(samples, first_figures(samples))
    assert summary.sentence == (
        "4 texts, no concept was asked for; diversity is not known; pressure is not known; what else moved is not known"
    )
    steered = SampleSet(replace(sample, doses={"cat": 1.0}) for sample in samples)
    summary = summarise(steered, first_figures(steered))
    assert summary.clauses[0] == "success is not known without a judge"
    meanings = " ".join(figure.meaning for figure in summary.figures)
    for need in ("--positive", "needs 8 texts", "--model", "--reference"):
        assert need in meanings


@pytest.mark.parametrize(
    ("steered_to", "p_values", "clause"),
    [
        ("sea", (0.5, 0.6, 0.7, 0.8), "nothing else moved measurably"),
        ("sea", (0.001, 0.6, 0.7, 0.8), "event 0 moved too (1 of 4 attributes; by chance up to 0.2)"),
        (
            "sea",
            (0.001, 0.001, 0.001, 0.001),
            "event 0, event 1, event 2 and 1 more moved too (4 of 4 attributes; by chance up to 0.2)",
        ),
        (None, (0.5, 0.6, 0.7, 0.8), "no attribute moved measurably"),
        (None, (0.001, 0.6, 0.7, 0.8), "event 0 moved (1 of 4 attributes; by chance up to 0.2)"),
    ],
)
def test_the_summary_names_what_moved(
    llama_model: ResidualModel, steered_to: str | None, p_values: tuple[float, ...], clause: str
) -> None:
    samples = steer.sample(llama_model, None, n=8, seed=1, max_tokens=8)
    rate = Estimate(name="event", value=0.1, low=0.0, high=0.2, n=20)
    events = tuple(EventFidelity(f"event {index}", rate, (0.1, 0.1, 0.1), p) for index, p in enumerate(p_values))
    given = {"topic": steered_to} if steered_to else {}
    report_of_events = Report(8, {}, fidelity=Fidelity(given, 20, 24, 0, (), events))
    assert summarise(samples, report_of_events).clauses[3] == clause
