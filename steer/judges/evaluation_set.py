"""Evaluation sets: the judges, real texts and true shares that a run is measured against."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from steer.judges.classifier import MIN_TEXTS, ClassifierJudge
from steer.judges.judge import Judge
from steer.judges.reference import Reference
from vectors.common.errors import InputError
from vectors.common.validation import quote
from vectors.concepts.vector import ConceptVector

PROBED = 64
"""Number of texts of each class that the steering direction itself is fit on as a probe."""


@dataclass(frozen=True, kw_only=True)
class EvaluationSet:
    """Data that a run is measured against; metrics whose data is missing are left out of a report.

    Attributes:
        judges: each accepts texts with one of the concepts steered to; a text is a success if all accept it.
        reference: the true shares of the attributes of a world.
        given: the condition steered to, as values of the reference's attributes.
        touched: attributes that were steered towards or away from; fidelity leaves them out.
        real: real texts that have what was steered to.
        background: real texts that need not have it.
        notes: caveats about the judges, for reports.
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
    """Return an evaluation set from labelled texts, with a classifier fit on them as judge.

    The classifier is fit on texts that no vector was extracted from.

    Args:
        positive: texts that have everything that was steered to; all of them are used as real texts.
        background: texts that need not have it.
        vectors: the vectors of the run.
        seed: of the judge's own split.

    Raises:
        InputError: too few texts are left for the judge.
    """
    classes = [[text for text in texts if not _seen(text, vectors)] for texts in (positive, background)]
    total, left = len(positive) + len(background), sum(map(len, classes))
    if left < total and min(map(len, classes)) < MIN_TEXTS:
        raise InputError(
            f"of {len(positive)} positive and {len(background)} background texts, {len(classes[0])} and "
            f"{len(classes[1])} were held out from the vectors, and a judge needs {MIN_TEXTS} of each: give more, or "
            "other texts"
        )
    judge = ClassifierJudge("texts", *classes, seed=seed)
    unknown = [quote(vector.name) for vector in vectors if vector.held_out is None]
    notes = []
    if len(unknown) < len(vectors):
        notes.append(f"the judge was fit on the {left} of {total} texts that were held out from the directions")
    if unknown or not vectors:
        which = ", ".join(unknown) or "the directions"
        notes.append(f"it is not known whether {which} saw the judge's texts: give texts that they were not made from")
    return EvaluationSet(judges=(judge,), real=tuple(positive), background=tuple(background), notes=tuple(notes))


def _seen(text: str, vectors: Sequence[ConceptVector]) -> bool:
    return any(vector.is_unseen(text) is False for vector in vectors)
