"""The contest: successive halving over methods, layers and positions, judged by samples at equal mean pressure."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from vectors.calibration.checkpoint import Checkpoint
from vectors.calibration.equal_pressure import Effect, measure_effect, more_samples, rank
from vectors.calibration.word_judge import Judge
from vectors.common.errors import VectorError
from vectors.extraction.contest.candidate import Candidate
from vectors.extraction.contest.learned import POSITIONS, Teacher, as_tensors, from_tensors
from vectors.extraction.contest.means import DEPTHS, layers_at, mean_candidates, profile_layers
from vectors.extraction.contest.plan import Plan
from vectors.extraction.extraction_input import ExtractionInput
from vectors.extraction.prompts import PromptedTexts

LEARNED_DEPTHS = (1 / 3, 1 / 6)
"""Layers, as shares of the depth, at which shifts are learned beside the best layer of a difference of means."""

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
class Field:
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
    field: Field,
    checkpoint: Checkpoint,
    written: PromptedTexts | None = None,
    show: Show | None = None,
) -> tuple[Candidate, list[Entry]]:
    """Return the winner, and all candidates, the best first.

    Cheap candidates are judged by a few texts, the best third of them by more. Shifts are learned by each method at the
    best layer of those, beginning with the mean difference there, and by the better method at other layers. The two
    best of all are judged again.

    Args:
        data: the texts; its layers are those of the field.
        judge: fit on texts that are not among them.
        plan: how much work to do.
        field: what to choose from.
        checkpoint: finished parts.
        written: the positive texts, if the model wrote them behind prompts.
        show: called with two texts of each candidate that is better than all before.

    Raises:
        VectorError: no candidate at all.
    """
    n_layers, entries = data.model.n_layers, list[Entry]()
    differences = {layer: moments.difference for layer, moments in data.moments().items()}
    every = mean_candidates(data, field.singles(n_layers), field.profile(n_layers))
    cheap = [candidate for candidate in every if field.allows(candidate.method)][: plan.means]
    advance = data.counter("judging means by samples", len(cheap) or 1)
    for candidate in cheap:
        entries.append(_judged(data, judge, candidate, plan.first, "means", checkpoint))
        _show_if_best(show, entries[-1], entries[:-1])
        advance(1)
    entries = _again(data, judge, entries, max(1, len(entries) // 3), plan.second, "means, again", checkpoint)
    best = [entry.candidate.layers[0] for entry in entries if len(entry.candidate.layers) == 1][:1]
    usual = [] if field.layers else [int(n_layers * depth) for depth in LEARNED_DEPTHS]
    layers = list(dict.fromkeys([*best, *usual, *field.singles(n_layers)]))
    teacher = Teacher(data, steps=plan.steps, written=written)
    methods = [method for method in teacher.methods if field.allows(method)]
    learned = list[Entry]()
    for number in range(min(plan.learned, len(methods) + len(layers) - 1) if methods else 0):
        if number < len(methods):  # all methods at the first layer, then the best of them at others
            method, layer = methods[number], layers[0]
        else:
            method = max(learned[: len(methods)], key=lambda entry: rank(entry.effect)).candidate.method
            layer = layers[number - len(methods) + 1]
        tensors = checkpoint.tensors(
            f"{method} {layer} {field.learned_positions}",
            lambda method=method, layer=layer: as_tensors(  # type: ignore[misc]
                teacher.learn(method, [layer], field.learned_positions, differences)
            ),
        )
        candidate = from_tensors(method, tensors)
        data.progress(f"judging {candidate.label}", 0, 0)
        learned.append(_judged(data, judge, candidate, plan.third, "learned", checkpoint))
        _show_if_best(show, learned[-1], [*entries, *learned[:-1]])
    entries = sorted([*learned, *entries], key=lambda entry: rank(entry.effect), reverse=True)
    if not entries:
        raise VectorError(f"no method of {', '.join(field.methods or ())} takes part in a contest: choose another")
    entries = _again(data, judge, entries, 2, plan.last, "last", checkpoint)
    return entries[0].candidate, entries


def _show_if_best(show: Show | None, entry: Entry, before: Sequence[Entry]) -> None:
    if show is not None and all(rank(entry.effect) > rank(other.effect) for other in before):
        success = f"{entry.effect.hits} of {entry.effect.n}"
        show(f"{entry.candidate.label}: {success} at {entry.effect.pressure:.2f} nats", entry.effect.texts)


def _judged(
    data: ExtractionInput, judge: Judge, candidate: Candidate, n: int, round: str, checkpoint: Checkpoint
) -> Entry:
    found = checkpoint.value(
        f"{candidate.label} {n}",
        lambda: _as_json(measure_effect(data.model, candidate.shifts, judge, most=candidate.most, n=n, seed=data.seed)),
    )
    return Entry(candidate, _effect(found), round)


def _again(
    data: ExtractionInput, judge: Judge, entries: Sequence[Entry], best: int, n: int, round: str,
    checkpoint: Checkpoint,
) -> list[Entry]:  # fmt: skip
    """Judge the best entries by more texts, and return all in order, these before the others."""
    ranked = sorted(entries, key=lambda entry: rank(entry.effect), reverse=True)
    if len(ranked) < 2:
        return ranked
    advance = data.counter("judging the best by more samples", min(best, len(ranked)))
    judged = []
    for entry in ranked[:best]:
        effect, shifts = entry.effect, entry.candidate.shifts
        found = checkpoint.value(
            f"{entry.candidate.label} {effect.n} and {n}",
            lambda effect=effect, shifts=shifts: _as_json(  # type: ignore[misc]
                more_samples(data.model, shifts, judge, effect, n=n, seed=data.seed)
            ),
        )
        judged.append(Entry(entry.candidate, _effect(found), round))
        advance(1)
    return sorted(judged, key=lambda entry: rank(entry.effect), reverse=True) + ranked[best:]


def _effect(found: dict[str, Any]) -> Effect:
    return Effect(**{**found, "texts": tuple(found["texts"])})


def _as_json(effect: Effect) -> dict[str, Any]:
    return asdict(effect) | {"texts": list(effect.texts)}
