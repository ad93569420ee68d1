"""Judges fit on few and uneven texts, against the oracle on fresh ones: `python benchmarks/judging.py`."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import numpy as np
from report import table, write

from steer.judges.almanac import Almanac
from steer.judges.classifier import ClassifierJudge, ngram_vectorizer
from steer.judges.reference import matches
from vectors.calibration.word_judge import WordJudge

WORLD = Almanac()
SIZES = ((32, 32), (37, 123), (60, 60), (100, 400), (32, 600), (300, 60))
ASKED: tuple[Mapping[str, str], ...] = (
    {"topic": "sea"},
    {"mood": "fearful"},
    {"voice": "cat"},
    {"hour": "dawn"},
    {"form": "sonnet"},
    {"topic": "sea", "mood": "fearful"},
    {"form": "letter", "mood": "joyful"},
)
FRESH = 400

Asked = Callable[[Sequence[str]], np.ndarray]


def even_odds(positive: Sequence[str], background: Sequence[str]) -> Asked:
    """The same regression with balanced class weights and threshold 0.5."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    model = make_pipeline(ngram_vectorizer(), LogisticRegression(C=10.0, class_weight="balanced", max_iter=1000))
    model.fit([*positive, *background], [True] * len(positive) + [False] * len(background))
    return lambda texts: np.asarray(model.predict(list(texts)))


def one_by_one(judge: ClassifierJudge | WordJudge) -> Asked:
    """The answers of a judge, one a text."""
    return lambda texts: np.array([judge.accepts(text) for text in texts])


def measured(seed: int, size: tuple[int, int], asked: Mapping[str, str]) -> list[tuple[float, float]]:
    """For each judge, the accepted shares of fresh texts with and without the concepts; last, its own estimates."""
    positive = list(WORLD.texts(asked, size[0] + FRESH, seed=seed))
    background = list(WORLD.texts({}, size[1] + 3 * FRESH, seed=seed + 1))
    without = [text for text in background[size[1] :] if not matches(WORLD.read(text), asked)][:FRESH]
    known = positive[: size[0]], background[: size[1]]
    judge = ClassifierJudge("it", *known, seed=seed)
    judges = [even_odds(*known), one_by_one(WordJudge(*known)), one_by_one(judge)]
    found = [(ask(positive[size[0] :]).mean(), ask(without).mean()) for ask in judges]
    return [*found, (judge.finds, judge.errs)]


def main() -> None:
    """Compare the judges at each number of texts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seed", type=int, default=11)
    given = parser.parse_args()
    rows = []
    with ProcessPoolExecutor() as pool:
        for size in SIZES:
            seeds = [given.seed + 100 * turn for turn in range(given.repeats)]
            jobs = [pool.map(partial(measured, seed, size), ASKED) for seed in seeds]
            made = np.array([each for job in jobs for each in job])
            right = (made[..., 0] + 1 - made[..., 1]) / 2
            cells = [
                f"{right[:, at].mean():.3f}, {right[:, at].min():.2f} ({made[:, at, 0].mean():.2f}, "
                f"{made[:, at, 1].mean():.2f})"
                for at in range(3)
            ]
            off = np.abs(made[:, 3] - made[:, 2]).mean(axis=0)
            rows.append([f"{size[0]}, {size[1]}", *cells, f"{off[0]:.2f}, {off[1]:.2f}"])
    body = (
        f"Mean share of correct answers on {FRESH} fresh entries with and {FRESH} without the requested concepts, "
        f"over {len(ASKED)} requests and {given.repeats} draws, then the worst of them; in brackets the accepted "
        "shares of entries with and without. The background is whatever the world writes, so some of it has the "
        "concepts. The last column is the mean error of the judge's own estimates of these two shares (`finds`, "
        "`errs`).\n\n"
        + table(
            [
                "texts with, without",
                "regression, threshold 0.5",
                "naive Bayes",
                "`ClassifierJudge`",
                "error of its own estimates",
            ],
            rows,
        )
        + "\n\nA regression with threshold 0.5 accepts hardly anything if one side has many more texts, even with "
        "balanced class weights. So the judge's threshold is where the error rates on held-out texts are equal."
    )
    write("judging", "Judges fit on labelled texts", body, seed=given.seed)


if __name__ == "__main__":
    main()
