"""Shifts that take a concept away: the steered model predicts what the plain one writes without the concept.

Of a model that writes a concept in a share of its texts, the opposite of the concept's shift is not what takes it away:
it leads to whatever lies on the other side. What is wanted is known, though: the plain distribution less the share of
the concept, whose own distribution the concept's shift gives.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from vectors.calibration.calibrate import BUDGET
from vectors.calibration.checkpoint import Checkpoint
from vectors.calibration.word_judge import Judge
from vectors.common.progress import Progress, count_progress
from vectors.common.statistics import wilson
from vectors.concepts.vector import ConceptVector
from vectors.decoding.own_texts import own_texts
from vectors.decoding.prompt_free_samples import fitting_length, sample_shifted
from vectors.decoding.prompted_samples import text_states
from vectors.decoding.token_sampling import Settings
from vectors.extraction.shifts.distilled_shift import ROWS, Lesson, Lessons, TokenIds, distil, steered_states
from vectors.extraction.shifts.likely_tokens import likely_tokens
from vectors.model.output_head import map_logits
from vectors.model.positions import Site
from vectors.model.residual_model import ResidualModel

LEAST_SHARE: Final = 0.1
"""Share of the model's own texts with the concept below which nothing is learned: there is little to take away."""

OWN_TEXTS: Final = 160
"""Texts of the model that are read."""

TOKENS: Final = 64
"""Tokens read of each text."""

STEPS: Final = 100
"""Optimiser steps."""

RATE: Final = 0.03
"""Initial learning rate, relative to the layer's root-mean-square activation."""

SCALES: Final = (1.0, 1.4, 2.0, 2.8)
"""Scales at which the shifts are tried, until one halves the share of the concept."""

ENOUGH: Final = (0.45, 0.5)
"""Share of the concept, relative to that of the plain model, at which no further scale is tried, and that is enough."""

_START = 0.5  # share of the opposite of the concept's shift that learning begins with
_BATCHES = 16  # of texts, at most
_MOST = 0.9  # share of the concept in the texts that begin as one does: something has to be left


def with_away_shifts(
    model: ResidualModel,
    vector: ConceptVector,
    judge: Judge,
    *,
    n: int = 64,
    max_tokens: int = 40,
    steps: int = STEPS,
    seed: int = 0,
    checkpoint: Checkpoint | None = None,
    progress: Progress | None = None,
) -> ConceptVector:
    """Return the vector with shifts for negative doses, or as it is if the model writes few texts with the concept.

    The evidence records under `away` the share of the concept at each scale that was tried. Shifts that do not lower it
    within the pressure budget, by more than chance, are dropped.

    Args:
        model: the model of the vector.
        vector: a vector with its unit.
        judge: decides which texts have the concept.
        n: texts sampled at each scale.
        max_tokens: length limit of a text.
        steps: optimiser steps.
        seed: of the texts.
        checkpoint: finished parts.
        progress: called as the work goes on.
    """
    own = own_texts(model, OWN_TEXTS, seed=seed)
    without = [text for text in own if not judge.accepts(text)]
    share = 1 - len(without) / max(1, len(own))
    if share < LEAST_SHARE or len(without) < ROWS:
        return vector
    parts, start = (checkpoint or Checkpoint(None, {})).about(vector.shifts), len(model.start_ids())
    texts = [row[start : start + TOKENS] for row in model.encode(without)]
    shifts = parts.shifts(
        f"away {vector.scale:.6g}",
        lambda: learn_away(model, vector, texts, share, steps=steps, seed=seed, progress=progress),
    )
    settings = Settings(max_tokens=fitting_length(model, max_tokens))

    def row(scale: float) -> dict[str, Any]:
        scaled = {site: scale * shift for site, shift in shifts.items()}
        samples = sample_shifted(model, scaled, n=n, settings=settings, seed=seed)
        hits = sum(judge.accepts(text) for text in samples.texts)
        low, high = wilson(hits, n)
        return {
            "scale": scale, "share": round(hits / n, 4), "low": round(low, 4), "high": round(high, 4),
            "pressure": round(float(samples.kl.mean()), 4), "n": n,
        }  # fmt: skip

    if progress:
        progress("trying shifts that take the concept away", 0, 0)
    plain = parts.value("away 0", lambda: row(0.0))
    rows = list[dict[str, Any]]()
    for scale in SCALES:
        rows.append(parts.value(f"away {scale}", lambda scale=scale: row(scale)))  # type: ignore[misc]
        if rows[-1]["share"] <= ENOUGH[0] * plain["share"] or rows[-1]["pressure"] > BUDGET:
            break
    best = chosen_row(plain, rows)
    if best is None:
        return vector
    away = {site: shift * (best["scale"] / vector.scale) for site, shift in shifts.items()}
    record = {"plain": plain, "tried": rows, "chosen": best}
    return replace(vector, away_shifts=away, evidence={**vector.evidence, "away": record})


