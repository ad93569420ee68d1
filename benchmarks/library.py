"""Success and pressure of the shipped concepts, alone and three at a time: `python benchmarks/library.py`."""

import argparse
from dataclasses import replace

import numpy as np
from harness import MAX_TOKENS, Options, embedded, has, judged, rate, shared_out, unsteered
from report import table, write

import steer
import vectors
from vectors.almanac.concepts import CONCEPTS
from vectors.almanac.world import distribution
from vectors.decoding.prompt_free_samples import ShiftedSamples, sample_shifted
from vectors.decoding.token_sampling import Settings

DOSES = (0.75, 1.0, 1.25, 1.5)
RADII = (0.0, 0.5, 1.0)

Triple = tuple[str, str, str]


def sampled(point: steer.SteeringPoint, radius: float, options: Options) -> ShiftedSamples:
    """Samples of `steer.sample` with the pressure of every token."""
    rows = steer.perturb(point, options.n, radius, seed=options.seed)
    settings = Settings(max_tokens=MAX_TOKENS)
    return sample_shifted(embedded(), rows, n=options.n, settings=settings, seed=options.seed)


def concept_of(concept: str, options: Options) -> tuple[list[object], float]:
    """One shipped concept's row, and its success at dose 1."""
    vector = vectors.load(concept, embedded())
    made = sampled(steer.compose({vector: 1.0}), 0.0, options)
    hits = sum(has(concept, text) for text in made.texts)
    away = sampled(steer.compose({vector: -1.0}), 0.0, options)
    name, value = CONCEPTS[concept]
    row: list[object] = [
        concept,
        vector.layer,
        "yes" if vector.calibrated else "no",
        rate(hits, options.n),
        f"{judged(concept, unsteered(options)).success:.3f}",
        f"{distribution.probability({name: value}):.3f}",
        f"{made.kl.mean():.3f}",
        f"{made.p95:.2f}",
        f"{judged(concept, away).success:.3f}",
    ]
    return row, hits / options.n


def concepts(options: Options) -> None:
    """Every shipped concept at dose 1."""
    made = list(shared_out(concept_of, tuple(CONCEPTS), options))
    successes = [success for _, success in made]
    reached = sum(success >= 0.9 for success in successes)
    head = [
        "concept",
        "layer",
        "calibrated",
        "success at dose 1",
        "unsteered",
        "truth",
        "mean pressure",
        "p95",
        "dose -1",
    ]
    body = (
        f"{options.n} prompt-free samples for each concept at dose 1. {reached} of {len(successes)} concepts reach "
        f"90 % success (the aim for each); the median is {np.median(successes):.2f}. `truth` is the base rate in "
        "the world. Pressure is in nats per token; p95 is the 95th percentile over the tokens of all samples. The "
        "last column is success at dose -1.\n\n" + table(head, [row for row, _ in made])
    )
    write("library", "Every shipped concept at dose 1", body, seed=options.seed)


def triple_of(triple: Triple, options: Options) -> tuple[list[object], float]:
    """One triple's row: its best dose, then fresh samples at that dose and each radius."""
    model = embedded()

    def joint(dose: float, radius: float, seed: int) -> tuple[int, float]:
        made = sampled(steer.compose(dict.fromkeys(triple, dose), model), radius, replace(options, seed=seed))
        return sum(all(has(concept, text) for concept in triple) for text in made.texts), made.p95

    best = max(DOSES, key=lambda dose: joint(dose, 0.0, options.seed)[0])
    found = [joint(best, radius, options.seed + 1) for radius in RADII]
    row = [" + ".join(triple), best, f"{found[0][1]:.2f}", *(rate(hits, options.n) for hits, _ in found)]
    return row, found[0][0] / options.n


def chosen(count: int, seed: int) -> list[Triple]:
    """`sonnet + quantum + cat`, which never occurs in training, and random triples that may occur."""
    random = np.random.default_rng(seed)
    kinds = [distribution.VALUES[name] for name in ("form", "topic", "voice")]
    found: list[Triple] = [("sonnet", "quantum", "cat")]
    while len(found) < count + 1:
        form, topic, voice = (str(random.choice(values)) for values in kinds)
        triple = (form, topic, voice)
        if (
            triple not in found
            and triple not in distribution.held_out.triples
            and (form, topic) not in distribution.held_out.pairs
        ):
            found.append(triple)
    return found


def triples(count: int, options: Options) -> None:
    """Joint success of `sonnet + quantum + cat` and of random seen triples, over doses and radii."""
    made = list(shared_out(triple_of, chosen(count, options.seed), options))
    successes = [success for _, success in made]
    body = (
        f"Share of {options.n} samples in which the oracle reads all three concepts. All three have the same dose: "
        f"the best of {', '.join(map(str, DOSES))} on other samples. The median of the {count} triples that occur "
        f"in training is {np.median(successes[1:]):.2f}, and {sum(success >= 0.6 for success in successes[1:])} of "
        "them reach 0.60 (the aim). The first triple never occurs in training. p95 pressure is at radius 0, in "
        "nats per token.\n\n"
        + table(
            ["triple", "dose", "p95 pressure", *(f"radius {radius:g}" for radius in RADII)], [row for row, _ in made]
        )
    )
    write("triples", "Triples", body, seed=options.seed)


def main() -> None:
    """Run both parts, or one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=["concepts", "triples"], help="one of the two parts")
    parser.add_argument("--triples", type=int, default=20)
    Options.add_to(parser)
    given = parser.parse_args()
    options = Options(given.n, given.pressure, given.seed)
    if given.only != "triples":
        concepts(options)
    if given.only != "concepts":
        triples(given.triples, options)


if __name__ == "__main__":
    main()
