"""A judge fit on labelled texts; each of these texts is judged by a classifier that was fit without it."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from steer.statistics.estimate import Estimate
from steer.statistics.intervals import difference, rate
from vectors.common.errors import InputError
from vectors.common.validation import check_integer, quote
from vectors.data.contrast import shuffle_key

MIN_TEXTS = 32
"""Minimum number of texts of each class that a judge is fit on."""

_FOLDS = 5


class ClassifierJudge:
    """A logistic regression on n-grams of words and characters, fit on labelled texts that the direction never saw.

    Its error rates on both classes are equal, whatever the class sizes. A text of the training set is judged by a
    classifier that was fit on the other folds, so the judge is evaluated on every text.

    Source: cross-fitting, as in Stone, "Cross-validatory choice and assessment of statistical predictions" (1974); the
    threshold is the point of scikit-learn's ROC curve, of cross-validated scores, where both error rates are equal.

    Args:
        name: name of the judge in reports.
        positive: texts that have the concept.
        background: texts that need not have it.
        seed: of the split into folds.

    Attributes:
        positive: the texts that have the concept, without duplicates.
        finds: share of the positive texts that the judge accepts, cross-validated.
        errs: share of the background texts that it accepts, cross-validated.
        accuracy: mean of the shares of right answers in both classes.

    Raises:
        InputError: fewer than 32 texts of a class, or texts without words.
    """

    def __init__(self, name: str, positive: Sequence[str], background: Sequence[str], *, seed: int = 0) -> None:
        self.name = name
        check_integer(seed, "seed")
        classes = [  # sorted by text and seed, so that the order of the arguments does not matter
            sorted(texts, key=lambda text: shuffle_key(text, seed))
            for texts in (set(positive), set(background) - set(positive))
        ]
        for label, texts in zip(("positive", "background"), classes, strict=True):
            if len(texts) < MIN_TEXTS:
                raise InputError(f"a judge of {quote(name)} has {len(texts)} {label} texts: give {MIN_TEXTS} or more")
        from sklearn.model_selection import StratifiedKFold  # slow to import

        self.positive = tuple(classes[0])
        texts, labels = [*classes[0], *classes[1]], np.repeat([True, False], [len(texts) for texts in classes])
        self._vectorizer = ngram_vectorizer()
        rows = fit_vectorizer(self._vectorizer, texts)  # the weights use no label: all folds may share them
        self._classify, held_out = _equal_error_classifier(rows, labels), np.zeros(len(texts), dtype=bool)
        for train, test in StratifiedKFold(_FOLDS).split(rows, labels):
            held_out[test] = _equal_error_classifier(rows[train], labels[train])(rows[test])
        self._held_out = dict(zip(texts, held_out.tolist(), strict=True))
        finds, errs = (
            rate(int(held_out[labels == label].sum()), int((labels == label).sum())) for label in (True, False)
        )
        self.finds, self.errs = finds.value, errs.value
        # the mean of the rates of right answers, finds and 1 - errs
        value, low, high = ((1 + bound) / 2 for bound in difference(finds, errs))
        self.accuracy = Estimate(
            name="judge's accuracy", value=value, low=low, high=high, n=len(texts), perfect=1.0, empty=0.5
        )

    def accepts(self, text: str) -> bool:
        """Return whether the text has the concept, if both classes are equally common."""
        held_out = self._held_out.get(text)
        return bool(self._classify(self._vectorizer.transform([text]))[0]) if held_out is None else held_out


def _equal_error_classifier(rows: Any, labels: np.ndarray) -> Callable[[Any], np.ndarray]:
    """Fit a logistic regression and return a predicate with equal cross-validated error rates on both classes."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_curve
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    model = LogisticRegression(class_weight="balanced", max_iter=1000)
    scores = cross_val_predict(model, rows, labels, cv=StratifiedKFold(_FOLDS), method="decision_function")
    false_positives, true_positives, thresholds = roc_curve(labels, scores, drop_intermediate=False)
    index = 1 + int(np.abs(1 - true_positives - false_positives)[1:].argmin())  # the first threshold is infinite
    threshold = thresholds[index : index + 2].mean()
    model.fit(rows, labels)
    return lambda new_rows: np.asarray(model.decision_function(new_rows) > threshold)


def ngram_vectorizer() -> Any:
    """Return an unfitted TF-IDF vectorizer over n-grams of words and of characters."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_union

    return make_union(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
        TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True, max_features=50_000),
    )


def fit_vectorizer(vectorizer: Any, texts: Sequence[str]) -> Any:
    """Fit a vectorizer and return one row of weights per text.

    Raises:
        InputError: texts without words.
    """
    try:
        return vectorizer.fit_transform(texts)
    except ValueError as error:
        raise InputError(
            f"a classifier learns nothing from these texts ({quote(str(error))}): give whole ones"
        ) from error
