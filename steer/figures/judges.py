"""Judges tell whether a text has a concept, by its words alone: none of them knows a direction."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from steer.figures.figure import Figure
from steer.figures.intervals import rate
from steer.figures.references import Reference
from vectors.almanac import oracle
from vectors.almanac.concepts import CONCEPTS
from vectors.checks import shown, whole
from vectors.contrast import check_share, shuffled
from vectors.errors import InputError

_FEWEST = 8  # held-out texts of each kind: fewer say nothing about a judge

FEWEST_JUDGED = 4 * _FEWEST
"""Texts of each kind that a judge needs, where it keeps a quarter of them to be measured on."""


@runtime_checkable
class Judge(Protocol):
    """What a judge is: a name, and whether it finds its concept in a text."""

    @property
    def name(self) -> str:
        """What the figures call it."""
        ...

    def accepts(self, text: str) -> bool:
        """Whether the text has the concept."""
        ...


@dataclass(frozen=True)
class OracleJudge:
    """The Almanac's oracle, asked for one of its world's concepts.

    Raises:
        InputError: a concept that its world does not have.

    >>> OracleJudge("cat").accepts("I lick my paw and purr at the moth; my whiskers twitch.")
    True
    """

    concept: str

    def __post_init__(self) -> None:
        """Check the name."""
        if self.concept not in CONCEPTS:
            raise InputError(f"the oracle knows no {shown(self.concept)}: choose from {', '.join(CONCEPTS)}")

    @property
    def name(self) -> str:
        """What the figures call it."""
        return f"oracle: {self.concept}"

    def accepts(self, text: str) -> bool:
        """Whether the text is read so."""
        attribute, value = CONCEPTS[self.concept]
        return bool(getattr(oracle.read(text), attribute) == value)


@dataclass(frozen=True)
class GivenJudge:
    """Whether a text shows one of some values of an attribute, as a world reads it.

    Attributes:
        world: reads texts.
        attribute: which.
        values: any of them will do.
    """

    world: Reference
    attribute: str
    values: tuple[Any, ...]

    @property
    def name(self) -> str:
        """What the figures call it."""
        return f"{self.attribute}: {' or '.join(map(str, self.values))}"

    def accepts(self, text: str) -> bool:
        """Whether the text is read so."""
        return self.world.read(text).get(self.attribute) in self.values


@dataclass(frozen=True)
class AnyJudge:
    """A function of a text as a judge."""

    name: str
    ask: Callable[[str], bool]

    def accepts(self, text: str) -> bool:
        """Whether the function says so."""
        return bool(self.ask(text))


class ClassifierJudge:
    """A logistic regression on runs of words and of letters, fit on labelled texts that the direction never saw.

    A quarter of the texts is kept from the fit, to measure the judge itself on: `accuracy` is the mean of its shares of
    right answers on either kind there, `finds` how often it accepts those that have the concept, `errs` the others;
    `held_out` are those that have it.

    Args:
        name: what it judges.
        positive: texts that have the concept.
        background: texts that need not.
        held_out: share kept to measure the judge on.
        seed: of the split.

    Raises:
        InputError: too few texts of a kind, or scikit-learn is not installed.
    """

    def __init__(
        self, name: str, positive: Sequence[str], background: Sequence[str], *, held_out: float = 0.25, seed: int = 0
    ) -> None:
        self.name = name
        share = check_share(held_out)
        sides = [_split(side, share, whole(seed, "seed")) for side in (set(positive), set(background) - set(positive))]
        for kind, (fit, kept) in zip(("positive", "background"), sides, strict=True):
            if min(len(fit), len(kept)) < _FEWEST:
                least = round(_FEWEST / min(share, 1 - share))
                raise InputError(
                    f"a judge of {shown(name)} has {len(fit) + len(kept)} {kind} texts: give {least} or more"
                )
        fit = [*sides[0][0], *sides[1][0]]
        self._model = fitted(fit, [True] * len(sides[0][0]) + [False] * len(sides[1][0]))
        right = [
            rate(sum(self.accepts(text) is wanted for text in kept), len(kept))
            for (_, kept), wanted in zip(sides, (True, False), strict=True)
        ]
        value = (right[0][0] + right[1][0]) / 2
        below, above = (math.hypot(*(each[0] - each[end] for each in right)) / 2 for end in (1, 2))
        self.finds, self.errs, self.held_out = right[0][0], 1 - right[1][0], tuple(sides[0][1])
        n = sum(len(kept) for _, kept in sides)
        self.accuracy = Figure(
            name="judge's accuracy", value=value, low=value - below, high=value + above, n=n, perfect=1.0, empty=0.5
        )

    def accepts(self, text: str) -> bool:
        """Whether the text more likely has the concept than not, both being as common."""
        return bool(self._model.predict([text])[0])


def judges_of(world: Reference, given: Mapping[str, Any]) -> tuple[Judge, ...]:
    """Return a judge for each attribute of what is given; all of them have to accept."""
    return tuple(
        GivenJudge(world, name, tuple(wanted) if isinstance(wanted, tuple | list | set | frozenset) else (wanted,))
        for name, wanted in given.items()
    )


def _split(texts: set[str], share: float, seed: int) -> tuple[list[str], list[str]]:
    """Texts to fit on and texts kept: it hangs on the texts and the seed, not on their order."""
    order = sorted(texts, key=lambda text: shuffled(text, seed))
    kept = round(len(order) * share)
    return order[kept:], order[:kept]


def fitted(texts: Sequence[str], labels: Sequence[Any]) -> Any:
    """Return a logistic regression on runs of words and of letters that tells labelled texts apart.

    Raises:
        InputError: texts without words, or scikit-learn is not installed.
    """
    try:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline, make_union
    except ImportError as error:
        raise InputError("a classifier needs scikit-learn: pip install 'steer-sampler[measure]'") from error
    runs = make_union(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
        TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True, max_features=50_000),
    )
    model = make_pipeline(runs, LogisticRegression(C=10.0, class_weight="balanced", max_iter=1000))
    try:
        return model.fit(texts, labels)
    except ValueError as error:
        raise InputError(
            f"a classifier learns nothing from these texts ({shown(str(error))}): give whole ones"
        ) from error
