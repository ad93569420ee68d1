"""What rewards add to distilled shifts, judged by words and by an embedding that no reward knew.

`python benchmarks/rewarding.py MODEL KIND [KIND …] --out DIR` distils shifts at the middle layer, learns on from
rewards, and prints for each stage success at `PRESSURE` by a judge of words of other texts, by a judge of sentence
embeddings, and by both. Stages are kept in DIR.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from embedding_judge import EmbeddingJudge
from real_texts import KINDS, texts_of

import vectors
from vectors.activations.text_activations import encode_by_text
from vectors.calibration.checkpoint import Checkpoint
from vectors.calibration.equal_pressure import measure_effect
from vectors.calibration.word_judge import WordJudge
from vectors.data.contrast import ContrastSet
from vectors.decoding.own_texts import own_texts
from vectors.decoding.prompt_free_samples import sample_shifted
from vectors.decoding.token_sampling import Settings
from vectors.extraction.contest.candidate import Candidate
from vectors.extraction.contest.learned import POSITIONS, Teacher
from vectors.extraction.extraction_input import ExtractionInput
from vectors.model.residual_model import ResidualModel

PRESSURE = 0.47
ROUNDS = (4, 8)
TEXTS = 96


def stages(model: ResidualModel, kind: str, method: str, layer: int, further: int, out: Path) -> None:
    """Learn and print."""
    texts, own = texts_of(kind, 400), own_texts(model, 416, seed=12345)
    fit, held = ContrastSet(texts[::2], own[256:]), (texts[1::2], own[:256])
    data = ExtractionInput(
        model=model, fit=fit, tokens=encode_by_text(model, [*fit.positive, *fit.background]), layers=(layer,),
        positions="all",
    )  # fmt: skip
    words, embedding, teacher = WordJudge(*held), EmbeddingJudge(*held), Teacher(data)
    kept = Checkpoint(out / kind, {"kind": kind, "method": method, "layer": layer, "model": model.hash})
    print(f"{kind}: the judge of embeddings is right about {embedding.accuracy:.2f} of the texts", flush=True)

    def shown(stage: str, candidate: Candidate) -> float:
        effect = measure_effect(model, candidate.shifts, words, pressure=PRESSURE, most=4.0, n=TEXTS, seed=7)
        rows = {site: effect.scale * shift for site, shift in candidate.shifts.items()}
        found = sample_shifted(model, rows, n=TEXTS, settings=Settings(max_tokens=40), seed=8)
        by_words = np.array([words.accepts(text) for text in found.texts])
        by_embedding = embedding.accepted(found.texts)
        shares = f"words {by_words.mean():.2f}, embedding {by_embedding.mean():.2f}"
        print(f"{kind} | {stage} | {shares}, both {(by_words & by_embedding).mean():.2f} | "
              f"{found.kl.mean():.2f} nats | scale {effect.scale:.2f}", flush=True)  # fmt: skip
        return effect.scale

    differences = {at: moments.difference for at, moments in data.moments().items()}
    steps = 100
    shifts = kept.shifts("100", lambda: teacher.learn(method, [layer], POSITIONS, differences, steps=100).shifts)
    candidate = Candidate(method, shifts, steps=steps)
    if further:
        more = kept.shifts(str(further), lambda: teacher.learn_further(candidate, steps=further).shifts)
        candidate, steps = replace(candidate, shifts=more), steps + further
    scale = shown(f"{steps} steps", candidate)
    for rounds in ROUNDS:
        learned = kept.shifts(
            f"{steps} and {rounds}",
            lambda rounds=rounds: teacher.learn_from_rewards(candidate, scale=scale, rounds=rounds, texts=64).shifts,  # type: ignore[misc]
        )
        shown(f"{steps} steps, {rounds} rounds", replace(candidate, shifts=learned))


def main() -> None:
    """Learn and print for each kind."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("kinds", nargs="+", choices=list(KINDS))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--method", default="distilled")
    parser.add_argument("--further", type=int, default=0, help="steps after the first 100")
    options = parser.parse_args()
    model = vectors.load_model(options.model)
    for kind in options.kinds:
        stages(model, kind, options.method, model.n_layers // 2, options.further, options.out / str(options.further))


if __name__ == "__main__":
    main()
