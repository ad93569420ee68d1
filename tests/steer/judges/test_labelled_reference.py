"""Classifiers that read attributes of labelled texts: each value about as often as it occurs, or not at all."""

import numpy as np
import pytest

from steer.judges.almanac import Almanac
from steer.judges.labelled_reference import labelled_reference
from vectors.common.errors import InputError

WORLD = Almanac()


@pytest.fixture(scope="module")
def labelled() -> tuple[list[str], list[dict[str, object]]]:
    texts = list(WORLD.texts({}, 1200, seed=5))
    coins = np.random.default_rng(3).random(len(texts)) < 0.5
    readings = [WORLD.read(text) for text in texts]
    rows = [
        {"form": each["form"], "snow": each["snow"], "coin": "head" if coin else "tail"}
        for each, coin in zip(readings, coins, strict=True)
    ]
    return texts, rows


@pytest.mark.slow
def test_a_rare_value_is_read_about_as_often_as_it_occurs(labelled) -> None:
    reader = labelled_reference(*labelled).readers["snow"]
    fresh = list(WORLD.texts({}, 800, seed=6))
    true, read = (np.array([ask(text) for text in fresh]) for ask in (lambda text: WORLD.read(text)["snow"], reader))
    assert 0.02 < true.mean() < 0.12
    assert abs(read.mean() - true.mean()) < 0.03
    assert read[true].mean() > 0.3 > 4 * read[~true].mean()


@pytest.mark.slow
def test_values_that_no_word_predicts_are_left_out(labelled) -> None:
    texts, rows = labelled
    assert set(labelled_reference(texts, rows).readers) == {"form", "snow"}
    with pytest.raises(InputError, match="be read from their words"):
        labelled_reference(texts, [{"coin": row["coin"]} for row in rows])


@pytest.mark.slow
def test_a_common_attribute_is_read_as_by_the_oracle(labelled) -> None:
    reader = labelled_reference(*labelled).readers["form"]
    fresh = list(WORLD.texts({}, 300, seed=8))
    assert np.mean([reader(text) == WORLD.read(text)["form"] for text in fresh]) > 0.95
