"""Probabilities are compared with an independent enumeration of the table of rates, and with draws."""

import itertools
import math
import tomllib
from collections.abc import Collection, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vectors.almanac.world import distribution
from vectors.almanac.world.distribution import Attributes, probability
from vectors.common.errors import InputError

RATES = tomllib.loads(Path(distribution.__file__).with_name("rates.toml").read_text())
AXES = ("form", "topic", "voice", "mood", "hour", "rainbow", "wedding", "snow", "key")
FREE = ("form", "topic", "voice", "mood", "hour")
NUMBERED = ("recipe", "forecast", "notice")
VALUES: dict[str, list[Any]] = {
    **{name: list(RATES[name]) for name in FREE},
    **{name: [False, True] for name in AXES[5:]},
    "number": [None, *range(1, 21)],
}
TRIPLES = {tuple(triple) for triple in RATES["held_out"]["triples"]}
PAIRS = {tuple(pair) for pair in RATES["held_out"]["pairs"]}


def _row(name: str, stated: Mapping[str, float]) -> dict[str, float]:
    """An attribute's rates if some are given and the others share the rest in proportion."""
    others = sum(rate for value, rate in RATES[name].items() if value not in stated)
    left = 1 - sum(stated.values())
    return {value: stated.get(value, rate * left / others) for value, rate in RATES[name].items()}


def _allowed(form: str, topic: str, voice: str) -> bool:
    return (form, topic, voice) not in TRIPLES and (form, topic) not in PAIRS


def _coin(detail: str, topic: str, hour: str) -> float:
    table = RATES["detail"][detail]
    rate: float = table.get("topic", {}).get(topic, table["elsewhere"]) * table.get("hour", {}).get(hour, 1)
    return rate


@cache
def cells() -> dict[tuple[Any, ...], float]:
    """The mass of every cell of the joint distribution."""
    masses: dict[tuple[Any, ...], float] = {}
    for topic in VALUES["topic"]:
        forms = _row("form", {"recipe": 0.32} if topic == "kitchen" else {})
        voices = _row("voice", {"sailor": 0.30} if topic == "sea" else {})
        for form, voice in itertools.product(VALUES["form"], VALUES["voice"]):
            if not _allowed(form, topic, voice):
                continue
            moods = _row("mood", {"gloomy": 0.42} if voice == "ghost" else {})
            for mood, hour in itertools.product(VALUES["mood"], VALUES["hour"]):
                rate = RATES["topic"][topic] * forms[form] * voices[voice] * moods[mood] * RATES["hour"][hour]
                masses[form, topic, voice, mood, hour] = rate
    whole = math.fsum(masses.values())
    split: dict[tuple[Any, ...], float] = {}
    for cell, mass in masses.items():
        coins = [_coin(detail, cell[1], cell[4]) for detail in AXES[5:]]
        for faces in itertools.product([False, True], repeat=4):
            chance = math.prod(coin if face else 1 - coin for coin, face in zip(coins, faces, strict=True))
            split[(*cell, *faces)] = mass / whole * chance
    return split


def _as_set(wanted: Any) -> set[Any]:
    return set(wanted) if isinstance(wanted, Collection) and not isinstance(wanted, str) else {wanted}


def enumerated(event: Mapping[str, Any]) -> float:
    """The probability of an event, cell by cell."""
    wanted = [(i, _as_set(event[name])) for i, name in enumerate(AXES) if name in event]
    numbers = _as_set(event["number"]) if "number" in event else None
    total = []
    for cell, mass in cells().items():
        if not all(cell[i] in values for i, values in wanted):
            continue
        share = 1.0
        if numbers is not None:
            share = sum(n in numbers for n in range(1, 21)) / 20 if cell[0] in NUMBERED else float(None in numbers)
        total.append(mass * share)
    return math.fsum(total)


def _within(attributes: Attributes, event: Mapping[str, Any]) -> bool:
    return all(getattr(attributes, name) in _as_set(wanted) for name, wanted in event.items())


def _wanted(name: str) -> st.SearchStrategy[Any]:
    """One value of the attribute, or a collection of some."""
    value = st.sampled_from(VALUES[name])
    some = st.sets(value, min_size=1, max_size=len(VALUES[name]))
    return st.one_of(
        value, some, some.map(frozenset), some.map(lambda chosen: sorted(chosen, key=str)), some.map(tuple)
    )


def _events(names: tuple[str, ...] = (*AXES, "number")) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional={name: _wanted(name) for name in names})


