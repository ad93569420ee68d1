"""The lists have enough phrases, and each phrase indicates the values of its list and fits its slot."""

import re
from collections import Counter, defaultdict

import pytest

from vectors.almanac.world.author import RHYMES
from vectors.almanac.world.distribution import DETAILS, VALUES
from vectors.almanac.world.lexicon import PhraseList, cue_index, pairs, phrase_lists, stem, stems, syllables

LISTS = list(phrase_lists().values())
VERSE = ("haiku", "sonnet")
PHRASES = [entry for entry in LISTS if not entry.slot.startswith("form.")]
FRAMES = [entry for entry in LISTS if entry.slot.startswith("form.")]
SLOTS = {
    "topic": {"thing", "place", "ware", "notice", "does", "five", "seven", "half"},
    "voice": {"says", "aside", "like", "sign", "act", "five", "seven", "half"},
    "mood": {"adj", "adv", "feel", "wish", "five", "seven", *(f"tail.{family}" for family in RHYMES)},
    "hour": {"when", "scene", "five", "seven", "half"},
    "detail": {"line", "five", "seven", "half"},
}
FILLED = {"n", "detail", "middle", "short", *(slot for slots in SLOTS.values() for slot in slots if "." not in slot)}


def _of(slot: str) -> list[str]:
    return [phrase for entry in LISTS if entry.slot == slot for phrase in entry.phrases]


def test_every_value_has_its_lists() -> None:
    for attribute, slots in SLOTS.items():
        for value in DETAILS if attribute == "detail" else VALUES[attribute]:
            mine = [entry for entry in LISTS if (attribute, value) in entry.condition]
            assert {entry.slot.removeprefix(f"{attribute}.") for entry in mine} >= slots
    for slot, inner, other in (("notice", "voice", "topic"), ("does", "mood", "topic"), ("act", "mood", "voice")):
        conditions = {entry.condition for entry in LISTS if entry.slot == f"{other}.{slot}"}
        assert len(conditions) == len(VALUES[inner]) * len(VALUES[other])
    assert {dict(entry.condition)["form"] for entry in FRAMES} == {f for f in VALUES["form"] if f not in VERSE}
    assert all(len(entry.phrases) >= 2 for entry in LISTS)


@pytest.mark.parametrize("attribute", ["topic", "voice", "mood", "hour", "detail", "form"])
def test_every_value_has_forty_cues_of_its_own(attribute: str) -> None:
    cues: Counter[str] = Counter()
    for cue, shown in cue_index().items():
        if attribute in shown and (attribute == "form" or " " not in cue):
            cues[shown[attribute]] += 1
    values = DETAILS if attribute == "detail" else [value for value in VALUES[attribute] if value not in VERSE]
    assert set(cues) == set(values)
    assert min(cues.values()) >= 40


def test_every_phrase_indicates_the_values_of_its_list() -> None:
    for entry in PHRASES:
        for phrase in entry.phrases:
            shown: dict[str, set[str]] = defaultdict(set)
            for cue in stems(phrase):
                for attribute, value in cue_index().get(cue, {}).items():
                    shown[attribute].add(value)
            for attribute, value in entry.condition:
                assert shown[attribute] == {value}, (entry.slot, entry.condition, phrase)
            assert set(shown) == set(dict(entry.condition)), (entry.slot, phrase)  # and nothing else


def test_every_frame_indicates_its_form_or_none() -> None:
    for entry in FRAMES:
        for phrase in entry.phrases:
            runs = re.split(r"\{\w+\}", phrase)
            shown = {
                (attribute, value)
                for run in runs
                for cue in (*stems(run), *pairs(run))
                for attribute, value in cue_index().get(cue, {}).items()
            }
            assert shown <= set(entry.condition), (entry.slot, phrase)


def test_no_phrase_occurs_twice() -> None:
    counts = Counter(phrase.lower() for entry in PHRASES for phrase in entry.phrases)
    assert [phrase for phrase, count in counts.items() if count > 1] == []
    owners: dict[str, set[object]] = defaultdict(set)
    for entry in FRAMES:
        assert len(set(entry.phrases)) == len(entry.phrases)
        if entry.slot != "form.plan":
            for phrase in entry.phrases:
                owners[phrase].add(entry.condition)
    assert all(len(conditions) == 1 for conditions in owners.values())


