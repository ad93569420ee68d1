"""Candidates that are learned: distilled from prompts of a few examples, or from the likelihood of the texts."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from jaxtyping import Float
from torch import Tensor

from vectors.calibration.equal_pressure import PRESSURE
from vectors.decoding.prompted_samples import BETWEEN
from vectors.extraction.contest.candidate import Candidate
from vectors.extraction.contest.reward import WordReward
from vectors.extraction.extraction_input import ExtractionInput
from vectors.extraction.prompts import SHOTS, PromptedTexts, prompt_pairs
from vectors.extraction.shifts.distilled_shift import (
    BATCHES,
    KL,
    RATE,
    ROWS,
    TOKENS,
    Lessons,
    TokenIds,
    distil,
    few_shot_pairs,
    read_lessons,
    text_pairs,
)
from vectors.extraction.shifts.rewarded_shift import MAX_TOKENS, reward_shifts
from vectors.model.positions import Site

POSITIONS = ("bos", "decay:4", "all")
"""Where shifts are learned together: the start token decides what kind of text it is, and the rest keeps it up."""

MOST = 4.0
"""Largest scale of a learned shift: its length was learned too."""

WAYS: Final = {"distilled": (0.0, KL), "distilled-free": (0.0, 0.0), "learned": (1.0, 0.0)}
"""Share of the likelihood in the loss, and penalty on leaving the plain model after the first tokens, by method: a kind
of text is decided by how it begins, a mood may come late."""

REWARDED = "rewarded"
"""Method of a candidate that learned from rewards as well."""

_FURTHER_RATE = RATE / 2
_START = 0.5  # share of the mean difference that the shift everywhere begins with


class Teacher:
    """Learns candidates from the positive texts; what they have in common is read once.

    Args:
        data: the texts.
        written: the texts, if the model wrote them behind prompts: it learns from these prompts then, and otherwise
            from prompts of a few of the texts.
    """

    def __init__(self, data: ExtractionInput, *, written: PromptedTexts | None = None) -> None:
        self._data, self._written = data, written
        self._lessons: dict[bool, Lessons] = {}
        weights = data.weights(data.fit.positive)
        self._weights = None if weights is None else weights.numpy()
        self._texts: list[TokenIds] = [row[len(data.model.start_ids()) :] for row in data.rows(data.fit.positive)]

    @property
    def methods(self) -> tuple[str, ...]:
        """What can be learned: examples in a prompt need another text to go before."""
        return tuple(WAYS) if len(self._texts) > 1 else ("learned",)

    def learn(
        self,
        method: str,
        layers: Sequence[int],
        positions: Sequence[str],
        differences: Mapping[int, Tensor],
        *,
        steps: int,
    ) -> Candidate:
        """Return a candidate whose shifts at these layers and positions are learned together.

        Args:
            method: one of `methods`.
            layers: 0-based blocks.
            positions: where each of them is shifted.
            differences: mean difference by layer, for the shift to begin with.
            steps: optimiser steps.
        """
        start: dict[Site, Float[Tensor, " d_model"]] = {}
        wide = next((where for where in reversed(positions) if where != "bos"), None)
        for layer in layers:
            for where in positions:
                share = _START / len(layers) if where == wide else 0.0
                start[layer, where] = share * differences[layer].float()
        return self._distilled(method, start, steps=steps)

    def learn_further(self, candidate: Candidate, *, steps: int) -> Candidate:
        """Return the candidate after so many further steps, which begin at half the rate."""
        learned = self._distilled(candidate.method, candidate.shifts, steps=steps, rate=_FURTHER_RATE)
        return replace(learned, steps=candidate.steps + steps)

    def learn_from_rewards(self, candidate: Candidate, *, scale: float, rounds: int, texts: int) -> Candidate:
        """Return the candidate after rounds in which it learned from texts that were made with it.

        `WordReward` says what a text is worth; it knows only the texts that shifts are learned from.

        Args:
            candidate: a learned candidate.
            scale: of its shifts, where the mean pressure is about `PRESSURE`.
            rounds: number of rounds.
            texts: texts of a round.
        """
        fit, advance = self._data.fit, self._data.counter(f"learning from rewards ({candidate.label})", rounds)
        start = len(self._data.model.start_ids())
        beginnings = [self._data.model.decode(row[start:][:MAX_TOKENS]) for row in self._data.rows(fit.positive)]
        shifts = reward_shifts(
            self._data.model,
            {site: scale * shift for site, shift in candidate.shifts.items()},
            WordReward(beginnings, fit.background, seed=self._data.seed),
            self._lesson(candidate.method).tokens,
            pressure=PRESSURE,
            rounds=rounds,
            texts=texts,
            seed=self._data.seed,
            progress=lambda *_: advance(1),
        )
        kept = {site: shift.float() for site, shift in shifts.items()}
        return replace(candidate, method=REWARDED, shifts=kept, most=MOST)

    def _distilled(self, method: str, start: Mapping[Site, Tensor], *, steps: int, rate: float = RATE) -> Candidate:
        layers = sorted({layer for layer, _ in start})
        what = f"learning at layer {', '.join(map(str, layers))} ({method})"
        advance = self._data.counter(what, steps)
        likelihood, kl = WAYS[method]
        shifts = distil(
            self._data.model,
            self._lesson(method),
            start,
            steps=steps,
            rate=rate / len(layers),  # shifts of several layers add up
            likelihood=likelihood,
            kl=kl,
            seed=self._data.seed,
            progress=lambda _: advance(1),
        )
        kept = {site: shift.float() for site, shift in shifts.items() if bool(shift.any())}
        return Candidate(method, kept, MOST, steps)

    def _lesson(self, method: str) -> Lessons:
        prompted = method != "learned"
        if prompted not in self._lessons:
            model, seed = self._data.model, self._data.seed
            if prompted and self._written is not None:
                pairs = prompt_pairs(self._written, self._data.fit.positive, rows=ROWS, tokens=TOKENS, seed=seed)
            elif prompted:
                between = model.encode([BETWEEN])[0][len(model.start_ids()) :]
                shots = min(SHOTS, len(self._texts) - 1)
                pairs = few_shot_pairs(
                    model, self._texts, shots=shots, between=between, seed=seed, weights=self._weights
                )
            else:
                pairs = text_pairs(model, self._texts, seed=seed, weights=self._weights)
            advance = self._data.counter("reading texts behind prompts", BATCHES)
            self._lessons[prompted] = read_lessons(model, pairs, progress=advance)
        return self._lessons[prompted]
