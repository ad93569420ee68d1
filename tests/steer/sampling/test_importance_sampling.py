"""Calibrated sampling: weights correct a biased sampler, and too few effective samples are refused."""

import math
from collections import Counter
from collections.abc import Collection
from dataclasses import replace

import numpy as np
import pytest

import steer
from steer.judges.almanac import judges_for
from steer.judges.judge import FunctionJudge
from steer.runs.sample import Sample
from steer.runs.sample_set import SampleSet
from steer.sampling.importance_sampling import (
    FEWEST,
    PILOT,
    Draw,
    calibrated_set,
    drawn_by_weight,
    importance_weights,
    sample_calibrated,
)
from vectors.common.errors import InputError
from vectors.model.residual_model import ResidualModel

BASE = np.array([0.5, 0.3, 0.15, 0.05])
STEERED = np.array([0.1, 0.2, 0.3, 0.4])
DRAWN = {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "min_p": 0.0}


def sample(index: int, kind: int, **changes: object) -> Sample:
    fields = {
        "index": index, "text": f"kind {kind}", "tokens": [kind], "logprob_base": math.log(BASE[kind]),
        "logprob_steered": math.log(STEERED[kind]), "pressure": {"mean": 0.1, "p95": 0.1, "total": 0.1}, "seed": 0,
        "radius": 0.0, "geometry": "shell", "doses": {"cat": 1.0}, "layer": [1], "model": "tiny", "finish": "eos",
        "settings": DRAWN,
    }  # fmt: skip
    return Sample(**(fields | changes))


def proposals(n: int, seed: int = 0) -> SampleSet:
    kinds = np.random.default_rng(seed).choice(4, size=n, p=STEERED)
    return SampleSet(sample(index, int(kind)) for index, kind in enumerate(kinds))


@pytest.mark.slow
def test_calibrated_samples_follow_the_base_model() -> None:
    counts: Counter[str] = Counter()
    for seed in range(40):
        chosen = calibrated_set(proposals(600, seed), [], 60, seed=seed)
        assert len({each.index for each in chosen}) == 60
        counts.update(chosen.texts)
    shares = np.array([counts[f"kind {kind}"] for kind in range(4)]) / 2400
    np.testing.assert_allclose(shares, BASE, atol=0.04)  # of 2,400 draws no two of a run are independent


def test_judges_condition_the_calibrated_samples() -> None:
    judge = FunctionJudge("rare", lambda text: text in ("kind 2", "kind 3"))
    chosen = calibrated_set(proposals(4000), [judge], 400, seed=1)
    share = sum(text == "kind 3" for text in chosen.texts) / 400
    assert set(chosen.texts) == {"kind 2", "kind 3"} and share == pytest.approx(0.25, abs=0.05)
    assert chosen[0].settings["calibration"]["judges"] == ["rare"]


def test_the_effective_sample_size_is_kish_s() -> None:
    run = proposals(500)
    raw = np.array([math.exp(each.logprob_base - each.logprob_steered) for each in run])
    weights, chosen = importance_weights(run, [])
    np.testing.assert_allclose(weights, raw / raw.sum(), rtol=1e-12)
    assert chosen.ess == pytest.approx(raw.sum() ** 2 / (raw**2).sum())
    assert chosen.worth == pytest.approx(raw.sum() / raw.max()) and chosen.worth <= chosen.ess <= 500
    assert chosen.share == pytest.approx(1.0, abs=0.15)  # the base model writes some text for sure


def test_all_proposals_of_equal_weight_may_be_drawn() -> None:
    """Where all weigh the same, one over the heaviest weight may be rounded to just below their number."""
    for n in (93, 99, 105):
        assert len(calibrated_set(SampleSet(sample(index, 0) for index in range(n)), [], n, seed=0)) == n


def test_truncated_texts_have_weight_zero() -> None:
    run = [sample(0, 0, finish="length"), sample(1, 1)]
    weights, chosen = importance_weights(run, [])
    assert weights.tolist() == [0.0, 1.0] and chosen.accepted == 1


