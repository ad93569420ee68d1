"""What a run is measured against: who judges it, and what real texts and true shares it is held up to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from steer.figures.classifier import FEWEST_JUDGED, ClassifierJudge
from steer.figures.judges import Judge, judges_of
from steer.figures.references import Almanac, Reference, steered
from vectors.almanac.concepts import CONCEPTS
from vectors.checks import shown
from vectors.concept import ConceptVector
from vectors.errors import InputError

REAL = 500
"""Real texts that are drawn at least, where they are the Almanac's own."""

PROBED = 64
"""Texts of either kind that the steering direction itself is asked about."""


@dataclass(frozen=True, kw_only=True)
class Yardstick:
    """What is known about what a run was to be; figures that need more are left out.

    Attributes:
        judges: tell whether a text has what was steered to; all have to agree.
        reference: the true shares of a world's attributes.
        given: what was steered to, in the reference's words.
        touched: attributes that were steered either way, and are no part of fidelity.
        real: real texts that have what was steered to.
        background: real texts that need not have it.
        notes: what a reader must know of the judges.
    """

    judges: tuple[Judge, ...] = ()
    reference: Reference | None = None
    given: Mapping[str, Any] = field(default_factory=dict)
    touched: frozenset[str] = frozenset()
    real: tuple[str, ...] = ()
    background: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def almanac_yardstick(doses: Mapping[str, float], *, n: int = 0, seed: int = 0) -> Yardstick:
    """Return what the Almanac says of a run with these doses: its oracle, its exact shares, entries by its author.

    Args:
        doses: of the run, by the concepts' names.
        n: texts of the run; there are as many real ones, `REAL` at least.
        seed: of the real texts.

    Raises:
        InputError: a concept that the Almanac does not have, or concepts that no entry can have at once.
    """
    given, touched = steered(doses)
    world = Almanac()
    judges = judges_of(world, given)
    real = tuple(world.texts(given, max(n, REAL), seed=seed))
    others = tuple(world.texts({}, PROBED, seed=(seed + 1) % 2**64)) if judges else ()
    return Yardstick(
        judges=judges, reference=world, given=given, touched=frozenset(touched), real=real, background=others
    )


def knows(doses: Mapping[str, float]) -> bool:
    """Whether the Almanac has all these concepts."""
    return all(name in CONCEPTS for name in doses)


def labelled_yardstick(
    positive: Sequence[str], background: Sequence[str], *, vectors: Sequence[ConceptVector] = (), seed: int = 0
) -> Yardstick:
    """Return what real texts with and without a concept say of a run, by a classifier that is fit on them.

    A text that one of the vectors was found in, or would have been, is not shown to the judge.

    Args:
        positive: texts that have all that was steered to; all of them count as real ones.
        background: texts that need not.
        vectors: that the run was steered with.
        seed: of the judge's own split.

    Raises:
        InputError: too few texts that the vectors have not seen.
    """
    sides = [[text for text in side if not _seen(text, vectors)] for side in (positive, background)]
    asked, left = len(positive) + len(background), sum(map(len, sides))
    if left < asked and min(map(len, sides)) < FEWEST_JUDGED:
        raise InputError(
            f"of {len(positive)} positive and {len(background)} background texts the vectors were kept from "
            f"{len(sides[0])} and {len(sides[1])}, a judge needs {FEWEST_JUDGED} of each: give more, or other texts"
        )
    judge = ClassifierJudge("texts", *sides, seed=seed)
    unknown = [shown(vector.name) for vector in vectors if vector.held_out is None]
    notes = []
    if len(unknown) < len(vectors):
        notes.append(f"the judge was fit on {left} of the {asked} texts: those that the directions were kept from")
    if unknown or not vectors:
        which = ", ".join(unknown) or "the directions"
        notes.append(f"whether {which} saw the judge's texts is not known: give texts that it was not found in")
    return Yardstick(judges=(judge,), real=tuple(positive), background=tuple(background), notes=tuple(notes))


def _seen(text: str, vectors: Sequence[ConceptVector]) -> bool:
    return any(vector.is_unseen(text) is False for vector in vectors)