@pytest.mark.parametrize(
    "entry",
    PHRASES,
    ids=lambda entry: f"{entry.slot}-{'-'.join(v for _, v in entry.condition)}",
)
def test_phrases_fit_their_slots(entry: PhraseList) -> None:
    slot = entry.slot.split(".")[1]
    for phrase in entry.phrases:
        assert phrase.isascii()
        assert re.fullmatch(r"[A-Za-z][A-Za-z ',\-.:!?;]*", phrase), phrase  # no digit, no bracket
        assert phrase == " ".join(phrase.split())
        first, last = phrase.split()[0].lower(), phrase[-1]
        assert (last in ",:;") if slot == "says" else last.isalpha(), phrase
        if slot not in ("says", "five", "seven"):
            assert not re.search(r"[.:!?]", phrase), phrase  # it is part of a sentence
        if slot in ("thing", "adj", "ware"):
            assert first not in ("a", "an", "the", "my", "some"), phrase
        if slot in ("thing", "adj"):
            assert len(phrase.split()) <= 3, phrase
        if slot == "like":
            assert first in ("like", "as"), phrase
        if slot == "act":
            assert first not in ("i", "to", "the", "a"), phrase
            assert not re.search(r"(?<!s)s$", first), phrase  # first person
        if slot == "does":
            assert re.search(r"(?:s|ly),?$", first), phrase  # third person, perhaps after an adverb
        if slot == "place":
            assert first not in ("a", "an", "the"), phrase
        if slot == "tail":
            assert 2 <= len(phrase.split()) <= 5, phrase


def test_frames_use_existing_slots() -> None:
    own = {entry.slot.removeprefix("form.") for entry in FRAMES}
    for entry in FRAMES:
        for phrase in entry.phrases:
            assert phrase.isascii()
            assert not re.search(r"\d|  |^ | $", phrase)
            slots = re.findall(r"\{(\w+)\}", phrase)
            assert set(slots) <= FILLED | own, phrase
            assert re.sub(r"\{\w+\}", "", phrase).count("{") == 0
            name = entry.slot.removeprefix("form.")
            if name == "number":
                assert slots == ["n"], phrase
            if name == "happens":
                assert slots == ["detail"], phrase
            if name in ("acts", "shows", "happens", "number", "take"):
                assert phrase[-1] in ".?", phrase


def test_frames_of_numbered_forms_contain_the_number() -> None:
    for entry in FRAMES:
        if entry.slot == "form.plan":
            numbered = dict(entry.condition)["form"] in ("recipe", "forecast", "notice")
            assert all(plan.count("{number}") == numbered for plan in entry.phrases)
            assert all(("{middle}" in plan) + ("{short}" in plan) == 1 for plan in entry.phrases)


def test_lines_of_haiku_have_five_and_seven_syllables() -> None:
    # These two are correct, but have another number of vowel groups.
    miscounted = {"bridesmaids whisper down the aisle", "the Pleiades, spilled like pins"}
    for entry in PHRASES:
        beats = {"five": 5, "seven": 7}.get(entry.slot.split(".")[1])
        for phrase in entry.phrases if beats else ():
            assert beats is not None
            assert phrase in miscounted or abs(syllables(phrase) - beats) <= 1, phrase


def test_half_lines_have_similar_lengths() -> None:
    counts = Counter(syllables(phrase) for entry in PHRASES for phrase in entry.phrases if "half" in entry.slot)
    assert sum(count for n, count in counts.items() if 5 <= n <= 7) >= 0.98 * counts.total()


def test_rhymes_end_on_words_of_one_family() -> None:
    ends: dict[str, set[str]] = defaultdict(set)
    for mood in VALUES["mood"]:
        for family in RHYMES:
            phrases = phrase_lists()[f"mood.tail.{family}", (("mood", mood),)].phrases
            last = [phrase.split()[-1] for phrase in phrases]
            assert len(phrases) >= 4
            assert len(set(last)) == len(last)
            for word in last:
                ends[word].add(family)
    assert all(len(families) == 1 for families in ends.values())


def test_no_phrase_contains_cues_of_forms() -> None:
    weekdays = {"monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"}
    known = weekdays | {"dear", "dearest", "tomorrow", "forecast", "riddle", "recipe", "diary", "notice"}
    for entry in PHRASES:
        for phrase in entry.phrases:
            assert not known & set(re.findall(r"[a-z]+", phrase.lower())), phrase


@pytest.mark.parametrize(
    ("words", "root"),
    [
        (("purr", "purrs", "purred", "purring"), "purr"),
        (("whisker", "whiskers", "whisker's"), "whisker"),
        (("cherry", "cherries"), "cherry"),
        (("kettle", "kettles", "kettle's"), "kettl"),
        (("cabin", "cabins"), "cabin"),
        (("nap", "naps"), "nap"),
        (("bless", "glass"), None),
    ],
)
def test_inflected_forms_have_the_same_stem(words: tuple[str, ...], root: str | None) -> None:
    assert {stem(word) for word in words} == ({root} if root else set(words))


def test_stems_and_pairs_of_a_text() -> None:
    assert stems("The tide -- and THE gulls' tide!") == ["tid", "gull", "tid"]
    assert stems("it is 12 or so") == []
    assert pairs("Name me. Now!") == ["name me", "me now"]
    assert pairs("alone") == pairs("") == []
