"""The Almanac as a judge and as a reference: what doses ask for, and for which models it is the default."""

import pytest

import steer
from steer.judges.almanac import (
    REAL_TEXTS,
    Almanac,
    OracleJudge,
    almanac_evaluation_set,
    conditions_of_doses,
    default_evaluation_set,
    has_concepts,
    judges_for,
    unseen,
)
from steer.judges.evaluation_set import EvaluationSet
from steer.judges.judge import FunctionJudge
from steer.judges.success import success
from vectors import load_model
from vectors.almanac.world import distribution
from vectors.common.errors import InputError
from vectors.model.residual_model import ResidualModel


@pytest.mark.slow
def test_it_judges_what_is_added_and_leaves_out_everything_steered() -> None:
    found = almanac_evaluation_set({"sea": 1.0, "joyful": -0.5}, n=30)
    assert found.given == {"topic": "sea", "mood": ("gloomy", "calm", "fearful", "tender")}
    assert [judge.name for judge in found.judges] == ["topic: sea", "mood: gloomy or calm or fearful or tender"]
    assert found.touched == {"topic", "mood"} and len(found.real) == REAL_TEXTS
    assert all(judge.accepts(text) for text in found.real[:50] for judge in found.judges)
    assert all(OracleJudge("sea").accepts(text) for text in found.real[:50])
    assert not almanac_evaluation_set({}, n=30).judges


def test_either_of_two_values_is_accepted_and_a_value_steered_away_from_is_not() -> None:
    either = almanac_evaluation_set({"cat": 1.0, "ghost": 0.5}, n=30)
    assert either.given == {"voice": ("cat", "ghost")} and len(either.judges) == 1
    assert success(either.real[:100], either.judges).value > 0.98
    dry = almanac_evaluation_set({"waterfall": 1.0, "rainbow": -1.0}, n=30)
    rainbows = Almanac().texts({"topic": "waterfall", "rainbow": True}, 30, seed=5)
    assert success(rainbows, dry.judges).value == 0.0 and success(dry.real[:50], dry.judges).value > 0.95


def test_it_is_the_default_for_its_own_model_and_concepts_without_a_prompt() -> None:
    assert has_concepts("almanac", {"cat": 1.0}) and has_concepts("almanac", {})
    assert not has_concepts("almanac", {"cat": 1.0, "unicorn": 1.0}) and not has_concepts("gpt2", {"cat": 1.0})
    ours = default_evaluation_set("almanac", {"cat": 1.0}, n=30, seed=3)
    assert ours.real == almanac_evaluation_set({"cat": 1.0}, n=30, seed=3).real and ours.judges
    for model, doses, prompt in (("gpt2", {"cat": 1.0}, ""), ("almanac", {"unicorn": 1.0}, ""), ("almanac", {}, "A")):
        assert default_evaluation_set(model, doses, prompt=prompt) == EvaluationSet()


def test_its_judges_are_the_default_only_for_its_own_model(llama_model: ResidualModel) -> None:
    almanac = load_model()
    assert [judge.name for judge in judges_for(almanac, steer.compose("cat", almanac), None)] == ["voice: cat"]
    point = steer.SteeringPoint(deltas={}, doses={"cat": 1.0}, vectors=())
    with pytest.raises(InputError, match="pass judges="):
        judges_for(llama_model, point, None)
    judge = FunctionJudge("any", bool)
    assert judges_for(llama_model, point, [judge]) == [judge] and judges_for(llama_model, point, []) == []


def test_a_combination_without_training_entries_has_the_shares_of_the_world_s_rates() -> None:
    given = {"form": "sonnet", "topic": "quantum", "voice": "cat"}
    assert unseen(given) and not unseen({"topic": "waterfall"})
    shares, known_from = Almanac().shares("mood", given)
    assert known_from is None and shares == pytest.approx(distribution.marginal("mood", {"voice": "cat"}))


def test_unknown_concepts_are_refused() -> None:
    with pytest.raises(InputError, match="knows no 'unicorn'"):
        OracleJudge("unicorn")
    with pytest.raises(InputError, match="no concept 'unicorn'"):
        conditions_of_doses({"unicorn": 1.0})
