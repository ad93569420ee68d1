"""What a run is measured against: who judges it, and what real texts and true shares it is held up to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from steer.judges.classifier import FEWEST_JUDGED, ClassifierJudge
from steer.judges.judge import Judge
from steer.judges.reference import Reference
from vectors.common.errors import InputError
from vectors.common.validation import quote
from vectors.concepts.vector import ConceptVector

PROBED = 64
"""Texts of either kind that the steering direction itself is asked about."""


@dataclass(frozen=True, kw_only=True)
class EvaluationSet:
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


def labelled_evaluation_set(
    positive: Sequence[str], background: Sequence[str], *, vectors: Sequence[ConceptVector] = (), seed: int = 0
) -> EvaluationSet:
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
    unknown = [quote(vector.name) for vector in vectors if vector.held_out is None]
    notes = []
    if len(unknown) < len(vectors):
        notes.append(f"the judge was fit on {left} of the {asked} texts: those that the directions were kept from")
    if unknown or not vectors:
        which = ", ".join(unknown) or "the directions"
        notes.append(f"whether {which} saw the judge's texts is not known: give texts that it was not found in")
    return EvaluationSet(judges=(judge,), real=tuple(positive), background=tuple(background), notes=tuple(notes))


def _seen(text: str, vectors: Sequence[ConceptVector]) -> bool:
    return any(vector.is_unseen(text) is False for vector in vectors)
