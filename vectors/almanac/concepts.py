"""The Almanac's ready-made concepts: a vector for each value, found in the stream by the library's own `extract`."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from vectors.almanac import world
from vectors.almanac.generate import stream
from vectors.extraction import extract
from vectors.model import ResidualModel
from vectors.store import save

CONCEPTS: dict[str, tuple[str, str | bool]] = {
    **{str(value): (name, value) for name in world.VALUES if name not in world.DETAILS for value in world.VALUES[name]},
    **{detail: (detail, True) for detail in world.DETAILS},
}
"""Each concept's name, and the attribute and value it stands for."""

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
    at_large: list[tuple[str, frozenset[str]]]
    """Texts and the concepts they have."""

    def background(self, concept: str) -> list[str]:
        """Entries at large that do not have the concept."""
        return [text for text, has in self.at_large if concept not in has]


def collect(seed: int, *, positives: int = POSITIVES, background: int = BACKGROUND) -> Texts:
    """Read the stream until every concept has its positives, or `MOST_READ` entries are read."""
    found: dict[str, list[str]] = {concept: [] for concept in CONCEPTS}
    at_large: list[tuple[str, frozenset[str]]] = []
    for made in islice(stream(seed + STREAM), MOST_READ):
        has = frozenset(name for name, (key, value) in CONCEPTS.items() if getattr(made.attributes, key) == value)
        if len(at_large) < background:
            at_large.append((made.text, has))
        else:  # positives and background share no text
            for concept in has:
                if len(found[concept]) < positives:
                    found[concept].append(made.text)
        if all(len(texts) == positives for texts in found.values()):
            break
    return Texts(found, at_large)


def build(
    model: ResidualModel,
    folder: Path,
    *,
    seed: int,
    only: Sequence[str] = tuple(CONCEPTS),
    progress: Callable[[str, int, int], None] | None = None,
) -> None:
    """Extract each concept and keep it in `folder`; concepts that are already there are left alone."""
    folder.mkdir(parents=True, exist_ok=True)
    missing = [concept for concept in only if not (folder / f"{concept}.safetensors").exists()]
    texts = collect(seed) if missing else None
    for done, concept in enumerate(missing):
        assert texts is not None
        if progress:
            progress(concept, done, len(missing))
        vector = extract(
            model, concept, positive=texts.positive[concept], background=texts.background(concept), seed=seed
        )
        save(vector, folder / f"{concept}.safetensors")


def keep_model(model: ResidualModel, folder: Path) -> None:
    """Write the model as it ships: weights in float16, the tokenizer, and where its blocks lie."""
    model.hf.half().save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)
    (folder / "residual.json").write_text(json.dumps({"blocks": model.blocks_path}) + "\n")
