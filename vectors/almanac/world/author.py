"""Write entries of the Almanac from attributes, with the exact probability of each entry's derivation."""

import itertools
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np

from vectors.almanac.world import distribution
from vectors.almanac.world.distribution import Attributes
from vectors.almanac.world.lexicon import PhraseList, phrase_lists, stems, syllables
from vectors.common.errors import InputError
from vectors.common.rng import philox

MAX_CHARACTERS = 360
"""A longer entry is rewritten with the same attributes, which keeps nearly all entries below 90 tokens."""

_TRIES = 50  # an entry with three or four details may never be short enough

RHYMES = ("ay", "ight", "oh", "air", "ee", "or", "ill", "old", "ine", "eep")

# The attributes that the phrases of a slot depend on; the first names the list.
_SLOTS = {
    **dict.fromkeys(("thing", "place", "ware"), ("topic",)),
    "notice": ("topic", "voice"),
    "does": ("topic", "mood"),
    **dict.fromkeys(("says", "aside", "like", "sign"), ("voice",)),
    "act": ("voice", "mood"),
    **dict.fromkeys(("adj", "adv", "feel", "wish"), ("mood",)),
    **dict.fromkeys(("when", "scene"), ("hour",)),
}
_SLOT = re.compile(r"\{(\w+)\}")
_OPEN_ENDED = re.compile(r"\{(notice|does|thing|like|place|feel)\}\.$")
_SENTENCE_START = re.compile(r"(^|[.!?]\s+|\n)([a-z])")


@dataclass(frozen=True)
class Entry:
    """An entry: its text, its attributes, and the log-probability of its derivation in nats.

    `log_prob` is log p(attributes) + log p(derivation | attributes). The probability of the text is at least its
    exponential, since other derivations of the same text and the rewriting of long entries only add to it.
    """

    text: str
    attributes: Attributes
    log_prob: float


def entry(seed: int, index: int, attributes: Attributes | None = None) -> Entry:
    """Return entry `index` of stream `seed`; with `attributes`, an entry that has exactly those.

    The entry is a pure function of the arguments.

    Raises:
        InputError: a number for a form without numbers, or no number for a form with one.

    >>> entry(0, 5) == entry(0, 5)
    True
    """
    if attributes and (attributes.number is None) == (attributes.form in distribution.NUMBERED_FORMS):
        numbered = ", ".join(distribution.NUMBERED_FORMS)
        raise InputError(f"a {attributes.form} with number {attributes.number}: only {numbered} have a number")
    rng = philox(seed, index)
    drawn = distribution.draw(rng, 1)[0]
    shortest = _Author(attributes or drawn, rng).write()
    for _ in range(_TRIES):
        if len(shortest.text) <= MAX_CHARACTERS:
            break
        rewritten = _Author(attributes or drawn, rng).write()
        shortest = min(shortest, rewritten, key=lambda entry: len(entry.text))
    return shortest


def stream(seed: int, start: int = 0) -> Iterator[Entry]:
    """Yield the entries `start`, `start + 1`, … of a seed without end."""
    index = start
    while True:
        yield entry(seed, index)
        index += 1


