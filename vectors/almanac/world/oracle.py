"""Reads the attributes back from a text, by its words and its shape alone.

A stem is a cue for a value when everything the Almanac's author may write with it has that value (`lexicon.cue_index`).
The reading is by majority of distinct cues, whatever their order and whichever frames they stand in, so that it also
reads a model's output, which mixes frames and breaks them.
"""

import re
from collections import Counter, defaultdict
from functools import cache

from vectors.almanac.world import distribution
from vectors.almanac.world.distribution import Attributes
from vectors.almanac.world.lexicon import LETTERS, cue_index, pairs, phrase_lists, stems, syllables

DOMINANCE = 2.0
"""How many times more distinct cues the winning value needs than the runner-up; below that, the text is at odds."""


def read(text: str) -> Attributes:
    """The attributes that a text shows; `None` where it shows nothing or contradicts itself.

    A pure function of the text. Details are true when a cue for them occurs. The number is the one integer of 1…20
    that stands in a text of a form that has numbers.

    >>> read("").topic is None
    True
    """
    votes = _votes(text)
    form = _form(text, votes["form"])
    details = {detail: bool(votes["detail"][detail]) for detail in distribution.DETAILS}
    return Attributes(
        form=form,
        topic=_winner(votes["topic"]),
        voice=_winner(votes["voice"]),
        mood=_winner(votes["mood"]),
        hour=_winner(votes["hour"]),
        number=_number(text) if form in distribution.NUMBERED_FORMS else None,
        **details,
    )


def complete(attributes: Attributes) -> bool:
    """Whether form, topic, voice and mood were all read."""
    return None not in (attributes.form, attributes.topic, attributes.voice, attributes.mood)


def _votes(text: str) -> dict[str, Counter[str]]:
    votes: dict[str, Counter[str]] = defaultdict(Counter)
    cues = cue_index()
    for cue in {*stems(text), *pairs(text)}:
        for attribute, value in cues.get(cue, {}).items():
            votes[attribute][value] += 1
    return votes


def _winner(votes: Counter[str]) -> str | None:
    ranked = votes.most_common(2)
    if not ranked:
        return None
    if len(ranked) == 2 and ranked[0][1] < DOMINANCE * ranked[1][1]:
        return None
    return ranked[0][0]


def _form(text: str, votes: Counter[str]) -> str | None:
    """Verse by its shape, short lines in stanzas or longer rhymed ones; prose by its words, two of them at least."""
    lines = [line for line in text.split("\n") if line.strip()]
    sizes = [syllables(line) for line in lines]
    if votes.total() > 1:
        return _winner(votes)
    if len(lines) < 4 or max(sizes) > 15:
        return None
    mean = sum(sizes) / len(sizes)
    if mean <= 7.2 and len(lines) % 3 == 0:
        return "haiku"
    return "sonnet" if mean >= 7.8 and _rhymed(lines) else None


def _rhymed(lines: list[str]) -> bool:
    """Whether most lines end on a sound that another line ends on."""
    sounds = [_sound(line) for line in lines]
    counts = Counter(sound for sound in sounds if sound)
    return sum(counts[sound] >= 2 for sound in sounds if sound) >= 0.75 * len(lines)


def _sound(line: str) -> str | None:
    words = LETTERS.findall(line.lower())
    return _line_ends().get(words[-1]) if words else None


@cache
def _line_ends() -> dict[str, str]:
    return {
        LETTERS.findall(phrase.lower())[-1]: found.slot
        for found in phrase_lists().values()
        if found.slot.startswith("mood.tail.")
        for phrase in found.phrases
    }


def _number(text: str) -> int | None:
    found = {int(digits) for digits in re.findall(r"(?<![\d.])\d{1,3}(?!\d)", text)}
    return found.pop() if len(found) == 1 and found <= set(distribution.NUMBERS) else None
