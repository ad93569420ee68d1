"""The contest: successive halving over methods, layers and positions, judged by samples at equal mean pressure."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

from vectors.calibration.checkpoint import Checkpoint
from vectors.calibration.equal_pressure import Effect, measure_effect, more_samples, rank
from vectors.calibration.word_judge import Judge
from vectors.common.errors import VectorError
from vectors.extraction.contest.candidate import Candidate
from vectors.extraction.contest.learned import MOST, POSITIONS, REWARDED, Teacher
from vectors.extraction.contest.means import DEPTHS, layers_at, mean_candidates, profile_layers
from vectors.extraction.contest.plan import Plan
from vectors.extraction.extraction_input import ExtractionInput
from vectors.extraction.prompts import PromptedTexts

LEARNED_DEPTHS = (1 / 2, 1 / 3)
"""Layers, as shares of the depth, at which shifts are learned beside the best layer of a difference of means."""

FEWEST_TEXTS = 16
"""Fewest texts of each side that rewards are judged by."""

Show = Callable[[str, Sequence[str]], None]
"""Called with a heading and some texts that were sampled."""


@dataclass(frozen=True)
class Entry:
    """A candidate with its effect, and the round in which it was dropped, or the last one."""

    candidate: Candidate
    effect: Effect
    round: str

    def row(self) -> dict[str, Any]:
        """Return what is recorded of it, plain JSON."""
        return {"round": self.round} | self.candidate.row(self.effect)


@dataclass(frozen=True)
class Choices:
    """What a contest may choose from.

    Attributes:
        layers: 0-based blocks, or None for a few over the depth.
        positions: where shifts are added, or None for all that the contest knows.
        methods: names of the methods, or None for all.
    """

    layers: tuple[int, ...] | None = None
    positions: str | None = None
    methods: tuple[str, ...] | None = None

    def singles(self, n_layers: int) -> list[int]:
        """Return the layers of single shifts."""
        return list(self.layers) if self.layers else layers_at(n_layers, DEPTHS)

    def profile(self, n_layers: int) -> list[int]:
        """Return the layers of a profile."""
        return list(self.layers) if self.layers else profile_layers(n_layers)

    def all_layers(self, n_layers: int) -> tuple[int, ...]:
        """Return every layer whose activations are read."""
        return tuple(sorted({*self.singles(n_layers), *self.profile(n_layers)}))

    @property
    def learned_positions(self) -> tuple[str, ...]:
        """Where shifts are learned together."""
        return (self.positions,) if self.positions else POSITIONS

    def allows(self, method: str) -> bool:
        """Whether a method may take part."""
        return self.methods is None or method in self.methods


def hold_contest(
    data: ExtractionInput,
    judge: Judge,
    plan: Plan,
    choices: Choices,
    checkpoint: Checkpoint,
    written: PromptedTexts | None = None,
    show: Show | None = None,
) -> tuple[Candidate, list[Entry]]:
    """Return the winner, and all candidates, the best first.

    Cheap candidates are judged by a few texts, the best third of them by more. Shifts are learned by each method at the
    middle of the depth, beginning with the mean difference there, and by the best method at the best layer of the cheap
    ones, then at others. The best of these is learned further, and the best after that learns from rewards. The two
    best of all are judged again.

    Args:
        data: the texts; its layers are those of the choices.
        judge: fit on texts that are not among them.
        plan: how much work to do.
        choices: what to choose from.
        checkpoint: finished parts.
        written: the positive texts, if the model wrote them behind prompts.
        show: called with two texts of each candidate that is better than all before.

    Raises:
        VectorError: no candidate at all.
    """
    contest = _Contest(data, judge, plan, choices, checkpoint, show)
    means = contest.judge_means()
    entries = contest.ranked([*contest.judge_learned(means, Teacher(data, written=written)), *means])
    if not entries:
        raise VectorError(f"no method of {', '.join(choices.methods or ())} takes part in a contest: choose another")
    entries = contest.judge_again(entries, 2, plan.best_texts_again, "last")
    return entries[0].candidate, entries


@dataclass(frozen=True)
class _Contest:
    """The rounds of a contest; see `hold_contest`."""

    data: ExtractionInput
    judge: Judge
    plan: Plan
    choices: Choices
    checkpoint: Checkpoint
    show: Show | None

    def judge_means(self) -> list[Entry]:
        """Judge the differences of means, and the best third of them by more texts."""
        n_layers, entries = self.data.model.n_layers, list[Entry]()
        every = mean_candidates(self.data, self.choices.singles(n_layers), self.choices.profile(n_layers))
        allowed = [candidate for candidate in every if self.choices.allows(candidate.method)][: self.plan.means]
        advance = self.data.counter("judging means by samples", len(allowed) or 1)
        for candidate in allowed:
            entries.append(self._judged(candidate, self.plan.mean_texts, "means"))
            self._show_if_best(entries[-1], entries[:-1])
            advance(1)
        return self.judge_again(entries, max(1, len(entries) // 3), self.plan.mean_texts_again, "means, again")

    def judge_learned(self, means: Sequence[Entry], teacher: Teacher) -> list[Entry]:
        """Learn by every method at the middle of the depth, by the best at the best layer of the means, and further."""
        n_layers, entries = self.data.model.n_layers, list[Entry]()
        best = [entry.candidate.layers[0] for entry in means if len(entry.candidate.layers) == 1][:1]
        usual = [] if self.choices.layers else [int(n_layers * depth) for depth in LEARNED_DEPTHS]
        first, *others = dict.fromkeys([*usual[:1], *best, *usual[1:], *self.choices.singles(n_layers)])
        methods = [method for method in teacher.methods if self.choices.allows(method)][: self.plan.learned]
        for method in methods:
            entries.append(self._learned(teacher, method, first))
            self._show_if_best(entries[-1], [*means, *entries[:-1]])
        for layer in others[: self.plan.learned - len(methods)] if entries else ():
            entries.append(self._learned(teacher, self.ranked(entries[: len(methods)])[0].candidate.method, layer))
            self._show_if_best(entries[-1], [*means, *entries[:-1]])
        if entries and self.plan.further_steps:
            entries.append(self._learned_further(teacher, self.ranked(entries)[0].candidate))
            self._show_if_best(entries[-1], [*means, *entries[:-1]])
        if entries and self._is_worth_rewards(taught := self.ranked(entries)[0]):
            entries.append(self._rewarded(teacher, taught))
            self._show_if_best(entries[-1], [*means, *entries[:-1]])
        return entries

    def judge_again(self, entries: Sequence[Entry], best: int, n: int, round: str) -> list[Entry]:
        """Judge the best entries by more texts, and return all in order, these before the others."""
        ranked = self.ranked(entries)
        if len(ranked) < 2:
            return ranked
        advance = self.data.counter("judging the best by more samples", min(best, len(ranked)))
        judged = []
        for entry in ranked[:best]:
            effect = self._effect(
                f"{entry.candidate.label} {entry.effect.n} and {n}",
                partial(
                    more_samples, self.data.model, entry.candidate.shifts, self.judge, entry.effect, n=n,
                    seed=self.data.seed,
                ),
            )  # fmt: skip
            judged.append(Entry(entry.candidate, effect, round))
            advance(1)
        return self.ranked(judged) + ranked[best:]

    def ranked(self, entries: Sequence[Entry]) -> list[Entry]:
        """Return entries in order, the best first."""
        return sorted(entries, key=lambda entry: rank(entry.effect), reverse=True)

    def _learned(self, teacher: Teacher, method: str, layer: int) -> Entry:
        positions, steps = self.choices.learned_positions, self.plan.steps
        differences = {at: moments.difference for at, moments in self.data.moments().items()}
        shifts = self.checkpoint.shifts(
            f"{method} {layer} {positions}",
            lambda: teacher.learn(method, [layer], positions, differences, steps=steps).shifts,
        )
        return self._judged_learned(Candidate(method, shifts, MOST, steps))

    def _learned_further(self, teacher: Teacher, candidate: Candidate) -> Entry:
        steps = self.plan.further_steps
        shifts = self.checkpoint.shifts(
            f"{candidate.label} and {steps}", lambda: teacher.learn_further(candidate, steps=steps).shifts
        )
        return self._judged_learned(replace(candidate, shifts=shifts, steps=candidate.steps + steps))

    def _is_worth_rewards(self, entry: Entry) -> bool:
        """Whether rewards can teach a candidate anything: some of its texts are rewarded, and not all."""
        enough = min(len(self.data.fit.positive), len(self.data.fit.background)) >= FEWEST_TEXTS
        return self.plan.rounds > 0 and enough and self.choices.allows(REWARDED) and 0 < entry.effect.success < 1

    def _rewarded(self, teacher: Teacher, entry: Entry) -> Entry:
        rounds, texts, candidate = self.plan.rounds, self.plan.round_texts, entry.candidate
        shifts = self.checkpoint.shifts(
            f"{candidate.label} and {rounds} rounds of {texts}",
            lambda: teacher.learn_from_rewards(candidate, scale=entry.effect.scale, rounds=rounds, texts=texts).shifts,
        )
        return self._judged_learned(replace(candidate, method=REWARDED, shifts=shifts))

    def _judged_learned(self, candidate: Candidate) -> Entry:
        self.data.progress(f"judging {candidate.label}", 0, 0)
        return self._judged(candidate, self.plan.learned_texts, "learned")

    def _judged(self, candidate: Candidate, n: int, round: str) -> Entry:
        measure = partial(
            measure_effect, self.data.model, candidate.shifts, self.judge, most=candidate.most, n=n,
            seed=self.data.seed,
        )  # fmt: skip
        return Entry(candidate, self._effect(f"{candidate.label} {n}", measure), round)

    def _effect(self, name: str, measure: Callable[[], Effect]) -> Effect:
        """Return the effect of a name from the checkpoint, or measure it."""
        found = self.checkpoint.value(name, lambda: asdict(measure()))
        return Effect(**{**found, "texts": tuple(found["texts"])})

    def _show_if_best(self, entry: Entry, before: Sequence[Entry]) -> None:
        if self.show is not None and all(rank(entry.effect) > rank(other.effect) for other in before):
            success = f"{entry.effect.hits} of {entry.effect.n}"
            self.show(f"{entry.candidate.label}: {success} at {entry.effect.pressure:.2f} nats", entry.effect.texts)