def test_too_small_an_effective_sample_size_is_refused() -> None:
    with pytest.raises(InputError, match=r"effective sample size .* and 400 are asked for"):
        calibrated_set(proposals(500), [], 400, seed=0)
    with pytest.raises(InputError, match="0 of them accepted"):
        calibrated_set(proposals(50), [FunctionJudge("nobody", lambda text: False)], 1, seed=0)
    with pytest.raises(InputError, match="propose more"):
        drawn_by_weight([sample(0, 0), sample(1, 1)], np.array([0.9, 0.1]), 2, seed=0)


@pytest.mark.parametrize("changes", [{"temperature": 0.8}, {"top_p": 0.9}, {"top_k": 5}, {"min_p": 0.1}])
def test_truncated_or_tempered_proposals_are_refused(changes: dict[str, float]) -> None:
    with pytest.raises(InputError, match="temperature 1, untruncated"):
        importance_weights([replace(sample(0, 0), settings=DRAWN | changes)], [])


def from_run(every: SampleSet, asked: list[int]) -> Draw:
    def draw(count: int, skip: Collection[int]) -> list[Sample]:
        asked.append(count)
        return [each for each in every[:count] if each.index not in skip]

    return draw


@pytest.mark.slow
def test_the_pilot_sets_the_number_of_proposals_and_is_discarded() -> None:
    asked: list[int] = []
    chosen = sample_calibrated(from_run(proposals(6400), asked), [], 100, most=6000, seed=0)
    assert len(chosen) == 100 and all(each.index >= PILOT for each in chosen)
    assert asked[0] == PILOT and len(asked) == 2 and 2 * 100 < asked[1] - PILOT < 6000
    assert chosen[0].settings["calibration"]["proposals"] == asked[1] - PILOT
    with pytest.raises(InputError, match="allow more"):
        sample_calibrated(from_run(proposals(6400), []), [], 100, most=110, seed=0)


def test_a_single_text_needs_many_proposals_too() -> None:
    """One accepted text alone would have all the weight that there is."""
    asked: list[int] = []
    sample_calibrated(from_run(proposals(6400), asked), [], 1, most=4096, seed=0)
    assert asked[1] >= PILOT + FEWEST
    with pytest.raises(InputError, match="of 128 proposals 0 are accepted"):
        sample_calibrated(
            from_run(proposals(200), []), [FunctionJudge("nobody", lambda text: False)], 1, most=4096, seed=0
        )


@pytest.mark.slow
@pytest.mark.parametrize("n", [1, 64])
def test_rare_proposals_of_large_weight_are_not_lost(n: int) -> None:
    """A third of the base model's texts are of a kind that only one in a hundred proposals is of."""
    logs = {0: (math.log(0.7), math.log(0.99)), 1: (math.log(0.3), math.log(0.01))}
    both = [
        [sample(at, kind, logprob_base=logs[kind][0], logprob_steered=logs[kind][1]) for at in range(5000)]
        for kind in (0, 1)
    ]
    random, shares = np.random.default_rng(n), []
    for repeat in range(60):
        every = SampleSet(both[int(rare)][at] for at, rare in enumerate(random.random(5000) < 0.01))
        try:
            chosen = sample_calibrated(from_run(every, []), [], n, most=4800, seed=repeat)
        except InputError:
            continue
        shares.append(np.mean([each.text == "kind 1" for each in chosen]))
    assert len(shares) > 20 and np.mean(shares) == pytest.approx(0.3, abs=0.15 if n == 1 else 0.04)


def test_other_models_need_a_judge(llama_model: ResidualModel) -> None:
    point = steer.SteeringPoint(deltas={}, doses={"cat": 1.0}, vectors=())
    with pytest.raises(InputError, match="pass judges="):
        judges_for(llama_model, point, None)
    assert judges_for(llama_model, point, []) == []
    with pytest.raises(InputError, match="leave resume out"):
        steer.sample(llama_model, None, n=2, calibrated=True, judges=[], resume=True, output="x.jsonl")


@pytest.mark.slow
def test_unsteered_proposals_have_equal_weights(llama_model: ResidualModel) -> None:
    chosen = steer.sample(llama_model, None, n=4, calibrated=True, judges=[], max_tokens=40, most_proposals=400)
    kept = chosen[0].settings["calibration"]
    assert kept["ess"] == pytest.approx(kept["accepted"])
