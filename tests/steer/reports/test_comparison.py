"""Reports and comparisons: of runs of one sampler and of two, with and without the model."""

import json
from dataclasses import replace

import numpy as np
import pytest

import steer
from steer.judges.evaluation_set import EvaluationSet
from steer.judges.judge import FunctionJudge
from steer.reports.comparison import check_comparable, compare
from steer.reports.report import report
from steer.runs.sample_set import SampleSet
from vectors.common.errors import InputError
from vectors.model.residual_model import ResidualModel

SEA = EvaluationSet(judges=(FunctionJudge("sea", lambda text: "sea" in text),))


def run(model: ResidualModel, seed: int, n: int = 24, **options: float) -> SampleSet:
    return steer.sample(model, None, n=n, seed=seed, max_tokens=24, **options)


def test_a_report_has_every_section_with_intervals_and_says_what_is_missing(llama_model: ResidualModel) -> None:
    made = report(run(llama_model, 1), evaluation_set=SEA, model=llama_model)
    assert list(made.sections)[:2] == ["success", "diversity"] and "pressure" in made.sections
    for figure in made.figures:
        assert figure.low <= figure.value <= figure.high and np.isfinite([figure.low, figure.high]).all()
        assert figure.n >= 2
    assert any("no typicality" in note for note in made.notes) and any("no fidelity" in note for note in made.notes)
    assert json.loads(json.dumps(made.to_dict()))["n"] == 24


def test_real_texts_bring_typicality_and_a_frontier(llama_model: ResidualModel) -> None:
    real = tuple(text for text in run(llama_model, 9, n=60).texts if text.strip())
    made = report(run(llama_model, 1), evaluation_set=replace(SEA, real=real), model=llama_model)
    assert {"typicality", "frontier"} <= set(made.sections)
    names = [figure.name for figure in made.sections["pressure"]]
    assert {"pressure", "p95 pressure", "branching factor", "broken down"} <= set(names)


def test_without_the_model_a_report_says_so(llama_model: ResidualModel) -> None:
    made = report(run(llama_model, 1))
    assert "success" not in made.sections and any("need the model" in note for note in made.notes)
    with pytest.raises(InputError, match="at least two"):
        report(run(llama_model, 1, n=1))


@pytest.mark.slow
def test_two_runs_of_one_sampler_hardly_differ_and_two_of_two_do(llama_model: ResidualModel) -> None:
    same = compare(run(llama_model, 1), run(llama_model, 2), evaluation_set=SEA)
    chances = [row.p for rows in same.values() for row in rows]
    assert np.mean([p < 0.05 for p in chances]) < 0.4
    cold = compare(run(llama_model, 1), run(llama_model, 2, temperature=0.3), evaluation_set=SEA)
    found = {row.first.name: row for row in cold["diversity"]}
    row = found["distinct-2"]
    assert row.p <= 0.02 and row.difference.high < 0 and row.second.value < row.first.value
    assert row.difference.value == pytest.approx(row.second.value - row.first.value)


def test_p_values_of_equal_samplers_are_uniform() -> None:
    """Two halves of one set of numbers: a test at 0.1 rejects once in ten."""
    from steer.reports.comparison import _compare_statistic
    from steer.reports.run_metrics import RunStatistic
    from steer.statistics.statistic import mean_of

    random, rejected = np.random.default_rng(0), 0
    for _ in range(200):
        placed = RunStatistic(mean_of("mean", random.normal(size=20)), np.arange(20))
        row = _compare_statistic(placed, np.array([0, 1] * 10), "pressure", random, 0, shuffles=99)
        assert row is not None
        rejected += row.p <= 0.1
    assert rejected / 200 == pytest.approx(0.1, abs=0.06)


def test_runs_that_cannot_be_compared_are_refused(llama_model: ResidualModel) -> None:
    one = run(llama_model, 1, n=4)
    with pytest.raises(InputError, match="the same run"):
        check_comparable(one, one)
    other = SampleSet(replace(each, model="another") for each in run(llama_model, 2, n=4))
    with pytest.raises(InputError, match="compare runs of one model"):
        check_comparable(one, other)
