"""Success against pressure: doses of a concept, prompts of a few examples, and both together."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from steer.composition.steering_point import compose
from steer.judges.judge import Judge
from steer.judges.success import accepted, success_statistic
from steer.statistics.estimate import Estimate
from steer.statistics.statistic import ratio_of
from steer.sweeps.plots import plot_plane
from vectors.common.errors import InputError
from vectors.common.validation import check_integer
from vectors.concepts.vector import ConceptVector
from vectors.decoding.prompted_samples import (
    BETWEEN,
    PromptedSamples,
    check_room,
    example_prompts,
    sample_prompted,
)
from vectors.model.positions import Site
from vectors.model.residual_model import ResidualModel

DOSES = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
"""Doses of the concept."""

SHOTS = (1, 3, 6)
"""Numbers of examples in a prompt."""

BOTH_DOSE = 0.5
"""Dose of the concept behind a prompt."""


@dataclass(frozen=True)
class FrontierRow:
    """One way to bring on a concept.

    Attributes:
        dose: of the concept; 0 without it.
        shots: examples in the prompt; 0 without any.
        success: share of texts in which the judges find the concept.
        pressure: mean KL from the plain model without a prompt, nats per token, on the tokens written.
        texts: the texts.
        given: whether one of the given prompts goes before each text.
    """

    dose: float
    shots: int
    success: Estimate
    pressure: Estimate
    texts: tuple[str, ...]
    given: bool = False

    @property
    def label(self) -> str:
        """What was done, in words."""
        prompt = f"prompt of {self.shots}" if self.shots else "prompt" if self.given else ""
        concept = f"dose {self.dose:g}" if self.dose or not prompt else ""
        return " and ".join(filter(None, (prompt, concept)))

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        figures = {"success": self.success.to_dict(), "pressure": self.pressure.to_dict()}
        return {"dose": self.dose, "shots": self.shots, "given": self.given, **figures, "texts": list(self.texts)}


@dataclass(frozen=True)
class PromptFrontier:
    """Success and pressure of doses, prompts, and both.

    Attributes:
        name: of the concept.
        rows: doses first, then prompts, then both.
    """

    name: str
    rows: tuple[FrontierRow, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {"name": self.name, "rows": [row.to_dict() for row in self.rows]}

    def plot(self, path: str | Path | None = None, *, theme: str = "light", force: bool = False) -> Any:
        """Draw success against pressure: a line for doses and one for prompts, with 95 % bars, and return the axes.

        Raises:
            InputError: an unknown theme or kind of file.
            OutputError: a file that exists (unless `force`) or cannot be written.
        """
        lines = {
            "doses": [(row.dose, row.pressure, row.success) for row in self.rows if not row.shots and not row.given],
            "examples in a prompt": [
                (float(row.shots), row.pressure, row.success) for row in self.rows if row.shots and not row.dose
            ],
        }
        n = self.rows[0].success.n
        return plot_plane(
            lines, labels=("pressure (nats/token)", "success"), path=path, theme=theme, force=force,
            title=f"{self.name}   |   {n} texts a point, 95 % intervals",
        )  # fmt: skip


def prompt_frontier(
    model: ResidualModel,
    concept: ConceptVector | str,
    judges: Sequence[Judge],
    examples: Sequence[str],
    *,
    doses: Sequence[float] = DOSES,
    shots: Sequence[int] = SHOTS,
    both: bool = True,
    prompts: Sequence[str] = (),
    n: int = 64,
    max_tokens: int = 40,
    seed: int = 0,
    watcher: Callable[[FrontierRow], None] | None = None,
) -> PromptFrontier:
    """Sample doses of a concept, prompts, and both, and return success and pressure of each.

    All pressures are KL from the plain model that starts from the start token alone, on the tokens that were written;
    texts behind examples end at the first blank line.

    Args:
        model: the model.
        concept: the vector, or its name in the model's library.
        judges: a text is a success if all accept it; none may have seen the texts that the vector was found in.
        examples: texts with the concept, of which prompts are made; none that a judge was fit on.
        doses: of the concept.
        shots: numbers of examples in a prompt.
        both: whether to try prompts with half a dose too.
        prompts: prompts in words; each is before an equal share of the texts of one more row.
        n: texts of each.
        max_tokens: length limit of a text.
        seed: of the texts and of the choice of examples.
        watcher: called with each row once it is measured.

    Raises:
        InputError: too few examples, no judge, or a value outside its range.
        ModelError: a model without a start token.
    """
    count = check_integer(n, "n", low=2)
    numbers = [check_integer(shot, "a number of examples", low=1, high=100) for shot in shots]
    if len(set(examples)) < max(numbers, default=0):
        raise InputError(
            f"there are {len(set(examples))} different examples for prompts of {max(numbers)}: give more, or smaller "
            "--shots (shots=)"
        )
    in_words = model.encode(list(prompts)) if prompts else []
    check_room(model, in_words, max_tokens)  # before anything is sampled
    point = compose({concept: 1.0}, model)
    rows = list[FrontierRow]()

    def measure(dose: float, shot: int = 0, given: Sequence[Sequence[int]] = ()) -> None:
        shifts: Mapping[Site, Tensor] = compose({concept: dose}, model).deltas if dose else {}
        before = example_prompts(model, examples, shot, seed=seed) if shot else given or [model.start_ids()]
        found = sample_prompted(
            model, before, count, max_tokens=max_tokens, seed=seed, stop=BETWEEN if shot else None, shifts=shifts
        )
        rows.append(_row(found, dose, shot, judges, seed, given=bool(given)))
        if watcher is not None:
            watcher(rows[-1])

    for dose in dict.fromkeys(float(dose) for dose in doses):
        measure(dose)
    for shot in numbers:
        measure(0.0, shot)
    if in_words:
        measure(0.0, given=in_words)
    for shot in numbers if both else ():
        measure(BOTH_DOSE, shot)
    return PromptFrontier(point.vectors[0].name, tuple(rows))


def _row(
    found: PromptedSamples, dose: float, shots: int, judges: Sequence[Judge], seed: int, *, given: bool
) -> FrontierRow:
    hits = accepted(found.texts, judges)
    totals = np.array([float(cost.sum()) for cost in found.costs])
    lengths = np.array([max(1, len(cost)) for cost in found.costs])
    pressure = ratio_of("pressure", totals, lengths, perfect=0.0).estimate(seed=seed)
    return FrontierRow(dose, shots, success_statistic(hits, judges).estimate(), pressure, tuple(found.texts), given)
