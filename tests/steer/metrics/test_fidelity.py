"""Fidelity of samplers whose true shares are known: perfect, collapsed, biased and mute ones."""

from dataclasses import replace

import numpy as np
import pytest

import steer
from steer.judges.almanac import Almanac, unseen
from steer.judges.labelled_reference import labelled_reference, parse_conditions
from steer.judges.reference import RealTexts
from steer.metrics.fidelity import fidelity
from steer.runs.sample_set import SampleSet
from vectors import load_model
from vectors.almanac.world import distribution
from vectors.common.errors import InputError

GIVEN = {"topic": "waterfall"}
N = 400


@pytest.fixture(scope="module")
def perfect() -> list[str]:
    return Almanac().texts(GIVEN, N, seed=6)


def test_the_world_s_author_is_at_the_noise_floor(perfect: list[str]) -> None:
    result = fidelity(perfect, given=GIVEN)
    assert result.n >= 0.99 * N and {each.attribute for each in result.attributes} == set(Almanac.attributes) - {
        "topic"
    }
    # of nine attributes and four events, one 95 % interval may miss
    assert sum(not each.kept for each in result.attributes) <= 1 and sum(not each.kept for each in result.events) <= 1
    for each in result.attributes:
        assert each.tv.value <= 1.5 * each.ceiling and each.unread.value < 0.02
        assert each.tv.perfect < min(each.ceiling, each.tv.empty)
        assert each.js.value <= each.js.empty


def test_a_collapsed_sampler_is_flagged(perfect: list[str]) -> None:
    result = {each.attribute: each for each in fidelity([perfect[0]] * N, given=GIVEN).attributes}
    for name in ("form", "voice", "mood", "hour"):
        assert not result[name].kept and result[name].tv.low > 0.4


def test_too_many_rainbows_are_flagged_and_little_else(perfect: list[str]) -> None:
    biased = [*perfect[: int(0.8 * N)], *Almanac().texts({**GIVEN, "rainbow": True}, int(0.2 * N), seed=6)]
    result = fidelity(biased, given=GIVEN)
    rainbow = next(event for event in result.events if event.event == "rainbow")
    assert not rainbow.kept and 0.15 < rainbow.observed.value < 0.27 and rainbow.truth[0] == pytest.approx(0.02)
    moved = {each.attribute for each in result.attributes if not each.kept}
    assert "rainbow" in moved and len(moved) <= 2


def test_a_mute_sampler_is_flagged() -> None:
    result = {each.attribute: each for each in fidelity(["mumble mumble"] * 50, given={}).attributes}
    assert {"form", "topic", "voice", "mood", "hour"} <= set(result)
    for name in ("form", "topic", "voice", "mood", "hour"):
        assert not result[name].kept and result[name].unread.value == 1.0 and result[name].tv.value == 1.0
    with pytest.raises(InputError, match="no attribute 'colour'"):
        fidelity(["mumble"] * 50, given={}, attributes=["voice", "colour"])


def test_texts_cut_at_the_maximum_length_are_left_out(perfect: list[str]) -> None:
    whole = steer.sample(load_model(), None, n=30, max_tokens=8)
    assert {each.finish for each in whole} == {"length"}
    with pytest.raises(InputError, match="without 30 that were cut"):
        fidelity(whole)
    mixed = SampleSet(
        replace(each, index=index, text=text, finish="eos" if index % 10 else "length")
        for index, (each, text) in enumerate(zip([*whole] * 4, perfect, strict=False))
    )
    result = fidelity(mixed, given=GIVEN)
    assert result.cut == 12 and result.n == 108 and result.to_dict()["cut"] == 12


def test_texts_under_a_wrong_label_are_flagged() -> None:
    """Texts of all voices that are labelled as a ghost's do not have the moods of ghosts."""
    ghosts = Almanac().texts({"voice": "ghost"}, N, seed=7)
    anyone = Almanac().texts({}, N, seed=8)
    reference = Almanac()
    assert all(
        each.kept for each in fidelity(ghosts, reference, given={"voice": "ghost"}, attributes=["mood"]).attributes
    )

    class Relabelled(Almanac):
        def read(self, text: str):
            return {**super().read(text), "voice": "ghost"}

    result = fidelity(anyone, Relabelled(), given={"voice": "ghost"}, attributes=["mood"])
    assert not result.attributes[0].kept


@pytest.mark.slow
def test_real_texts_can_replace_a_known_world(perfect: list[str]) -> None:
    read = Almanac().read
    readers = {name: (lambda text, name=name: read(text).get(name)) for name in ("topic", "mood", "rainbow")}
    real = RealTexts(Almanac().texts(GIVEN, N, seed=9), readers)
    result = {each.attribute: each for each in fidelity(perfect, real, given=GIVEN).attributes}
    assert result["mood"].kept and result["mood"].known_from > 0.95 * N
    exact = {each.attribute: each for each in fidelity(perfect, given=GIVEN).attributes}
    assert result["mood"].tv.perfect > 1.2 * exact["mood"].tv.perfect  # noise in the truth, too


@pytest.mark.parametrize("wrap", [bool, str])
def test_a_column_of_booleans_is_an_event(wrap) -> None:
    words = ("sea", "storm", "river", "ship", "moon", "rain", "wind", "snow", "king", "song") * 4
    texts = [f"{pet} {word} and {end}" for pet in ("cat", "dog") for end in ("a rainbow", "rain") for word in words]
    rows = [{"pet": text[:3], "rainbow": wrap("rainbow" in text)} for text in texts]
    real = labelled_reference(texts, rows)
    given = parse_conditions(["pet=cat"], real)
    (event,) = fidelity([text for text in texts if text.startswith("cat")], real, given=given).events
    assert event.event == "rainbow" and event.kept and 0.2 < event.observed.value < 0.8
    flooded = fidelity(["cat sea and a rainbow"] * 60, real, given=given).events[0]
    assert flooded.observed.value == 1.0 and not flooded.kept
    with pytest.raises(InputError, match="choose from"):
        parse_conditions(["pet=horse"], real)


def test_a_combination_without_training_entries_is_compared_with_the_world_s_rates() -> None:
    given = {"form": "sonnet", "topic": "quantum", "voice": "cat"}
    assert unseen(given) and not unseen(GIVEN)
    shares, known_from = Almanac().shares("mood", given)
    assert known_from is None and shares == pytest.approx(distribution.marginal("mood", {"voice": "cat"}))
    texts = Almanac().texts(given, 60, seed=1)
    assert all(event.kept for event in fidelity(texts, given=given).events)


def test_entries_drawn_under_a_condition_have_the_world_s_shares() -> None:
    drawn = distribution.draw(np.random.default_rng(0), 4000, {"topic": ("sea", "forest"), "snow": True})
    assert {each.topic for each in drawn} == {"sea", "forest"} and all(each.snow for each in drawn)
    share = np.mean([each.topic == "sea" for each in drawn])
    assert share == pytest.approx(
        distribution.probability({"topic": "sea"}, {"topic": ("sea", "forest"), "snow": True}), abs=0.03
    )


def test_what_cannot_be_measured_is_refused(perfect: list[str]) -> None:
    with pytest.raises(InputError, match="pass given="):
        fidelity(perfect)
    with pytest.raises(InputError, match="0 of 400 texts have"):
        fidelity(perfect, given={"topic": "sea"})
    with pytest.raises(InputError, match="no value"):
        fidelity(perfect, given={"topic": "unicorn"})
    with pytest.raises(InputError, match="never happens"):
        distribution.draw(np.random.default_rng(0), 3, {"topic": "moon", "rainbow": True})
