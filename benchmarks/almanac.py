"""How close the embedded model is to the world it learned: `python benchmarks/almanac.py`."""

import argparse
import json
import math
import re
from collections import Counter
from collections.abc import Iterator

import numpy as np
from report import table, write

from vectors import load_model
from vectors.almanac.train import HELD_OUT_STREAM, held_out
from vectors.almanac.training import corpus
from vectors.almanac.world import distribution, oracle
from vectors.almanac.world.author import entry
from vectors.almanac.world.distribution import Attributes
from vectors.common.statistics import wilson
from vectors.decoding.decode import decode, prefix_ids
from vectors.decoding.token_sampling import Settings
from vectors.model.residual_model import EMBEDDED_MODEL, ResidualModel

BATCH = 250


def texts_of(model: ResidualModel, n: int, seed: int) -> Iterator[tuple[str, str]]:
    """Unsteered texts from the start token, with what ended them."""
    settings = Settings(max_tokens=model.max_context - 1)
    for start in range(0, n, BATCH):
        indices = range(start, min(start + BATCH, n))
        prefix = prefix_ids(model, None, settings.max_tokens)
        for done in decode(model, None, prefix=prefix, settings=settings, seed=seed, indices=indices):
            yield model.decode(done.tokens), done.finish


def noise_floor(truth: np.ndarray, n: int, seed: int) -> float:
    """Expected total variation of a perfect sampler at n."""
    draws = np.random.default_rng(seed).multinomial(n, truth, size=400) / n
    return float(np.abs(draws - truth).sum(axis=1).mean() / 2)


def marginals(read: list[Attributes], seed: int) -> list[list[object]]:
    """One row an attribute: TV of the oracle's readings from the truth, noise floor, bar, abstentions."""
    rows = []
    for name in [*distribution.VALUES, "number"]:
        given = {"form": distribution.NUMBERED_FORMS} if name == "number" else {}
        values = [getattr(one, name) for one in read if one.matches(given)]
        shown = [value for value in values if value is not None]
        truth = distribution.marginal(name, given)
        truth.pop(None, None)
        counts = Counter(shown)
        found = np.array([counts[value] / len(shown) for value in truth])
        exact = np.array(list(truth.values()))
        floor = noise_floor(exact, len(shown), seed)
        tv = float(np.abs(found - exact).sum() / 2)
        bar = 1.5 * floor + 0.01
        missing = f"{1 - len(shown) / len(values):.2%}"
        rows.append([name, f"{tv:.4f}", f"{floor:.4f}", f"{bar:.4f}", "yes" if tv <= bar else "**no**", missing])
    return rows


def by_form(read: list[Attributes]) -> list[list[object]]:
    """How many entries of each form read as complete; an entry without a form is in no row."""
    rows = []
    for form in distribution.VALUES["form"]:
        there = [one for one in read if one.form == form]
        hits = sum(oracle.complete(one) for one in there)
        low, high = wilson(hits, len(there))
        rows.append([form, f"{hits / len(there):.4f}", f"{low:.4f} to {high:.4f}", len(there)])
    return rows


def rates(read: list[Attributes]) -> list[list[object]]:
    """Single conditional events, with Wilson intervals."""
    elsewhere = [topic for topic in distribution.VALUES["topic"] if topic != "waterfall"]
    events: list[tuple[str, dict[str, object], dict[str, object]]] = [
        ("rainbow given waterfall", {"rainbow": True}, {"topic": "waterfall"}),
        ("rainbow given anything else", {"rainbow": True}, {"topic": elsewhere}),
        ("rainbow given moon", {"rainbow": True}, {"topic": "moon"}),
        ("wedding", {"wedding": True}, {}),
        ("lost key", {"key": True}, {}),
        ("snow given forest at midnight", {"snow": True}, {"topic": "forest", "hour": "midnight"}),
        ("snow given desert", {"snow": True}, {"topic": "desert"}),
        ("sailor given sea", {"voice": "sailor"}, {"topic": "sea"}),
        ("recipe given kitchen", {"form": "recipe"}, {"topic": "kitchen"}),
        ("gloomy given ghost", {"mood": "gloomy"}, {"voice": "ghost"}),
    ]  # fmt: skip
    rows = []
    for label, event, given in events:
        there = [one for one in read if one.matches(given)]
        hits = sum(one.matches(event) for one in there)
        low, high = wilson(hits, len(there))
        truth = distribution.probability(event, given)
        inside = low <= truth <= high
        rows.append(
            [
                label,
                f"{truth:.4f}",
                f"{hits / len(there):.4f}",
                f"{low:.4f} to {high:.4f}",
                len(there),
                "yes" if inside else "**no**",
            ]
        )
    return rows


