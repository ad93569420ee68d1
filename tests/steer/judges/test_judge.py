"""Judges by attributes of a reference, and by functions."""

from steer.judges.judge import AttributeJudge, FunctionJudge, Judge, judges_of
from steer.judges.reference import RealTexts
from vectors.calibration.word_judge import MentionJudge

PETS = RealTexts(["a cat", "a dog"], {"pet": lambda text: text.split()[-1]})


def test_a_condition_has_one_judge_for_each_attribute() -> None:
    one, several = judges_of(PETS, {"pet": "cat"}), judges_of(PETS, {"pet": ("cat", "dog")})
    assert [judge.name for judge in (*one, *several)] == ["pet: cat", "pet: cat or dog"]
    assert one == (AttributeJudge(PETS, "pet", ("cat",)),)
    assert [one[0].accepts(text) for text in PETS.texts] == [True, False]
    assert all(several[0].accepts(text) for text in PETS.texts) and not several[0].accepts("a bird")


def test_a_judge_has_a_name_beside_what_every_judge_of_texts_has() -> None:
    assert isinstance(FunctionJudge("any", bool), Judge) and not isinstance(MentionJudge(["cat"]), Judge)
    assert FunctionJudge("any", len).accepts("a") is True
