"""Contrast sets: texts that have a concept, and background texts of the same kind that need not have it."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from vectors.common.errors import InputError
from vectors.common.validation import check_integer, check_number, quote


@dataclass(frozen=True)
class ContrastSet:
    """Texts that have a concept (`positive`) and texts of the same kind that need not have it (`background`).

    Attributes:
        positive, background: The texts.
        paired: Whether the positive and the background text at the same index are two versions of one text.
        weights: Weight of each text, 1 by default.

    Raises:
        InputError: A side is empty or not a list of texts, a text is blank, both sides hold the same texts, paired
            sides have different lengths, or a weight is negative or of a text that is on neither side.

    >>> from vectors import ContrastSet
    >>> storms = ContrastSet(positive=("thunder rolls", "hail again"), background=("a calm day", "mild and dry"))
    >>> fit, held_out = storms.split(held_out=0.5)
    >>> len(fit.positive), len(held_out.background)
    (1, 1)
    """

    positive: Sequence[str]
    background: Sequence[str]
    paired: bool = False
    weights: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the sides and weights, and make the sides tuples."""
        for side in ("positive", "background"):
            object.__setattr__(self, side, _texts(getattr(self, side), side))
        if set(self.positive) == set(self.background):
            raise InputError(
                "positive and background hold the same texts: give background texts without the concept as well"
            )
        if self.paired and len(self.positive) != len(self.background):
            raise InputError(
                f"there are {len(self.positive)} positive and {len(self.background)} background texts, which are no "
                "pairs: give as many of each, in the same order"
            )
        object.__setattr__(self, "weights", self._checked_weights())

    def _checked_weights(self) -> dict[str, float]:
        if not isinstance(self.weights, Mapping):
            raise InputError(f"weights is {quote(self.weights)}: give a mapping from texts to numbers")
        texts = {*self.positive, *self.background}
        weights = {}
        for text, weight in self.weights.items():
            if text not in texts:
                raise InputError(f"weights names {quote(text)}, which is none of the texts: leave it out")
            weights[text] = check_number(weight, f"the weight of {quote(text)}")
            if weights[text] < 0:
                raise InputError(f"the weight of {quote(text)} is {weights[text]:g}: give 0 or more")
        for side in ("positive", "background"):
            if not any(weights.get(text, 1.0) for text in getattr(self, side)):
                raise InputError(f"every {side} text has weight 0: give at least one more")
        return weights

    @cached_property
    def hash(self) -> str:
        """SHA-256 of both sides in hexadecimal; it does not depend on the order of the texts or pairs."""
        content = hashlib.sha256()
        if self.paired:  # which texts form a pair
            content.update(json.dumps(sorted(zip(self.positive, self.background, strict=True))).encode())
        if self.weights:
            content.update(json.dumps(sorted(self.weights.items())).encode())
        for side in (self.positive, self.background):
            content.update(len(side).to_bytes(8, "little"))
            for text in sorted(side):
                data = text.encode()
                content.update(len(data).to_bytes(8, "little") + data)
        return content.hexdigest()

    def split(self, *, held_out: float = 0.25, seed: int = 0) -> tuple["ContrastSet", "ContrastSet"]:
        """Split each side and return `(fit, held_out)`, with a share of about `held_out` in the second part.

        Whether a text is held out depends only on the text and the seed (see `is_held_out`), except that each part
        gets at least one text of each side. Copies of a text stay together. The positive text decides for a pair.

        Raises:
            InputError: The share is not between 0 and 1, or a side has fewer than two different texts.
        """
        share, seed = check_share(held_out), check_integer(seed, "seed")
        if self.paired:
            return self._split_pairs(share, seed)
        fit_sides, held_out_sides = {}, {}
        for side in ("positive", "background"):
            texts: tuple[str, ...] = getattr(self, side)
            held_out_texts = _held_out_texts(texts, side, share, seed)
            fit_sides[side] = tuple(text for text in texts if text not in held_out_texts)
            held_out_sides[side] = tuple(text for text in texts if text in held_out_texts)
        return self._part(**fit_sides), self._part(**held_out_sides)

    def _split_pairs(self, share: float, seed: int) -> tuple["ContrastSet", "ContrastSet"]:
        held_out_texts = _held_out_texts(self.positive, "positive", share, seed)
        parts = []
        for held_out in (False, True):
            pairs = [
                (positive, background)
                for positive, background in zip(self.positive, self.background, strict=True)
                if (positive in held_out_texts) == held_out
            ]
            parts.append(self._part(positive=[pair[0] for pair in pairs], background=[pair[1] for pair in pairs]))
        return parts[0], parts[1]

    def _part(self, *, positive: Sequence[str], background: Sequence[str]) -> "ContrastSet":
        texts = {*positive, *background}
        weights = {text: weight for text, weight in self.weights.items() if text in texts}
        return ContrastSet(positive, background, paired=self.paired, weights=weights)


def _held_out_texts(texts: Sequence[str], side: str, share: float, seed: int) -> set[str]:
    """Return the texts to hold out: at least one, and not all."""
    ranked = sorted(set(texts), key=lambda text: shuffle_key(text, seed))
    if len(ranked) < 2:
        raise InputError(
            f"{side} has {len(ranked)} different text: a split needs at least 2 on each side, so give more texts"
        )
    n_held_out = sum(is_held_out(text, share=share, seed=seed) for text in ranked)
    return set(ranked[: min(max(n_held_out, 1), len(ranked) - 1)])


def is_held_out(text: str, *, share: float, seed: int) -> bool:
    """Return whether a split with this share and seed holds a text out, independently of all other texts.

    >>> sum(is_held_out(str(text), share=0.25, seed=0) for text in range(1000))
    250
    """
    return int.from_bytes(shuffle_key(text, seed)[:8], "big") < share * 2**64


def check_share(held_out: object) -> float:
    """Check the share of texts to hold out and return it.

    Raises:
        InputError: It is not a number between 0 and 1, both excluded.
    """
    share = check_number(held_out, "held_out")
    if not 0.0 < share < 1.0:
        raise InputError(f"held_out is {share:g}: give a share between 0 and 1, such as 0.25")
    return share


def pick_texts(texts: Iterable[str], n: int, seed: int) -> list[str]:
    """Return the first `n` texts in the order of `shuffle_key`, or all if there are fewer."""
    return sorted(texts, key=lambda text: shuffle_key(text, seed))[:n]


def shuffle_key(text: str, seed: int) -> bytes:
    """Return a sort key that depends only on the text and the seed, and puts texts in a random order."""
    return hashlib.sha256(f"{seed}:{text}".encode()).digest()


def _texts(value: object, side: str) -> tuple[str, ...]:
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        raise InputError(f"{side} is {quote(value)}: give a list of texts")
    texts = tuple(value)
    for index, text in enumerate(texts):
        if not isinstance(text, str) or not text.strip():
            raise InputError(f"text {index} of {side} is {quote(text)}: give texts that are not blank")
        check_encodable(text, f"text {index} of {side}")
    if not texts:
        raise InputError(
            f"{side} is empty: a contrast set needs texts with the concept and background texts without it"
        )
    return texts


def check_encodable(text: str, where: str) -> None:
    """Raise InputError if a text, at `where` in the input, cannot be encoded as UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"{where} holds half of a surrogate pair at character {error.start + 1}: repair or drop it"
        ) from error