class _Author:
    """Writes one entry and sums the log-probabilities of its random choices."""

    def __init__(self, attributes: Attributes, rng: np.random.Generator) -> None:
        self.attributes = attributes
        self.rng = rng
        self.log_prob = _log_prior(attributes)
        self.used: dict[PhraseList, set[int]] = defaultdict(set)
        self.things: set[str] = set()

    def write(self) -> Entry:
        form = self.attributes.form
        text = self._sonnet() if form == "sonnet" else self._haiku() if form == "haiku" else self._prose()
        return Entry(text, self.attributes, self.log_prob)

    def _prose(self) -> str:
        plan = self._pick("form.plan", "form")
        middle = [self._pick("form.acts", "form")]
        for detail in self.attributes.details:
            middle.append(self._pick("form.happens", "form").replace("{detail}", "{detail_" + detail + "}"))
        if len(middle) == 1:
            middle.append(self._pick("form.shows", "form"))
        if "{middle}" in plan and len(middle) == 2:
            middle.append(self._pick(("form.acts", "form.shows")[self._uniform(2)], "form"))
        middle = self._shuffled(middle)
        open_ended = [i for i, sentence in enumerate(middle) if _OPEN_ENDED.search(sentence)]
        if open_ended:  # mention the hour a second time: models do not learn it from a single phrase
            i = open_ended[self._uniform(len(open_ended))]
            middle[i] = f"{middle[i][:-1]}, {{when}}."
        text = self._fill(re.sub(r"\{middle\}|\{short\}", " ".join(middle), plan))
        text = _SENTENCE_START.sub(lambda match: match[1] + match[2].upper(), text)
        return text[0].upper() + text[1:]

    def _sonnet(self) -> str:
        fillers = ("topic", "voice")
        roles = self._roles((*fillers, "hour"), fillers, length=4, multiple=2)
        families = [RHYMES[i] for i in self._sample(len(RHYMES), len(roles) // 2)]
        lines = []
        for i, role in enumerate(roles):
            tail = self._pick(f"mood.tail.{families[i // 2]}", "mood")
            line = f"{self._line(role, 'half')}, {tail}"
            lines.append(line[0].upper() + line[1:] + (".", ",", ";", ",")[0 if i + 1 == len(roles) else 1 + i % 2])
        return "\n".join(lines)

    def _haiku(self) -> str:
        thirds = ["hour", "mood", *self.attributes.details]
        thirds = self._shuffled(thirds if len(thirds) > 2 else ["hour", *thirds])
        stanzas = []
        for third in thirds:
            roles = self._shuffled(["topic", "voice", third])
            lines = [self._haiku_line(role, 7 if i == 1 else 5) for i, role in enumerate(roles)]
            stanzas.append("\n".join(lines))
        return "\n\n".join(stanzas)

    def _haiku_line(self, role: str, size: int) -> str:
        """Return a line of `size` syllables.

        Two thirds of the lines about the topic, or all in a haiku with details, name a thing with a word of the mood.
        """
        slot = "seven" if size == 7 else "five"
        if role != "topic" or (not self.attributes.details and self._one_in(3)):
            return self._line(role, slot)
        thing = self._thing_with_mood(size if size == 5 else 4)
        if thing is None:
            return self._line(role, slot)
        return thing if size == 5 else f"the {thing}, {self._pick('mood.adj', 'mood', size=2)}"

    def _thing_with_mood(self, size: int) -> str | None:
        """Return an adjective of the mood and a thing of the topic with `size` syllables, uniform over all such pairs.

        None if a haiku with many details has used them all.
        """
        adjectives, things = self._list("mood.adj", "mood"), self._list("topic.thing", "topic")
        used_adjectives, used_things = self.used[adjectives], self.used[things]
        free = [
            (i, j)
            for i, j in _pairs_of_size(adjectives, things, size)
            if i not in used_adjectives and j not in used_things
        ]
        if not free:
            return None
        i, j = free[self._uniform(len(free))]
        used_adjectives.add(i)
        used_things.add(j)
        return f"{adjectives.phrases[i]} {things.phrases[j]}"

    def _roles(self, must: tuple[str, ...], fillers: tuple[str, ...], length: int, multiple: int) -> list[str]:
        """Return what each line of a poem is about: all of `must`, all details, and fillers to complete the stanzas."""
        roles = [*must, *self.attributes.details]
        while len(roles) < length or len(roles) % multiple:
            roles.append(fillers[self._uniform(len(fillers))])
        return self._shuffled(roles)

    def _line(self, role: str, slot: str) -> str:
        if role in distribution.DETAILS:
            return self._pick(f"detail.{slot}", "detail", detail=role)
        return self._pick(f"{role}.{slot}", role)

    def _fill(self, frame: str) -> str:
        return _SLOT.sub(lambda slot: self._word(slot[1]), frame)

    def _word(self, slot: str) -> str:
        if slot == "n":
            self.log_prob -= math.log(len(distribution.NUMBERS))
            return str(self.attributes.number)
        if slot.startswith("detail_"):
            return self._pick("detail.line", "detail", detail=slot.removeprefix("detail_"))
        if slot in _SLOTS:
            owner, *others = _SLOTS[slot]
            return self._pick(f"{owner}.{slot}", owner, *others)
        return self._fill(self._pick(f"form.{slot}", "form"))

    def _pick(self, slot: str, *depends: str, detail: str | None = None, size: int | None = None) -> str:
        """Return an unused phrase for a slot and the entry's attributes, of `size` syllables if given."""
        phrase_list = self._list(slot, *depends, detail=detail)
        phrases, used = phrase_list.phrases, self.used[phrase_list]
        free = [i for i in range(len(phrases)) if i not in used]
        if size:
            sizes = _sizes(phrase_list)
            free = [i for i in free if sizes[i] == size]
        if slot == "topic.does":  # avoid "the acorn tosses acorns"
            free = [i for i in free if self.things.isdisjoint(_stem_set(phrases[i]))] or free
        chosen = free[self._uniform(len(free))]
        used.add(chosen)
        if slot == "topic.thing":
            self.things.update(_stem_set(phrases[chosen]))
        return phrases[chosen]

    def _list(self, slot: str, *depends: str, detail: str | None = None) -> PhraseList:
        values = {name: getattr(self.attributes, name) for name in depends if name != "detail"}
        if detail:
            values["detail"] = detail
        return phrase_lists()[slot, tuple(sorted(values.items()))]

    def _uniform(self, n: int) -> int:
        self.log_prob -= math.log(n)
        return int(self.rng.integers(n))

    def _one_in(self, n: int) -> bool:
        hit = int(self.rng.integers(n)) == 0
        self.log_prob += math.log(1 / n if hit else 1 - 1 / n)
        return hit

    def _sample(self, n: int, k: int) -> list[int]:
        self.log_prob -= math.log(math.perm(n, k))
        return [int(i) for i in self.rng.permutation(n)[:k]]

    def _shuffled(self, items: list[str]) -> list[str]:
        orders = math.factorial(len(items))
        for repeats in Counter(items).values():
            orders //= math.factorial(repeats)
        self.log_prob -= math.log(orders)
        return [items[i] for i in self.rng.permutation(len(items))]


@cache
def _sizes(phrase_list: PhraseList) -> tuple[int, ...]:
    return tuple(syllables(phrase) for phrase in phrase_list.phrases)


@cache
def _pairs_of_size(first: PhraseList, second: PhraseList, size: int) -> tuple[tuple[int, int], ...]:
    sizes = itertools.product(enumerate(_sizes(first)), enumerate(_sizes(second)))
    return tuple((i, j) for (i, m), (j, n) in sizes if m + n == size)


@cache
def _stem_set(phrase: str) -> frozenset[str]:
    return frozenset(stems(phrase))


def _log_prior(attributes: Attributes) -> float:
    table = distribution.joint()
    cell = tuple(values.index(getattr(attributes, name)) for name, values in distribution.VALUES.items())
    return math.log(table[cell]) if table[cell] > 0 else -math.inf
