"""The texts that concepts are extracted from: positives of every concept, and unselected entries."""

from vectors.almanac.concepts import CONCEPTS
from vectors.almanac.training.concept_library import STREAM, collect
from vectors.almanac.world import oracle
from vectors.almanac.world.author import entry


def test_every_concept_has_its_positives_and_no_text_is_in_both_groups() -> None:
    texts = collect(3, positives=2, background=10)
    assert texts.at_large == [entry(3 + STREAM, i).text for i in range(10)]
    assert texts.positive.keys() == CONCEPTS.keys()
    for concept, positives in texts.positive.items():
        attribute, value = CONCEPTS[concept]
        assert len(positives) == 2 and not set(positives) & set(texts.at_large)
        assert all(concept in texts.labels[text] for text in positives)
        assert all(getattr(oracle.read(text), attribute) in (value, None) for text in positives)
        assert not any(concept in texts.labels[text] for text in texts.background(concept))
