"""Read the attributes of a text from its words and its shape.

A stem is a cue for a value if all phrases of the lexicon that contain it have that value (`lexicon.cue_index`). Each
attribute is decided by the majority of distinct cues, whatever their order and the sentences around them, so that this
also works on a model's output, which mixes and breaks the author's sentences.
"""

import re
from collections import Counter, defaultdict
from functools import cache

from vectors.almanac.world import distribution
from vectors.almanac.world.distribution import Attributes
from vectors.almanac.world.lexicon import LETTERS, cue_index, pairs, phrase_lists, stems, syllables

DOMINANCE = 2.0
"""Smallest ratio of distinct cues between the winning value and the second; below that, the attribute is `None`."""


def read(text: str) -> Attributes:
    """Return the attributes of a text; `None` for an attribute without cues, or with contradictory ones.

    Details are true if a cue for them occurs. The number is the only integer in the text if it is in 1…20 and the form
    has a number.

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
    """Whether form, topic, voice and mood are all known."""
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
    """Return the form: by its cues if there are at least two, else by the shape of the lines (haiku, sonnet)."""
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
    """Whether most lines rhyme with another line."""
    sounds = [_sound(line) for line in lines]
    counts = Counter(sound for sound in sounds if sound)
    return sum(counts[sound] >= 2 for sound in sounds if sound) >= 0.75 * len(lines)


def _sound(line: str) -> str | None:
    words = LETTERS.findall(line.lower())
    return _line_ends().get(words[-1]) if words else None


@cache
def _line_ends() -> dict[str, str]:
    return {
        LETTERS.findall(phrase.lower())[-1]: phrase_list.slot
        for phrase_list in phrase_lists().values()
        if phrase_list.slot.startswith("mood.tail.")
        for phrase in phrase_list.phrases
    }


def _number(text: str) -> int | None:
    numbers = {int(digits) for digits in re.findall(r"(?<![\d.])\d{1,3}(?!\d)", text)}
    return numbers.pop() if len(numbers) == 1 and numbers <= set(distribution.NUMBERS) else None