def chosen_row(plain: dict[str, Any], rows: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the smallest scale that halves the share, or the one with the least share if that is no accident.

    Args:
        plain: the row of the plain model.
        rows: the scales that were tried, the smallest first.
    """
    within = [row for row in rows if row["pressure"] <= BUDGET]
    enough = [row for row in within if row["share"] <= ENOUGH[1] * plain["share"]]
    lower = [row for row in within if row["high"] < plain["share"]]
    return enough[0] if enough else min(lower, key=lambda row: float(row["share"]), default=None)


def learn_away(
    model: ResidualModel,
    vector: ConceptVector,
    texts: Sequence[TokenIds],
    share: float,
    *,
    steps: int = STEPS,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[Site, Float64[Tensor, " d_model"]]:
    """Return shifts under which the model writes as it does, without the concept; at the sites of the vector.

    At each token of a text, the model should predict `(plain - s concept) / (1 - s)`, where `concept` is what it
    predicts at dose 1, and `s` the share of the concept in texts that begin like this one: by Bayes' rule, `share`
    times the likelihood ratio of the text so far. Adam minimises the KL from there to the steered prediction.

    Args:
        model: the model of the vector.
        vector: the concept.
        texts: token ids of the model's own texts without the concept, without the start token.
        share: share of its texts with the concept, 0 to 1.
        steps: optimiser steps.
        seed: of the tokens that are compared.
        progress: called as the work goes on.
    """
    concept = {site: (row * vector.scale).to(model.device) for site, row in vector.shifts.items()}
    batches = [[list(text) for text in texts[first : first + ROWS]] for first in range(0, len(texts), ROWS)][:_BATCHES]
    lessons = [_lesson(model, batch, concept, share) for batch in batches]
    vocabulary = int(model.hf.config.get_text_config(decoder=True).vocab_size)
    counted = [states for lesson in lessons[:4] for states in (lesson.prompted, lesson.plain)]
    tokens = likely_tokens(model, counted, vocabulary, also={token for text in texts for token in text})
    advance = count_progress(progress, "learning to take the concept away", steps) if progress else None
    return distil(
        model, Lessons(lessons, tokens), {site: -_START * row for site, row in concept.items()}, steps=steps, rate=RATE,
        early=0.0, kl=0.0, seed=seed, progress=None if advance is None else lambda _: advance(1),
    )  # fmt: skip


def _lesson(model: ResidualModel, texts: list[list[int]], concept: dict[Site, Tensor], share: float) -> Lesson:
    """Return a batch with what the plain model and the concept predict, and the share of the concept at each token."""
    start = model.start_ids()
    with torch.no_grad():
        plain = text_states(model, [(start, text) for text in texts])
        steered = steered_states(model, texts, concept)
        written = torch.tensor([token for text in texts for token in text], device=plain.device)
        ratio = _log_likelihood(model, steered, written) - _log_likelihood(model, plain, written)
    shares, first = [], 0
    for text in texts:
        before = ratio[first : first + len(text)].cumsum(0) - ratio[first : first + len(text)]
        shares.append((share * before.exp()).clamp(max=_MOST))
        first += len(text)
    return Lesson(texts, steered, plain, torch.cat(shares))


def _log_likelihood(model: ResidualModel, states: Tensor, written: Tensor) -> Float[Tensor, " n"]:
    def of(logits: Tensor, tokens: Tensor) -> Tensor:
        return logits.log_softmax(dim=-1).gather(1, tokens[:, None])[:, 0]

    return map_logits(model, of, states, beside=written)
