"""What the embedded world knows of a run: its oracle as judge, its exact shares, its own entries."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from steer.composition.steering_point import SteeringPoint
from steer.judges.evaluation_set import PROBED, EvaluationSet
from steer.judges.judge import Judge, judges_of
from steer.judges.reference import Reading
from vectors.almanac.concepts import CONCEPTS
from vectors.almanac.world import distribution, oracle
from vectors.almanac.world.author import entry
from vectors.common.errors import InputError
from vectors.common.paths import EMBEDDED_NAME
from vectors.common.validation import quote
from vectors.model.residual_model import ResidualModel

REAL = 500
"""Real texts that are drawn at least, where they are the Almanac's own."""


def almanac_evaluation_set(doses: Mapping[str, float], *, n: int = 0, seed: int = 0) -> EvaluationSet:
    """Return what the Almanac says of a run with these doses: its oracle, its exact shares, entries by its author.

    Args:
        doses: of the run, by the concepts' names.
        n: texts of the run; there are as many real ones, `REAL` at least.
        seed: of the real texts.

    Raises:
        InputError: a concept that the Almanac does not have, or concepts that no entry can have at once.
    """
    given, touched = conditions_of_doses(doses)
    distribution = Almanac()
    judges = judges_of(distribution, given)
    real = tuple(distribution.texts(given, max(n, REAL), seed=seed))
    others = tuple(distribution.texts({}, PROBED, seed=(seed + 1) % 2**64)) if judges else ()
    return EvaluationSet(
        judges=judges, reference=distribution, given=given, touched=frozenset(touched), real=real, background=others
    )


def has_concepts(doses: Mapping[str, float]) -> bool:
    """Whether the Almanac has all these concepts."""
    return all(name in CONCEPTS for name in doses)


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
            raise InputError(f"the oracle knows no {quote(self.concept)}: choose from {', '.join(CONCEPTS)}")

    @property
    def name(self) -> str:
        """What the figures call it."""
        return f"oracle: {self.concept}"

    def accepts(self, text: str) -> bool:
        """Whether the text is read so."""
        attribute, value = CONCEPTS[self.concept]
        return bool(getattr(oracle.read(text), attribute) == value)


_REAL = 1 << 42  # added to the seed: entries that nothing was trained on


class Almanac:
    """The world of the embedded model, whose shares are known exactly.

    Where a condition never happens since no training entry has it, the truth is what the world's rates alone say.
    """

    attributes = (*distribution.VALUES, "number")
    whole = True

    def read(self, text: str) -> Reading:
        """Return what the oracle reads; only a text of a form with a number has that attribute."""
        found = oracle.read(text)
        numbered = found.form in distribution.NUMBERED_FORMS
        return {name: getattr(found, name) for name in self.attributes if numbered or name != "number"}

    def shares(self, attribute: str, given: Mapping[str, Any]) -> tuple[dict[Any, float], int | None]:
        """Return the exact conditional shares; a number's are those in the forms that have one.

        Raises:
            InputError: an attribute or value that the world does not have, or a condition that never happens in it.
        """
        if attribute == "number":
            return dict.fromkeys(distribution.NUMBERS, 1 / len(distribution.NUMBERS)), None
        return distribution.marginal(attribute, given, beyond=unseen(given)), None

    def unread(self, attribute: str, given: Mapping[str, Any]) -> float:
        """Return 0: the oracle reads every attribute of an entry."""
        return 0.0

    def texts(self, given: Mapping[str, Any], n: int, *, seed: int = 0) -> list[str]:
        """Return `n` entries of the world, by its own author, in which `given` holds.

        Raises:
            InputError: an attribute or value that the world does not have, or a condition that never happens in it.
        """
        drawn = distribution.draw(np.random.default_rng(seed), n, given, beyond=unseen(given))
        return [entry((seed + _REAL) % 2**64, index, each).text for index, each in enumerate(drawn)]


def unseen(given: Mapping[str, Any]) -> bool:
    """Whether no entry that the embedded model learned from has this, although the world's rates allow it."""
    if distribution.probability(given):
        return False
    return distribution.probability(given, beyond=True) > 0


def conditions_of_doses(doses: Mapping[str, float]) -> tuple[dict[str, Any], set[str]]:
    """Return what a run's doses make of the Almanac: what is given, and every attribute that was steered either way.

    A negative dose asks for every other value of its attribute; of several positive ones of one attribute, any will do.

    Raises:
        InputError: a concept that the Almanac does not have.

    >>> conditions_of_doses({"waterfall": 1.0, "rainbow": -0.5})[0]
    {'topic': 'waterfall', 'rainbow': False}
    """
    wanted: dict[str, list[Any]] = {}
    unwanted: dict[str, list[Any]] = {}
    touched = set()
    for name, dose in doses.items():
        if name not in CONCEPTS:
            raise InputError(f"the Almanac has no concept {quote(name)}: say with `given` what the texts are to have")
        attribute, value = CONCEPTS[name]
        touched.add(attribute)
        if dose:
            (wanted if dose > 0 else unwanted).setdefault(attribute, []).append(value)
    for attribute, values in unwanted.items():
        rest = [value for value in distribution.VALUES[attribute] if value not in values]
        wanted.setdefault(attribute, rest)
    given = {name: values[0] if len(values) == 1 else tuple(values) for name, values in wanted.items()}
    return given, touched


def judges_for(model: ResidualModel, point: SteeringPoint, judges: Sequence[Judge] | None) -> list[Judge]:
    """Return who accepts proposals: those given, or the Almanac's oracle for all that the point was to change.

    Raises:
        InputError: none given for another model or a concept of the caller's own.
    """
    if judges is not None:
        return list(judges)
    if model.name == EMBEDDED_NAME and has_concepts(point.doses):
        return list(judges_of(Almanac(), conditions_of_doses(point.doses)[0]))
    raise InputError("nothing is known that could judge these concepts: pass judges= of what the texts must have")
