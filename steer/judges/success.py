"""Success: the share of texts that a judge, independent of the direction, accepts."""

from collections.abc import Callable, Sequence

import numpy as np

from steer.judges.classifier import ClassifierJudge
from steer.judges.judge import FunctionJudge, Judge
from steer.runs.sample_set import SampleSet, texts_of
from steer.statistics.estimate import Estimate
from steer.statistics.statistic import Statistic, mean_of
from vectors.common.errors import InputError

Judges = Judge | Callable[[str], bool] | Sequence[Judge]
"""One judge, a function of a text, or several judges that all have to accept a text."""


def success(samples: SampleSet | Sequence[str], judges: Judges) -> Estimate:
    """Return the share of texts that the judge accepts, or that all of several judges accept.

    Raises:
        InputError: no texts, or no judge.

    >>> str(success(["a cat", "a dog", "two cats"], lambda text: "cat" in text))
    '0.67 (0.21 to 0.94)'
    """
    return success_statistic(accepted(samples, judges), judges).estimate()


def success_statistic(hits: np.ndarray, judges: Judges) -> Statistic:
    """Return the share of accepted texts as a statistic.

    A classifier is imperfect: `perfect` and `empty` are then its cross-validated rates of accepting texts with and
    without the concept.
    """
    judges = as_judges(judges)
    perfect, empty = 1.0, 0.0
    if len(judges) == 1 and isinstance(judges[0], ClassifierJudge):
        perfect, empty = judges[0].finds, judges[0].errs
    return mean_of("success", hits, perfect=perfect, empty=empty)


def accepted(samples: SampleSet | Sequence[str], judges: Judges) -> np.ndarray:
    """Return for each text whether every judge accepts it.

    Raises:
        InputError: no judge.
    """
    judges = as_judges(judges)
    return np.array([all(judge.accepts(text) for judge in judges) for text in texts_of(samples)], dtype=bool)


def as_judges(judges: Judges) -> list[Judge]:
    """Return a list of judges from one judge, a function, or a sequence of judges.

    Raises:
        InputError: an empty list.
    """
    if isinstance(judges, Sequence):
        if not judges:
            raise InputError("there is no judge in the list: give at least one")
        return list(judges)
    if isinstance(judges, Judge):
        return [judges]
    return [FunctionJudge(getattr(judges, "__name__", "a function"), judges)]