def _two_events() -> st.SearchStrategy[tuple[dict[str, Any], dict[str, Any]]]:
    """Two events about different attributes."""
    return st.permutations([*AXES, "number"]).flatmap(
        lambda names: st.tuples(_events(tuple(names[:5])), _events(tuple(names[5:])))
    )


EVENTS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {}),
    *(({name: value}, {}) for name in (*AXES, "number") for value in VALUES[name]),
    *(({"form": form}, {"topic": topic}) for form in VALUES["form"] for topic in VALUES["topic"]),
    *(({"voice": voice}, {"topic": topic}) for voice in VALUES["voice"] for topic in VALUES["topic"]),
    *(({"mood": mood}, {"voice": voice}) for mood in VALUES["mood"] for voice in VALUES["voice"]),
    *(({detail: True}, {"topic": topic}) for detail in AXES[5:] for topic in VALUES["topic"]),
    *(({"snow": True}, {"topic": topic, "hour": hour}) for topic in VALUES["topic"] for hour in VALUES["hour"]),
    ({"topic": {"sea", "moon"}, "rainbow": False}, {"mood": ["calm", "tender"]}),
    ({"number": [None, 3, 4]}, {"voice": "crow"}),
    ({"number": 7, "form": "recipe"}, {"topic": "kitchen"}),
    ({"number": range(1, 6)}, {"form": ("recipe", "haiku"), "snow": True}),
    ({"topic": "waterfall"}, {"rainbow": True, "hour": "noon"}),
    ({"topic": ["sea", "desert"], "form": "haiku"}, {"topic": ["sea", "moon"], "voice": "cat"}),
]


def test_the_joint_sums_to_one_over_the_cells_of_all_values() -> None:
    table = distribution.joint()
    assert table.shape == tuple(len(VALUES[name]) for name in AXES)
    assert table.sum() == pytest.approx(1, abs=1e-12)
    assert table.min() >= 0
    assert not table.flags.writeable
    assert {name: set(values) for name, values in distribution.VALUES.items()} == {
        name: set(VALUES[name]) for name in AXES
    }


def test_every_cell_is_as_enumerated() -> None:
    table = distribution.joint()
    positions = {name: {value: i for i, value in enumerate(distribution.VALUES[name])} for name in AXES}
    expected = np.zeros(table.shape)
    for cell, mass in cells().items():
        expected[tuple(positions[name][value] for name, value in zip(AXES, cell, strict=True))] = mass
    np.testing.assert_allclose(table, expected, rtol=1e-9, atol=0)
    assert ((table == 0) == (expected == 0)).all()


def test_held_out_combinations_have_probability_zero() -> None:
    assert len(distribution.held_out.triples) == 16
    assert len(distribution.held_out.pairs) == 2
    assert ("sonnet", "quantum", "cat") in distribution.held_out.triples
    for form, topic, voice in distribution.held_out.triples:
        assert probability({"form": form, "topic": topic, "voice": voice}) == 0
        assert probability({"form": form}, {"topic": topic, "voice": voice}) == 0
        assert Attributes(form=form, topic=topic, voice=voice) in distribution.held_out
    for form, topic in distribution.held_out.pairs:
        assert probability({"form": form, "topic": topic}) == 0
        assert all(
            Attributes(form=form, topic=topic, voice=voice) in distribution.held_out for voice in VALUES["voice"]
        )
    held_out = [
        (form, topic, voice)
        for form, topic, voice in itertools.product(VALUES["form"], VALUES["topic"], VALUES["voice"])
        if Attributes(form=form, topic=topic, voice=voice) in distribution.held_out
    ]
    assert len(held_out) == 16 + 2 * 8
    assert all(
        (probability(dict(zip(FREE, (f, t, v), strict=False))) == 0) == ((f, t, v) in held_out)
        for f, t, v in itertools.product(VALUES["form"], VALUES["topic"], VALUES["voice"])
    )


def test_all_other_combinations_are_possible() -> None:
    for names in itertools.combinations(FREE, 2):
        for values in itertools.product(*(VALUES[name] for name in names)):
            assert (probability(dict(zip(names, values, strict=True))) == 0) == (values in PAIRS)


def test_rainbows_depend_on_the_topic() -> None:
    for topic in VALUES["topic"]:
        rate = {"waterfall": 0.02, "moon": 0.0}.get(topic, 0.002)
        assert probability({"rainbow": True}, {"topic": topic}) == pytest.approx(rate, rel=1e-12, abs=0)
        for hour, voice in itertools.product(VALUES["hour"], VALUES["voice"]):
            given = {"topic": topic, "hour": hour, "voice": voice}
            assert probability({"rainbow": True}, given) == pytest.approx(rate, rel=1e-12, abs=0)
    assert probability({"rainbow": True}, {"topic": "moon"}) == 0


