"""Texts of a concept that the model writes itself, behind prompts: for a concept without texts at hand."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vectors.calibration.checkpoint import Checkpoint
from vectors.calibration.equal_pressure import MAX_TOKENS
from vectors.calibration.word_judge import Judge
from vectors.common.errors import InputError
from vectors.common.progress import Progress, count_progress
from vectors.common.rng import Stream, rng
from vectors.common.statistics import wilson
from vectors.common.validation import check_utf8, quote
from vectors.decoding.prompted_samples import BETWEEN, example_prompts, sample_prompted
from vectors.model.residual_model import ResidualModel

TEMPLATES = ("{D}\n\n", "# {D}\n\n", "{d}:\n\n", "Example of {d}:\n\n")
"""Prompts for a description, in lower and upper case (see benchmarks/RESULTS.md)."""

TEXTS = 128
"""Texts that the model writes behind the prompts."""

SHOTS = 3
"""Examples in a prompt."""

_PROMPTS = 16  # prompts of examples
_FEWEST = 16  # different texts that a concept needs


@dataclass(frozen=True)
class PromptedTexts:
    """What the model writes behind prompts.

    Attributes:
        texts: the different texts that are not blank.
        tokens: token ids of each.
        prompts: token ids of the prompt of each, the start token included.
        pressures: mean pressure of the prompt on each, in nats per token.
    """

    texts: list[str]
    tokens: list[list[int]]
    prompts: list[list[int]]
    pressures: list[float]

    def record(self, judge: Judge, held_out: Sequence[str]) -> dict[str, Any]:
        """Return success and pressure of the prompts, plain JSON; success on the texts that no judge was fit on."""
        known = set(held_out)
        others = [text for text in self.texts if text not in known]
        hits, n = sum(judge.accepts(text) for text in others), len(others)
        low, high = wilson(hits, n)
        return {
            "success": round(hits / n, 4), "low": round(low, 4), "high": round(high, 4),
            "pressure": round(float(np.mean(self.pressures)), 4), "n": n,
        }  # fmt: skip


def describe_prompts(description: str) -> list[str]:
    r"""Return prompts for a description of the texts.

    Raises:
        InputError: a blank description.

    >>> describe_prompts("a letter by a pirate")[0]
    'A letter by a pirate\n\n'
    """
    if not isinstance(description, str) or not description.strip():
        raise InputError(f"the description is {quote(description)}: say what a text is, such as a letter by a pirate")
    words = " ".join(description.split()).rstrip(".:")
    return [template.format(d=words, D=words[0].upper() + words[1:]) for template in TEMPLATES]


def write_texts(
    model: ResidualModel,
    prompts: Sequence[str],
    *,
    examples: bool,
    seed: int,
    checkpoint: Checkpoint,
    progress: Progress,
) -> PromptedTexts:
    """Let the model write texts behind prompts.

    Args:
        model: the model.
        prompts: the prompts, or examples of which prompts are made.
        examples: whether they are examples: each prompt is then a few of them, and a blank line ends a text.
        seed: of the tokens, and of the choice of examples.
        checkpoint: finished parts.
        progress: called as the work goes on.

    Raises:
        InputError: a blank prompt, one without room in the context, or prompts behind which the model writes nothing
            or always the same.
    """
    rows = example_prompts(model, prompts, SHOTS, n=_PROMPTS, seed=seed) if examples else _encoded(model, prompts)
    advance = count_progress(progress, "writing texts behind the prompts", TEXTS)

    def made() -> dict[str, Any]:
        found = sample_prompted(
            model, rows, TEXTS, max_tokens=MAX_TOKENS, seed=seed, stop=BETWEEN if examples else None, progress=advance
        )
        pressures = [float(cost.mean()) if len(cost) else 0.0 for cost in found.costs]
        return {"texts": found.texts, "tokens": found.tokens, "pressures": pressures}

    found = checkpoint.value("texts behind prompts", made)
    kept = {
        text: index for index, text in reversed(list(enumerate(found["texts"]))) if text.strip()
    }  # the first of equal ones
    indices = sorted(kept.values())
    if len(indices) < _FEWEST:
        what = "nothing" if not indices else f"only {len(indices)} different texts of {TEXTS}"
        raise InputError(f"behind {'these examples' if examples else quote(prompts[0])} the model writes {what}: "
                         "give another prompt, or several")  # fmt: skip
    return PromptedTexts(
        [found["texts"][index] for index in indices],
        [found["tokens"][index] for index in indices],
        [list(rows[index % len(rows)]) for index in indices],
        [found["pressures"][index] for index in indices],
    )


def prompt_pairs(
    texts: PromptedTexts, fit: Sequence[str], *, rows: int, tokens: int, seed: int
) -> Callable[[int], Any]:
    """Return batches of the texts to learn from, each behind the prompt that it was written behind.

    Args:
        texts: the texts.
        fit: those that may be learned from.
        rows: texts in a batch.
        tokens: tokens of each.
        seed: of the draws.
    """
    allowed = set(fit)
    chosen = [index for index, text in enumerate(texts.texts) if text in allowed and texts.tokens[index]]

    def pairs(number: int) -> list[tuple[list[int], list[int]]]:
        drawn = rng(seed, number, Stream.FIT).choice(len(chosen), size=rows, replace=len(chosen) < rows)
        return [(texts.prompts[chosen[at]], texts.tokens[chosen[at]][:tokens]) for at in drawn]

    return pairs


def _encoded(model: ResidualModel, prompts: Sequence[str]) -> list[list[int]]:
    for prompt in prompts:
        if not isinstance(prompt, str) or not prompt:
            raise InputError(f"a prompt is {quote(prompt)}: give text")
        check_utf8(prompt, "a prompt")
    rows = model.encode(list(prompts))
    for prompt, row in zip(prompts, rows, strict=True):
        if len(row) <= len(model.start_ids()):
            raise InputError(f"the prompt {quote(prompt)} has no token of its own: give text")
    return [list(row) for row in rows]