def sentences(text: str) -> tuple[str, ...]:
    """A text's sentences or lines."""
    return tuple(part.strip() for part in re.split(r"(?<=[.!?])\s+|\n+", text) if part.strip())


def main() -> None:
    """Sample, read, compare, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", type=int, default=10_000)
    parser.add_argument("--learned", type=int, default=200_000, help="entries of the training to look for copies of")
    parser.add_argument("--seed", type=int, default=11)
    options = parser.parse_args()
    model = load_model()
    run = json.loads((EMBEDDED_MODEL / "training.json").read_text())
    steps, recent = run["steps"], math.ceil(options.learned / run["batch"])

    made = list(texts_of(model, options.n, options.seed))
    read = [oracle.read(text) for text, _ in made]
    complete = sum(oracle.complete(one) for one in read)
    ended = sum(finish == "eos" for _, finish in made)
    excluded = sum(one in distribution.held_out for one in read)
    triple = sum((one.form, one.topic, one.voice) == ("sonnet", "quantum", "cat") for one in read)

    last = corpus.trained_entries(run["seed"], run["batch"], max(0, steps - recent), steps)
    trained = {sentences(one.text) for one in last}
    known = f"the last {len(trained):,} learned"
    copied = sum(sentences(text) in trained for text, _ in made)
    chance = sum(sentences(entry(run["seed"] + HELD_OUT_STREAM, i).text) in trained for i in range(options.n))

    nll, author, tokens = held_out(model.hf, model.tokenizer, run["seed"], n=4000)
    low, high = wilson(complete, options.n)
    size = sum(weight.numel() for weight in model.hf.parameters())
    whole = f"{complete / options.n:.4f} ({low:.4f} to {high:.4f})"
    lines = [
        f"{options.n:,} entries sampled from the start token at temperature 1 without truncation. The model has "
        f"{size:,} parameters and was trained on {steps * run['batch']:,} entries, none of them twice.",
        "",
        table(
            ["figure", "measured", "bar"],
            [
                ["complete reading (form, topic, voice, mood)", whole, "0.95"],
                ["ended by themselves", f"{ended / options.n:.4f}", ""],
                ["held-out NLL, nats a token", f"{nll:.4f} ({tokens:,} tokens)", f"{author + 0.05:.4f}"],
                ["author's own derivations, nats a token (at least its entropy)", f"{author:.4f}", ""],
                [f"entries that are, sentence by sentence, one of {known}", copied, f"{chance} by chance"],
                ["excluded combinations, unsteered", f"{excluded} ({excluded / options.n:.4%})", ""],
                ["sonnet, quantum and cat together, unsteered", f"{triple}", ""],
            ],
        ),
        "",
        table(["form", "complete", "95 % interval", "n"], by_form(read)),
        "",
        table(["attribute", "TV", "noise floor", "bar", "met", "oracle abstains"], marginals(read, options.seed)),
        "",
        table(["event", "truth", "measured", "95 % interval", "n", "truth inside"], rates(read)),
    ]  # fmt: skip
    write("almanac", "The embedded model against its world", "\n".join(lines), seed=options.seed)


if __name__ == "__main__":
    main()