def test_weddings_do_not_depend_on_anything() -> None:
    assert probability({"wedding": True}) == pytest.approx(0.01, rel=1e-12)
    for name in (*FREE, "rainbow", "snow", "key"):
        for value in VALUES[name]:
            assert probability({"wedding": True}, {name: value}) == pytest.approx(0.01, rel=1e-12)


def test_details_are_independent_coins() -> None:
    for topic, hour in itertools.product(VALUES["topic"], VALUES["hour"]):
        given = {"topic": topic, "hour": hour}
        alone = [probability({detail: True}, given) for detail in AXES[5:]]
        together = probability(dict.fromkeys(AXES[5:], True), given)
        assert together == pytest.approx(math.prod(alone), rel=1e-9, abs=0)


def test_snow_depends_on_topic_and_hour() -> None:
    topics = {"forest": 0.10, "railway": 0.08, "orchard": 0.06, "waterfall": 0.04, "library": 0.04, "quantum": 0.02}
    topics |= {"sea": 0.03, "kitchen": 0.03, "desert": 0.004, "moon": 0.0}
    hours = {"dawn": 1.3, "noon": 0.5, "dusk": 0.9, "midnight": 1.4}
    for (topic, rate), (hour, factor) in itertools.product(topics.items(), hours.items()):
        given = {"topic": topic, "hour": hour}
        assert probability({"snow": True}, given) == pytest.approx(rate * factor, rel=1e-12, abs=0)
    overall = [probability({"snow": True}, {"hour": hour}) for hour in ("noon", "dusk", "dawn", "midnight")]
    assert overall == sorted(overall)
    assert len(set(overall)) == 4


def test_sailors_depend_on_the_topic() -> None:
    assert probability({"voice": "sailor"}, {"topic": "sea"}) == pytest.approx(0.30, rel=1e-12)  # nothing is held out
    # Elsewhere 0.06, renormalised over the combinations that are not held out.
    kept = {  # topic: (share of the topic that is not held out, share of its sailors)
        "quantum": (1 - 0.12 * 0.16 - 0.14 * 0.12 - 0.10 * 0.13, 1.0),
        "waterfall": (1 - 0.14 * 0.15 - 0.15 * 0.12, 1.0),
        "forest": (1 - 0.10 * 0.15, 1.0),
        "kitchen": (1 - 0.12 * 0.68 / 0.92 * 0.12 - 0.13 * 0.68 / 0.92 * 0.12, 1.0),
        "library": (1 - 0.08 * 0.11 - 0.12 * 0.16, 1.0),
        "desert": (1 - 0.12 - 0.15 * 0.15, 1 - 0.12),
        "railway": (1 - 0.12 * 0.13 - 0.08 * 0.15, 1.0),
        "orchard": (1 - 0.16 * 0.11, 1.0),
        "moon": (1 - 0.08 - (0.16 + 0.13) * 0.06, 1 - 0.08 - 0.16 - 0.13),
    }
    for topic, (whole, sailors) in kept.items():
        found = probability({"voice": "sailor"}, {"topic": topic})
        assert found == pytest.approx(0.06 * sailors / whole, rel=1e-12)
    shares = {topic: RATES["topic"][topic] * whole for topic, (whole, _) in kept.items()}
    sailors = sum(RATES["topic"][topic] * 0.06 * share for topic, (_, share) in kept.items())
    elsewhere = probability({"voice": "sailor"}, {"topic": list(kept)})
    assert elsewhere == pytest.approx(sailors / sum(shares.values()), rel=1e-12)
    assert elsewhere == pytest.approx(0.06, abs=0.002)


def test_other_planted_dependences() -> None:
    for topic, form in itertools.product(VALUES["topic"], VALUES["form"]):  # held-out triples spare these voices
        if topic not in ("kitchen", "desert", "moon"):
            voices = [v for v in VALUES["voice"] if not any(t == topic and v == w for _, t, w in TRIPLES)]
            found = probability({"form": form}, {"topic": topic, "voice": voices})
            assert found == pytest.approx(RATES["form"][form], rel=1e-12)
    assert probability({"form": "recipe"}, {"topic": "kitchen", "voice": "cat"}) == pytest.approx(0.32, rel=1e-12)
    assert probability({"form": "recipe"}, {"topic": "kitchen"}) == pytest.approx(
        0.32 / (1 - 0.25 * 0.68 / 0.92 * 0.12), rel=1e-12
    )
    for voice in VALUES["voice"]:
        rate = 0.42 if voice == "ghost" else 0.18
        for topic in VALUES["topic"]:
            found = probability({"mood": "gloomy"}, {"voice": voice, "topic": topic})
            assert found == pytest.approx(rate, rel=1e-12)
    for hour, rate in RATES["hour"].items():
        assert probability({"hour": hour}, {"topic": "railway", "mood": "calm"}) == pytest.approx(rate, rel=1e-12)


