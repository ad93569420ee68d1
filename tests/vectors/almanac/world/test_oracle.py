"""The oracle reads new entries correctly, also with reordered sentences, and gives None for contradictions."""

import itertools
import random
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vectors.almanac.world import oracle
from vectors.almanac.world.author import Entry
from vectors.almanac.world.distribution import DETAILS, NUMBERED_FORMS, NUMBERS, VALUES, Attributes
from vectors.almanac.world.lexicon import cue_index, phrase_lists
from vectors.almanac.world.oracle import read

SHOWN = ("topic", "voice", "mood", "hour")
PROSE = ("letter", "recipe", "forecast", "riddle", "diary", "notice")
WORDS = sorted({word for reading in phrase_lists().values() for phrase in reading.phrases for word in phrase.split()})


def _agreement(entries: list[Entry]) -> dict[str, float]:
    right: Counter[str] = Counter()
    for made in entries:
        reading, true = asdict(read(made.text)), asdict(made.attributes)
        right.update(name for name in true if reading[name] == true[name])
    return {name: right[name] / len(entries) for name in asdict(Attributes())}


@pytest.mark.slow
def test_readings_agree_with_the_attributes(some_entries: list[Entry]) -> None:
    assert min(_agreement(some_entries).values()) >= 0.995


@pytest.mark.slow
def test_twenty_thousand_readings_agree_with_the_attributes(many_entries: list[Entry]) -> None:
    reading = _agreement(many_entries)
    assert min(reading.values()) >= 0.995
    assert all(reading[name] == 1 for name in (*SHOWN, *DETAILS))  # measured; only sonnets are sometimes not seen


def test_only_forms_of_sonnets_are_missed(some_entries: list[Entry]) -> None:
    wrong = [(made, read(made.text)) for made in some_entries if read(made.text) != made.attributes]
    assert all(made.attributes.form == "sonnet" and reading.form is None for made, reading in wrong)
    sonnets = sum(made.attributes.form == "sonnet" for made in some_entries)
    assert len(wrong) <= 0.02 * sonnets


def _parts(text: str) -> list[str]:
    return text.split("\n") if "\n" in text else re.split(r"(?<=[.!?]) ", text)


def test_the_order_of_sentences_does_not_matter(some_entries: list[Entry]) -> None:
    shuffler = random.Random(1)
    for made in some_entries[:1500]:
        parts = _parts(made.text)
        shuffler.shuffle(parts)
        reading = read(("\n" if "\n" in made.text else " ").join(parts))
        assert [getattr(reading, name) for name in SHOWN] == [getattr(made.attributes, name) for name in SHOWN]
        assert reading.details == made.attributes.details
        if made.attributes.form in PROSE:
            assert (reading.form, reading.number) == (made.attributes.form, made.attributes.number)


@pytest.mark.parametrize("change", [str.upper, str.lower, str.swapcase, lambda text: f"\n  {text}\t\r\n"])
def test_case_and_blanks_around_do_not_matter(some_entries: list[Entry], change: Callable[[str], str]) -> None:
    for made in some_entries[:300]:
        assert read(change(made.text)) == read(made.text)


def test_a_part_of_an_entry_shows_its_values_or_nothing(some_entries: list[Entry]) -> None:
    for made in some_entries[:500]:
        parts = _parts(made.text)
        for left_out in range(len(parts)):
            reading = read("\n".join(parts[:left_out] + parts[left_out + 1 :]))
            for name in SHOWN:
                assert getattr(reading, name) in (None, getattr(made.attributes, name))
            assert set(reading.details) <= set(made.attributes.details)


