"""The embedded world, the Almanac: its oracle as judge, its exact shares, and real texts by its author.

Only this module and `steer.composition.forecast` import the embedded world.
"""

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

REAL_TEXTS = 500
"""Minimum number of real texts in the Almanac's evaluation set."""

_SEED_OFFSET = 1 << 42  # added to the seed, so that no real text is one of the training entries


def has_concepts(model: str, doses: Mapping[str, float]) -> bool:
    """Return whether this is the name of the embedded model, and all concepts are of its world.

    >>> has_concepts("almanac", {"cat": 1.0}), has_concepts("gpt2", {"cat": 1.0}), has_concepts("almanac", {"tax": 1.0})
    (True, False, False)
    """
    return model == EMBEDDED_NAME and all(name in CONCEPTS for name in doses)


def default_evaluation_set(
    model: str, doses: Mapping[str, float], *, prompt: str = "", n: int = 0, seed: int = 0
) -> EvaluationSet:
    """Return the Almanac's evaluation set for a run of the embedded model without a prompt, else an empty one.

    Args:
        model: name of the model that was sampled.
        doses: of the run, by concept.
        prompt: the text that the samples continue.
        n: number of texts in the run.
        seed: of the real texts.

    Raises:
        InputError: concepts that no entry of the Almanac can have at once.
    """
    if prompt or not has_concepts(model, doses):
        return EvaluationSet()
    return almanac_evaluation_set(doses, n=n, seed=seed)


def almanac_evaluation_set(doses: Mapping[str, float], *, n: int = 0, seed: int = 0) -> EvaluationSet:
    """Return the Almanac's judges, exact shares and real texts for a run with these doses.

    Args:
        doses: of the run, by concept.
        n: number of texts in the run; the set has as many real texts, and `REAL_TEXTS` at least.
        seed: of the real texts.

    Raises:
        InputError: a concept that the Almanac does not have, or concepts that no entry can have at once.
    """
    given, touched = conditions_of_doses(doses)
    almanac = Almanac()
    judges = judges_of(almanac, given)
    real = tuple(almanac.texts(given, max(n, REAL_TEXTS), seed=seed))
    background = tuple(almanac.texts({}, PROBED, seed=(seed + 1) % 2**64)) if judges else ()
    return EvaluationSet(
        judges=judges, reference=almanac, given=given, touched=frozenset(touched), real=real, background=background
    )


def judges_for(model: ResidualModel, point: SteeringPoint, judges: Sequence[Judge] | None) -> list[Judge]:
    """Return the given judges, or the Almanac's judges of the point's concepts.

    Raises:
        InputError: no judges given for another model, or for a concept that the Almanac does not have.
    """
    if judges is not None:
        return list(judges)
    if has_concepts(model.name, point.doses):
        return list(judges_of(Almanac(), conditions_of_doses(point.doses)[0]))
    raise InputError("there is no judge for these concepts: pass judges= that accept texts with them")


@dataclass(frozen=True)
class OracleJudge:
    """Accepts texts in which the Almanac's oracle reads one concept.

    Raises:
        InputError: a concept that the Almanac does not have.

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
        """Name in reports."""
        return f"oracle: {self.concept}"

    def accepts(self, text: str) -> bool:
        """Return whether the oracle reads the concept in the text."""
        attribute, value = CONCEPTS[self.concept]
        return bool(getattr(oracle.read(text), attribute) == value)


class Almanac:
    """The world of the embedded model as a `Reference`; its shares are known exactly.

    If no training entry meets a condition, the shares follow from the world's rates alone.
    """

    attributes = (*distribution.VALUES, "number")
    whole = True

    def read(self, text: str) -> Reading:
        """Return what the oracle reads; only texts of a form with a number have the attribute `number`."""
        entry_read = oracle.read(text)
        numbered = entry_read.form in distribution.NUMBERED_FORMS
        return {name: getattr(entry_read, name) for name in self.attributes if numbered or name != "number"}

    def shares(self, attribute: str, given: Mapping[str, Any]) -> tuple[dict[Any, float], int | None]:
        """Return the exact conditional shares; for `number`, those in the forms that have one.

        Raises:
            InputError: an attribute or value that the world does not have, or a condition of probability zero.
        """
        if attribute == "number":
            return dict.fromkeys(distribution.NUMBERS, 1 / len(distribution.NUMBERS)), None
        return distribution.marginal(attribute, given, beyond=unseen(given)), None

    def unread(self, attribute: str, given: Mapping[str, Any]) -> float:
        """Return 0: the oracle reads every attribute of an entry."""
        return 0.0

    def texts(self, given: Mapping[str, Any], n: int, *, seed: int = 0) -> list[str]:
        """Return `n` entries by the world's author that meet the condition.

        Raises:
            InputError: an attribute or value that the world does not have, or a condition of probability zero.
        """
        attributes = distribution.draw(np.random.default_rng(seed), n, given, beyond=unseen(given))
        return [entry((seed + _SEED_OFFSET) % 2**64, index, row).text for index, row in enumerate(attributes)]


def unseen(given: Mapping[str, Any]) -> bool:
    """Return whether no training entry of the embedded model meets a condition that the world's rates allow."""
    if distribution.probability(given):
        return False
    return distribution.probability(given, beyond=True) > 0


def conditions_of_doses(doses: Mapping[str, float]) -> tuple[dict[str, Any], set[str]]:
    """Return the condition on attributes that a run's doses ask for, and the names of all steered attributes.

    A negative dose asks for any other value of its attribute. Several positive doses of one attribute ask for any of
    their values.

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
            raise InputError(f"the Almanac has no concept {quote(name)}: pass given= with the attributes steered to")
        attribute, value = CONCEPTS[name]
        touched.add(attribute)
        if dose:
            (wanted if dose > 0 else unwanted).setdefault(attribute, []).append(value)
    for attribute, values in unwanted.items():
        rest = [value for value in distribution.VALUES[attribute] if value not in values]
        wanted.setdefault(attribute, rest)
    given = {name: values[0] if len(values) == 1 else tuple(values) for name, values in wanted.items()}
    return given, touched
