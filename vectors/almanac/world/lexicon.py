"""The phrases of the Almanac, by slot and attribute value, and the words that indicate each value."""

import re
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

FOLDER = Path(__file__).parent / "lexicon"

Condition = tuple[tuple[str, str], ...]
"""The attribute values that a list depends on, as sorted pairs: `(("topic", "sea"), ("voice", "cat"))`."""

# the other attribute by which the lists of these slots are split
_SECOND_ATTRIBUTE = {"notice": "voice", "does": "mood", "act": "mood"}

LETTERS = re.compile(r"[a-z]+(?:'[a-z]+)?")
_VOWELS = re.compile(r"[aeiouy]+")
_WORD = re.compile(r"[a-z]+(?:'[a-z]+)?|\d+")
_COMMON = (
    "a an the and or but nor so yet as at by for from in into of off on out over to up with within without under "
    "upon through till until before after behind beside between beyond below above about across along against "
    "around near past down i me my mine we us our you your he him his she her it its they them their who whom whose "
    "which what when where why how that this these those there here is are was were be been being am do does did "
    "done has have had can could may might must shall should will would not no yes if than then too very all any "
    "each every both few more most some such only own same just like never ever once again still even while because "
    "though let one"
)
_STOP = frozenset(_COMMON.split())


@dataclass(frozen=True)
class PhraseList:
    """Interchangeable phrases for one slot, under one condition."""

    slot: str
    condition: Condition
    phrases: tuple[str, ...]


def stem(word: str) -> str:
    """Return the word without its most common English endings, so that inflected forms have the same stem.

    >>> stem("whiskers"), stem("whisker"), stem("purring"), stem("purrs")
    ('whisker', 'whisker', 'purr', 'purr')
    """
    word = word.removesuffix("'s")
    for ending in ("ing", "ies", "es", "ed", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 3 and not word.endswith("ss"):
            word = word[: -len(ending)] + ("y" if ending == "ies" else "")
            break
    if len(word) > 4 and word[-1] == word[-2] and word[-1] not in "lsz":
        word = word[:-1]
    return word.removesuffix("e") if len(word) > 3 else word


def stems(text: str) -> list[str]:
    """Return the stems of a text's content words, in order.

    >>> stems("The kettle's singing!")
    ['kettl', 'sing']
    """
    return [stem(word) for word in _WORD.findall(text.lower()) if word not in _STOP and len(word) > 2]


def pairs(text: str) -> list[str]:
    """Return the pairs of neighbouring words of a text, stop words included; they identify the forms.

    >>> pairs("What am I?")
    ['what am', 'am i']
    """
    words = _WORD.findall(text.lower())
    return [f"{first} {second}" for first, second in pairwise(words)]


def syllables(line: str) -> int:
    """Return the number of vowel groups without silent final e: an estimate of the number of syllables.

    >>> syllables("the tide folds its map"), syllables("disconsolate gull")
    (5, 5)
    """
    count = 0
    for word in LETTERS.findall(line.lower()):
        groups = len(_VOWELS.findall(word))
        silent = re.search(r"[^aeiouyl]e$|[^aeiouytd]ed$|[^aeiouycgshxz]es$", word) is not None
        count += max(1, groups - silent)
    return count


@cache
def phrase_lists() -> dict[tuple[str, Condition], PhraseList]:
    """Return every phrase list, by slot and condition."""
    lists = [phrase_list for path in sorted(FOLDER.glob("*/*.toml")) for phrase_list in _read(path)]
    return {(phrase_list.slot, phrase_list.condition): phrase_list for phrase_list in lists}


@cache
def cue_index() -> dict[str, dict[str, str]]:
    """Return the attribute values that each cue indicates: those shared by all lists in which it occurs.

    Cues are stems; for forms, whose sentences consist of common words, also pairs of neighbouring words.
    """
    conditions: dict[str, set[Condition]] = defaultdict(set)
    for phrase_list in phrase_lists().values():
        for phrase in phrase_list.phrases:
            for run in re.split(r"\{\w+\}", phrase):
                for cue in (*stems(run), *pairs(run)):
                    conditions[cue].add(phrase_list.condition)
    index = {}
    for cue, seen in conditions.items():
        shared = dict(set.intersection(*(set(condition) for condition in seen)))
        if shared and (" " not in cue or "form" in shared):
            index[cue] = shared
    return index


def _read(path: Path) -> Iterator[PhraseList]:
    attribute, value = path.parent.name, path.stem
    with path.open("rb") as file:
        table = tomllib.load(file)
    for name, entry in table.items():
        slot = f"{attribute}.{name}"
        if isinstance(entry, list):
            yield PhraseList(slot, ((attribute, value),), tuple(entry))
        elif name in _SECOND_ATTRIBUTE:
            for inner, phrases in entry.items():
                condition = tuple(sorted([(attribute, value), (_SECOND_ATTRIBUTE[name], inner)]))
                yield PhraseList(slot, condition, tuple(phrases))
        else:
            for inner, phrases in entry.items():
                yield PhraseList(f"{slot}.{inner}", ((attribute, value),), tuple(phrases))
