"""Build the ready-made concepts: collect entries of the stream and learn all vectors together."""

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
BACKGROUND = 800
MOST_READ = 200_000
"""Entries read at most while looking for positives: rainbows are rare."""

STREAM = 1 << 41
"""Added to the seed: concepts are found in entries that the model was not trained on."""


@dataclass(frozen=True)
class Texts:
    """Entries of the stream for each concept, and entries at large."""

    positive: dict[str, list[str]]
    at_large: list[str]
    labels: dict[str, frozenset[str]]
    """Every text here, and the concepts it has."""

    def background(self, concept: str) -> list[str]:
        """Entries at large that do not have the concept."""
        return [text for text in self.at_large if concept not in self.labels[text]]


def collect(seed: int, *, positives: int = POSITIVES, background: int = BACKGROUND) -> Texts:
    """Read the stream until every concept has its positives, or `MOST_READ` entries are read."""
    texts = Texts({concept: [] for concept in CONCEPTS}, [], {})
    for made in islice(stream(seed + STREAM), MOST_READ):
        has = frozenset(name for name, (key, value) in CONCEPTS.items() if getattr(made.attributes, key) == value)
        wanting = [texts.positive[concept] for concept in has if len(texts.positive[concept]) < positives]
        takers = [texts.at_large] if len(texts.at_large) < background else wanting  # the two share no text
        for taker in takers:
            taker.append(made.text)
            texts.labels[made.text] = has
        if all(len(kept) == positives for kept in texts.positive.values()):
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
    """Extract all concepts together and keep them in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    labels = collect(seed).labels
    found = extract_together(
        model, list(labels), list(labels.values()), seed=seed, calibrate=calibrate, progress=progress
    )
    for name, vector in found.items():
        save(vector, folder / f"{name}.safetensors", force=True)


def keep_model(model: ResidualModel, folder: Path) -> None:
    """Write the model as it ships: weights in float16, the tokenizer, and where its blocks lie."""
    copy.deepcopy(model.hf).half().save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)
    (folder / "residual.json").write_text(json.dumps({"blocks": model.blocks_path}) + "\n")
