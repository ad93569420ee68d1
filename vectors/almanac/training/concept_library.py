"""Build the embedded model's library: collect labelled entries and extract all concepts jointly."""

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from vectors.almanac.concepts import CONCEPTS
from vectors.almanac.world.author import stream
from vectors.concepts.vector_file import save
from vectors.extraction.extract_jointly import extract_together
from vectors.model.residual_model import ResidualModel

POSITIVES = 400
"""Texts of each concept."""

BACKGROUND = 800
MAX_ENTRIES = 200_000
"""Entries to read at most in search of positives: rainbows are rare."""

STREAM = 1 << 41
"""Added to the seed, so that concepts are extracted from entries that the model was not trained on."""


@dataclass(frozen=True)
class Texts:
    """Entries of each concept, unselected entries, and the concepts of all of them.

    Attributes:
        positive: entries of each concept.
        at_large: unselected entries; none of them is also a positive.
        labels: the concepts that each text has.
    """

    positive: dict[str, list[str]]
    at_large: list[str]
    labels: dict[str, frozenset[str]]

    def background(self, concept: str) -> list[str]:
        """Return the unselected entries without the concept."""
        return [text for text in self.at_large if concept not in self.labels[text]]


def collect(seed: int, *, positives: int = POSITIVES, background: int = BACKGROUND) -> Texts:
    """Read the stream until every concept has its positives, or `MAX_ENTRIES` entries are read."""
    texts = Texts({concept: [] for concept in CONCEPTS}, [], {})
    for entry in islice(stream(seed + STREAM), MAX_ENTRIES):
        has = frozenset(name for name, (key, value) in CONCEPTS.items() if getattr(entry.attributes, key) == value)
        lacking = [texts.positive[concept] for concept in has if len(texts.positive[concept]) < positives]
        # the first entries are the unselected ones, so that no text is in both groups
        groups = [texts.at_large] if len(texts.at_large) < background else lacking
        for group in groups:
            group.append(entry.text)
            texts.labels[entry.text] = has
        if all(len(group) == positives for group in texts.positive.values()):
            break
    return texts


def build(
    model: ResidualModel,
    folder: Path,
    *,
    seed: int,
    calibrate: bool = True,
    progress: Callable[[str, int, int], None] | None = None,
) -> None:
    """Extract all concepts jointly and save them to a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    labels = collect(seed).labels
    vectors = extract_together(
        model, list(labels), list(labels.values()), seed=seed, calibrate=calibrate, progress=progress
    )
    for name, vector in vectors.items():
        save(vector, folder / f"{name}.safetensors", force=True)


def save_model(model: ResidualModel, folder: Path) -> None:
    """Write the model as it is shipped: weights in float16, the tokenizer, and the path of its blocks."""
    copy.deepcopy(model.hf).half().save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)
    (folder / "residual.json").write_text(json.dumps({"blocks": model.blocks_path}) + "\n")