def test_numbers_of_forms_that_have_them_are_uniform() -> None:
    for form in VALUES["form"]:
        found = distribution.marginal("number", {"form": form})
        if form in NUMBERED:
            assert found == {None: 0, **{n: pytest.approx(0.05, rel=1e-12) for n in range(1, 21)}}
        else:
            assert found == {None: pytest.approx(1, rel=1e-12), **dict.fromkeys(range(1, 21), 0)}
    assert probability({"number": None}) == pytest.approx(1 - probability({"form": NUMBERED}), rel=1e-12)
    assert probability({"form": NUMBERED}, {"number": 13}) == pytest.approx(1, rel=1e-12)


@pytest.mark.slow
def test_probability_is_that_of_enumeration() -> None:
    for event, condition in [*EVENTS[1:60:14], *EVENTS[60:-6:67], *EVENTS[-6:]]:
        both = {name: _as_set(wanted) for name, wanted in condition.items()}
        for name, wanted in event.items():
            both[name] = _as_set(wanted) & both.get(name, _as_set(wanted))
        expected = enumerated(both) / (enumerated(condition) if condition else 1)
        assert probability(event, condition) == pytest.approx(expected, rel=1e-9, abs=1e-15)


def test_draws_follow_the_probabilities() -> None:
    drawn = distribution.draw(np.random.default_rng(20), 50_000)
    columns = {
        name: np.array([VALUES[name].index(getattr(attributes, name)) for attributes in drawn])
        for name in (*AXES, "number")
    }

    def within(event: Mapping[str, Any]) -> np.ndarray:
        inside = np.ones(len(drawn), dtype=bool)
        for name, wanted in event.items():
            inside &= np.isin(columns[name], [VALUES[name].index(value) for value in _as_set(wanted)])
        return inside

    for event, condition in EVENTS:
        n = within(condition).sum()
        share = (within(event) & within(condition)).sum() / n
        p = probability(event, condition)
        # four standard errors, and one draw more where the event is too rare for the normal approximation
        assert abs(share - p) <= 4 * math.sqrt(p * (1 - p) / n) + (p * n < 10) * (p > 0) / n, (event, condition)
    for triple in TRIPLES:
        assert not within(dict(zip(FREE, triple, strict=False))).any()


def test_draws_are_reproducible() -> None:
    first, second = (distribution.draw(np.random.default_rng(3), 50) for _ in range(2))
    assert first == second
    assert first != distribution.draw(np.random.default_rng(4), 50)
    assert distribution.draw(np.random.default_rng(3), 0) == []


@settings(max_examples=150, deadline=None)
@given(_events())
def test_probabilities_lie_between_zero_and_one(event: dict[str, Any]) -> None:
    assert 0 <= probability(event) <= 1 + 1e-12
    if probability(event) > 0:
        assert probability(event, event) == pytest.approx(1, rel=1e-12)
        assert probability({}, event) == pytest.approx(1, rel=1e-12)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from([*AXES, "number"]), st.data())
def test_probabilities_of_values_sum_to_that_of_the_event(name: str, data: st.DataObject) -> None:
    event = data.draw(_events(tuple(other for other in (*AXES, "number") if other != name)))
    whole = probability(event)
    assert math.fsum(probability({**event, name: value}) for value in VALUES[name]) == pytest.approx(whole, rel=1e-9)
    if whole > 0:
        found = distribution.marginal(name, event)
        assert math.fsum(found.values()) == pytest.approx(1, rel=1e-9)
        some = data.draw(st.sets(st.sampled_from(VALUES[name])))
        expected = math.fsum(found[value] for value in some)
        if name != "form" or "number" not in event or some:  # see test_contradictory_forms_have_probability_zero
            assert probability({name: some}, event) == pytest.approx(expected, rel=1e-9, abs=1e-15)


