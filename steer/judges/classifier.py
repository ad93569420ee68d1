"""A judge that is fit on labelled texts; what it says of one of these it says without having seen it."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from steer.statistics.estimate import Estimate
from steer.statistics.intervals import rate
from vectors.common.errors import InputError
from vectors.common.validation import check_integer, quote
from vectors.data.contrast import shuffle_key

FEWEST_JUDGED = 32
"""Texts of each kind that a judge needs."""

_FOLDS = 5


class ClassifierJudge:
    """A logistic regression on runs of words and of letters, fit on labelled texts that the direction never saw.

    It errs as often on either side, however many more texts one side has. A text that it was fit on is judged by
    another that was fit without it, one of five; so the judge itself is measured on every text: `finds` is how often it
    accepts those that have the concept, `errs` the others, `accuracy` the mean of its shares of right answers.

    Source: cross-fitting, as in Stone, "Cross-validatory choice and assessment of statistical predictions" (1974); the
    threshold is where scikit-learn's ROC curve of cross-validated scores has equal errors.

    Args:
        name: what it judges.
        positive: texts that have the concept.
        background: texts that need not.
        seed: of the split.

    Attributes:
        positive: the texts that have the concept, each once.

    Raises:
        InputError: fewer than 32 texts of a kind, or texts without words.
    """

    def __init__(self, name: str, positive: Sequence[str], background: Sequence[str], *, seed: int = 0) -> None:
        self.name = name
        check_integer(seed, "seed")
        sides = [  # in an order that hangs on the texts and the seed, not on the order that they came in
            sorted(side, key=lambda text: shuffle_key(text, seed))
            for side in (set(positive), set(background) - set(positive))
        ]
        for kind, side in zip(("positive", "background"), sides, strict=True):
            if len(side) < FEWEST_JUDGED:
                raise InputError(f"a judge of {quote(name)} has {len(side)} {kind} texts: give {FEWEST_JUDGED} or more")
        from sklearn.model_selection import StratifiedKFold  # slow to import

        self.positive = tuple(sides[0])
        texts, has = [*sides[0], *sides[1]], np.repeat([True, False], [len(side) for side in sides])
        self._runs = runs_of_words()
        rows = weighed(self._runs, texts)  # no label enters the weights, so that the folds may share them
        self._told, unseen = _line(rows, has), np.zeros(len(texts), dtype=bool)
        for fit, left in StratifiedKFold(_FOLDS).split(rows, has):
            unseen[left] = _line(rows[fit], has[fit])(rows[left])
        self._unseen = dict(zip(texts, unseen.tolist(), strict=True))
        right = [rate(int((unseen[has == side] == side).sum()), int((has == side).sum())) for side in (True, False)]
        value = (right[0][0] + right[1][0]) / 2
        below, above = (math.hypot(*(each[0] - each[end] for each in right)) / 2 for end in (1, 2))
        self.finds, self.errs = right[0][0], 1 - right[1][0]
        self.accuracy = Estimate(
            name="judge's accuracy",
            value=value,
            low=value - below,
            high=value + above,
            n=len(texts),
            perfect=1.0,
            empty=0.5,
        )

    def accepts(self, text: str) -> bool:
        """Whether the text has the concept rather than not, both being as common."""
        known = self._unseen.get(text)
        return bool(self._told(self._runs.transform([text]))[0]) if known is None else known


def _line(rows: Any, has: np.ndarray) -> Callable[[Any], np.ndarray]:
    """What accepts rows on one side of a line that errs as often on either side, by rows that it was fit without."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_curve
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    model = LogisticRegression(class_weight="balanced", max_iter=1000)
    scores = cross_val_predict(model, rows, has, cv=StratifiedKFold(_FOLDS), method="decision_function")
    wrong, right, at = roc_curve(has, scores, drop_intermediate=False)
    place = 1 + int(np.abs(1 - right - wrong)[1:].argmin())  # the first threshold is infinite
    threshold = at[place : place + 2].mean()
    model.fit(rows, has)
    return lambda asked: np.asarray(model.decision_function(asked) > threshold)


def runs_of_words() -> Any:
    """Return what weighs the runs of words and of letters of texts."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_union

    return make_union(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
        TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True, max_features=50_000),
    )


def weighed(runs: Any, texts: Sequence[str]) -> Any:
    """Return a row of weights for each text, once it is known what is frequent.

    Raises:
        InputError: texts without words.
    """
    try:
        return runs.fit_transform(texts)
    except ValueError as error:
        raise InputError(
            f"a classifier learns nothing from these texts ({quote(str(error))}): give whole ones"
        ) from error
