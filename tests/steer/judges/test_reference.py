"""References from real texts: counted shares, conditions, and texts that show no value."""

import pytest

from steer.judges.reference import RealTexts, format_condition, matches
from vectors.common.errors import InputError

TEXTS = ["cat sea", "cat moon", "dog sea", "cat", "cat sea"]
PETS = RealTexts(
    TEXTS, {"pet": lambda text: text.split()[0], "place": lambda text: text.split()[1] if " " in text else None}
)


def test_shares_are_counted_in_texts_that_meet_the_condition_and_show_a_value() -> None:
    assert PETS.shares("place", {"pet": "cat"}) == ({"sea": pytest.approx(2 / 3), "moon": pytest.approx(1 / 3)}, 3)
    assert PETS.unread("place", {"pet": "cat"}) == pytest.approx(1 / 4) and PETS.unread("place", {"pet": "cow"}) == 0.0


def test_a_condition_may_allow_several_values() -> None:
    given = {"pet": ("cat", "dog"), "place": "sea"}
    assert [matches(PETS.read(text), given) for text in TEXTS] == [True, False, True, False, True]
    assert format_condition(given) == "pet cat or dog, place sea"


def test_unknown_attributes_and_conditions_that_no_text_meets_are_refused() -> None:
    with pytest.raises(InputError, match="no reader for 'mood'"):
        PETS.shares("mood", {})
    with pytest.raises(InputError, match="none has 'pet cow'"):
        PETS.shares("place", {"pet": "cow"})