def test_halves_of_two_entries_show_one_of_the_two_or_nothing(some_entries: list[Entry]) -> None:
    for first, second in itertools.pairwise(some_entries[:1500]):
        one, other = first.text.split(" "), second.text.split(" ")
        reading = read(" ".join(one[: len(one) // 2] + other[len(other) // 2 :]))
        for name in SHOWN:
            values = (getattr(first.attributes, name), getattr(second.attributes, name))
            assert getattr(reading, name) in (None, *values)


def test_two_entries_in_a_row_show_one_of_the_two_or_nothing(some_entries: list[Entry]) -> None:
    read_as_nothing: Counter[str] = Counter()
    differ: Counter[str] = Counter()
    for first, second in itertools.pairwise(some_entries):
        reading = read(f"{first.text}\n{second.text}")
        for name in SHOWN:
            values = (getattr(first.attributes, name), getattr(second.attributes, name))
            assert getattr(reading, name) in (None, *values)
            if values[0] != values[1]:
                differ[name] += 1
                read_as_nothing[name] += getattr(reading, name) is None
            else:
                assert getattr(reading, name) == values[0]
    # Measured: 0.46 of topics, 0.54 of voices, 0.51 of moods, 0.62 of hours; two of three cues are enough to win.
    assert all(read_as_nothing[name] >= 0.4 * differ[name] for name in SHOWN)


@pytest.mark.parametrize("name", SHOWN)
def test_as_many_cues_for_two_values_contradict(name: str) -> None:
    only: dict[str, list[str]] = {}
    for cue, shown in sorted(cue_index().items()):
        if set(shown) == {name} and " " not in cue and oracle.stems(cue) == [cue]:
            only.setdefault(shown[name], []).append(cue)
    for first, second in itertools.permutations(VALUES[name], 2):
        for few in (1, 3):
            text = " . ".join(only[first][: 2 * few - 1] + only[second][:few])
            assert getattr(read(text), name) is None
            text = " . ".join(only[first][: 2 * few] + only[second][:few])
            assert getattr(read(text), name) == first
    assert getattr(read(only[VALUES[name][0]][0]), name) == VALUES[name][0]


def test_a_cue_that_is_repeated_counts_once() -> None:
    assert read("qubit qubit qubit qubit lighthouse").topic is None
    assert read("qubit cryostat lighthouse").topic == "quantum"


@pytest.mark.parametrize("text", ["", " ", "\n\n\n", ".", "\0", "the and of it", "Lorem ipsum dolor sit amet.", "7"])
def test_texts_without_cues_have_no_attributes(text: str) -> None:
    assert read(text) == Attributes()
    assert not oracle.complete(read(text))


def test_a_reading_is_complete_with_four_attributes(some_entries: list[Entry]) -> None:
    assert all(oracle.complete(made.attributes) for made in some_entries)
    assert oracle.complete(Attributes(form="haiku", topic="sea", voice="cat", mood="calm"))
    for name in ("form", "topic", "voice", "mood"):
        full = {"form": "haiku", "topic": "sea", "voice": "cat", "mood": "calm"}
        assert not oracle.complete(Attributes(**{**full, name: None}))  # type: ignore[arg-type]


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(), st.text(alphabet=st.characters()), st.binary().map(lambda raw: raw.decode("latin-1"))))
def test_any_text_is_read(text: str) -> None:
    reading = read(text)
    assert reading == read(text)
    assert all(getattr(reading, name) in (None, *VALUES[name]) for name in ("form", *SHOWN))
    assert all(getattr(reading, detail) in (False, True) for detail in DETAILS)
    assert reading.number is None or (reading.number in NUMBERS and reading.form in NUMBERED_FORMS)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from([*WORDS, "\n", ".", "3", "21", "'", "-", "٣"]), max_size=60))
def test_any_sequence_of_words_is_read(words: list[str]) -> None:
    text = " ".join(words)
    reading = read(text)
    assert reading == read(text)
    for name in SHOWN:
        value = getattr(reading, name)
        assert value is None or any(cue_index().get(cue, {}).get(name) == value for cue in oracle.stems(text))


def test_very_long_texts_are_read(some_entries: list[Entry]) -> None:
    whole = "\n\n".join(made.text for made in some_entries[:1000])
    for text in (
        whole,
        "a" * 200_000,
        "aeiou " * 50_000,
        "\n" * 100_000,
        "7" * 50_000,
        "1 " * 50_000,
        "\U0001f30a" * 9999,
    ):
        assert read(text) == read(text)
    assert read(whole).topic is None


@pytest.mark.parametrize("form", NUMBERED_FORMS)
def test_the_number_is_the_only_integer_from_1_to_20(some_entries: list[Entry], form: str) -> None:
    made = next(made for made in some_entries if made.attributes.form == form)

    def number(written: str) -> int | None:
        return read(re.sub(r"\d+", written, made.text)).number

    assert [number(str(n)) for n in NUMBERS] == list(NUMBERS)
    assert number("7 or 7") == 7
    for written in ("0", "21", "99", "100", "1000", "007 and 8", "7 or 8", "7 or 21", "seven", "", "VII"):
        assert number(written) is None, written
    assert read(f"{made.text} {made.text}").number == made.attributes.number


def test_forms_without_numbers_show_none(some_entries: list[Entry]) -> None:
    for made in some_entries[:500]:
        if made.attributes.form not in NUMBERED_FORMS:
            reading = read(f"{made.text} 7")
            assert reading.number is None
            assert reading.topic == made.attributes.topic


def test_poems_are_recognised_by_their_shape(some_entries: list[Entry]) -> None:
    haiku = next(made.text for made in some_entries if made.attributes.form == "haiku")
    assert read(haiku).form == "haiku"
    assert read(haiku.replace("\n\n", "\n")).form == "haiku"
    assert read(haiku.replace("\n", " ")).form is None
    assert read("\n".join(haiku.split("\n")[:3])).form is None  # three lines are too few
    sonnet = next(made.text for made in some_entries if made.attributes.form == "sonnet" and read(made.text).form)
    assert read(sonnet).form == "sonnet"
    assert read(sonnet.replace("\n", " ")).form is None
    unrhymed = "\n".join(" ".join([*line.split()[:-1], "orange"]) for line in sonnet.split("\n"))
    assert read(unrhymed).form is None
