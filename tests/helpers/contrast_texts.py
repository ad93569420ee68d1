"""Texts about a cat and about a ship in the words of the tiny models, and a concept extracted from them."""

from typing import Any

import vectors
from vectors.concepts.vector import ConceptVector
from vectors.model.residual_model import ResidualModel

VERBS, SCENES = ("sang", "ran", "fell", "saw", "rose", "heard"), ("sea", "river", "tree", "stone", "night", "wind")
CATS = [f"the cat {verb} by the {scene}" for verb in VERBS for scene in SCENES]
SHIPS = [f"a ship {verb} on a {scene}" for verb in VERBS for scene in SCENES]


def extract_cat(model: ResidualModel, **options: Any) -> ConceptVector:
    """Extract the concept of `CATS` against `SHIPS`, without a pilot unless an option says otherwise."""
    return vectors.extract(model, "cat", **({"positive": CATS, "background": SHIPS, "calibrate": False} | options))