@settings(max_examples=150, deadline=None)
@given(_two_events())
def test_the_chain_rule(events: tuple[dict[str, Any], dict[str, Any]]) -> None:
    event, condition = events
    both, whole = probability({**event, **condition}), probability(condition)
    if whole > 0:
        assert probability(event, condition) * whole == pytest.approx(both, rel=1e-9, abs=1e-15)
        assert probability({**event, **condition}, condition) == pytest.approx(both / whole, rel=1e-9, abs=1e-15)
    else:
        assert both == 0


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(FREE), st.data())
def test_an_event_and_a_condition_on_one_attribute_intersect(name: str, data: st.DataObject) -> None:
    some = st.sets(st.sampled_from(VALUES[name]), min_size=1)
    wanted, condition = data.draw(some), data.draw(some)
    expected = probability({name: wanted & condition}) / probability({name: condition})
    assert probability({name: wanted}, {name: condition}) == pytest.approx(expected, rel=1e-9, abs=1e-15)


@settings(max_examples=200, deadline=None)
@given(
    st.builds(
        Attributes,
        **{name: st.sampled_from(VALUES[name]) for name in (*AXES, "number")},
    ),
    _events(),
)
def test_matching_is_membership_in_the_event(attributes: Attributes, event: dict[str, Any]) -> None:
    assert attributes.matches(event) == _within(attributes, event)


def test_matching_agrees_with_probability() -> None:
    drawn = distribution.draw(np.random.default_rng(8), 1000)
    for event, _ in EVENTS[:40:3] + EVENTS[-6:]:
        p = probability(event)
        share = sum(attributes.matches(event) for attributes in drawn) / len(drawn)
        assert abs(share - p) <= 4 * math.sqrt(p * (1 - p) / len(drawn)) + 1e-12, event


def test_a_reading_that_shows_nothing_matches_only_the_empty_event() -> None:
    nothing = Attributes()
    assert nothing.matches({})
    assert not any(nothing.matches({name: VALUES[name]}) for name in FREE)
    assert nothing.matches({"rainbow": False, "number": None})
    assert nothing.details == ()
    assert Attributes(key=True, rainbow=True).details == ("rainbow", "key")


@pytest.mark.parametrize(
    ("event", "condition", "why"),
    [
        ({"colour": "red"}, {}, "no attribute 'colour' in this world; it has .*'number'"),
        ({}, {"colour": "red"}, "no attribute 'colour'"),
        ({"detail": "snow"}, {}, "no attribute 'detail'"),
        ({"to\npic": "sea"}, {}, r"no attribute 'to\\npic'"),
        ({"topic": "ocean"}, {}, "topic has no value 'ocean'; it has .*'sea'"),
        ({"topic": ["sea", "ocean"]}, {}, "topic has no value 'ocean'"),
        ({"topic": "sea\nmoon"}, {}, r"topic has no value 'sea\\nmoon'"),
        ({"topic": None}, {}, "topic has no value 'None'"),
        ({"topic": ""}, {}, "topic has no value ''"),
        ({"rainbow": "yes"}, {}, "rainbow has no value 'yes'; it has .*'True'"),
        ({"number": 0}, {}, "number has no value '0'"),
        ({"number": 21}, {}, "number has no value '21'"),
        ({"number": "three"}, {}, "number has no value 'three'"),
        ({"topic": "sea"}, {"voice": "pirate"}, "voice has no value 'pirate'"),
        ({"topic": "sea"}, {"topic": []}, "never happens in this world"),
        ({"mood": "calm"}, {"form": "sonnet", "topic": "quantum", "voice": "cat"}, "never happens in this world"),
        ({"mood": "calm"}, {"form": "recipe", "topic": "moon"}, "never happens in this world"),
        ({"mood": "calm"}, {"topic": "moon", "rainbow": True}, "never happens in this world"),
        ({"mood": "calm"}, {"form": "haiku", "number": 3}, "never happens in this world"),
    ],
)
def test_impossible_questions_are_refused(event: dict[str, Any], condition: dict[str, Any], why: str) -> None:
    with pytest.raises(InputError, match=why) as refused:
        probability(event, condition)
    assert "\n" not in str(refused.value)


def test_the_marginal_of_an_unknown_attribute_is_refused() -> None:
    with pytest.raises(InputError, match="no attribute 'colour'") as refused:
        distribution.marginal("colour")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("event", "condition"),
    [
        ({"form": "haiku"}, {"form": "recipe", "number": 3}),
        ({"form": "haiku", "number": 3}, {"form": "recipe"}),
        ({"form": [], "number": 3}, {}),
    ],
)
def test_contradictory_forms_have_probability_zero(event: dict[str, Any], condition: dict[str, Any]) -> None:
    assert probability(event, condition) == 0


def test_matching_an_unknown_attribute_is_refused() -> None:
    with pytest.raises(InputError, match="no attribute 'colour'"):
        Attributes().matches({"colour": "red"})
