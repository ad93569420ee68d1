"""Success: how many texts have what they were steered to, by a judge that knows nothing of the direction."""

from collections.abc import Callable, Sequence

import numpy as np

from steer.judges.classifier import ClassifierJudge
from steer.judges.judge import AnyJudge, Judge
from steer.runs.sample_set import SampleSet, texts_of
from steer.statistics.estimate import Estimate
from steer.statistics.statistic import Statistic, mean_of
from vectors.common.errors import InputError

Judges = Judge | Callable[[str], bool] | Sequence[Judge]
"""One judge, a function of a text, or several judges that all have to agree."""


def success(samples: SampleSet | Sequence[str], judges: Judges) -> Estimate:
    """Return the share of texts that the judge accepts, or that all of several judges accept.

    Raises:
        InputError: no texts, or no judge.

    >>> str(success(["a cat", "a dog", "two cats"], lambda text: "cat" in text))
    '0.67 (0.21 to 0.94)'
    """
    return success_of(accepted(samples, judges), judges).estimate()


def success_of(hits: np.ndarray, judges: Judges) -> Statistic:
    """Return the share of hits as a statistic.

    A classifier finds less in perfect texts, and more in empty ones, than is there: as much as in texts it was fit
    without.
    """
    asked = as_judges(judges)
    perfect, empty = 1.0, 0.0
    if len(asked) == 1 and isinstance(asked[0], ClassifierJudge):
        perfect, empty = asked[0].finds, asked[0].errs
    return mean_of("success", hits, perfect=perfect, empty=empty)


def accepted(samples: SampleSet | Sequence[str], judges: Judges) -> np.ndarray:
    """Return for each text whether every judge accepts it.

    Raises:
        InputError: no judge.
    """
    asked = as_judges(judges)
    return np.array([all(judge.accepts(text) for judge in asked) for text in texts_of(samples)], dtype=bool)


def as_judges(given: Judges) -> list[Judge]:
    """Return a list of judges, with a function taken for one.

    Raises:
        InputError: an empty list.
    """
    if isinstance(given, Sequence):
        if not given:
            raise InputError("there is no judge in the list: give at least one")
        return list(given)
    if isinstance(given, Judge):
        return [given]
    return [AnyJudge(getattr(given, "__name__", "a function"), given)]
