"""How many attributes of the embedded world are found without labels: `python benchmarks/discovery.py`.

`--only found` for the directions, `--only steering` for what the kept ones do.
"""

import argparse
import tempfile
import warnings
from collections.abc import Sequence
from functools import cache
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from harness import MAX_TOKENS, Cell, Options, at_pressure, embedded, judged, shared_out, texts, unsteered, widest
from methods import noise
from report import table, write
from sklearn.decomposition import FastICA

import vectors
from vectors.activations.text_activations import encode_texts, token_activations
from vectors.almanac.concepts import CONCEPTS
from vectors.almanac.training.concept_library import collect
from vectors.almanac.world.author import stream
from vectors.common.statistics import auc
from vectors.decoding.prompt_free_samples import sample_prompt_free, sample_shifted
from vectors.decoding.token_sampling import Settings
from vectors.discovery.activation_sample import ActivationSample, sample_activations
from vectors.discovery.candidates import Discovery
from vectors.discovery.decomposition import Components, components
from vectors.discovery.discover import DEPTH, SAMPLES, decompose, discover, skewness_and_kurtosis
from vectors.discovery.discover import MAX_TOKENS as OWN_TEXT_TOKENS
from vectors.discovery.discovery_file import load_discovery, save_discovery
from vectors.discovery.match_concepts import match_concepts
from vectors.discovery.promote import promote_candidate
from vectors.extraction.extract import extract

KS = (8, 16, 32, 64, 128)
ENOUGH = 0.9
TEXTS = 2048
LABELLED = 1 << 42  # added to the seed: entries that no direction was found in
POSITIVES, BACKGROUND = 80, 1200
LAYERS = range(6)
NAMES = tuple(CONCEPTS)
SHOWN = 64
"""Number of components in the comparisons of layers, readings and numbers of texts."""


class Labelled:
    """Fresh entries: one half assigns directions to concepts, the other measures their AUC."""

    def __init__(self, seed: int) -> None:
        found = collect(seed + LABELLED, positives=POSITIVES, background=BACKGROUND)
        self.texts = list(found.labels)
        self.has = np.array([[name in found.labels[text] for name in NAMES] for text in self.texts])
        large = set(found.at_large)
        self.large = np.array([text in large for text in self.texts])
        self.choosing = np.random.default_rng(seed).random(len(self.texts)) < 0.5
        self.means = means_of(self.texts)

    def aucs(self, scores: np.ndarray, *, choosing: bool) -> np.ndarray:
        """AUC of each column for each concept, against entries at large without it, in one half."""
        half = self.choosing == choosing
        found = np.zeros((len(NAMES), scores.shape[1]))
        for row, has in enumerate(self.has.T):
            positive, background = scores[has & half], scores[~has & self.large & half]
            ranked = np.concatenate([positive, background]).argsort(axis=0).argsort(axis=0) + 1  # ties hardly occur
            n, m = len(positive), len(background)
            found[row] = (ranked[:n].sum(axis=0) - n * (n + 1) / 2) / (n * m)
        return found

    def found(self, scores: np.ndarray) -> np.ndarray:
        """For each concept, the AUC on the second half of the column and sign that was best on the first."""
        first, second = self.aucs(scores, choosing=True), self.aucs(scores, choosing=False)
        best = np.abs(first - 0.5).argmax(axis=1)
        rows = np.arange(len(NAMES))
        return np.where(first[rows, best] > 0.5, second[rows, best], 1 - second[rows, best])

    def supervised(self, means: np.ndarray) -> np.ndarray:
        """The same for the difference of means of the first half."""
        aucs = []
        for has in self.has.T:
            one = has & self.choosing, ~has & self.large & self.choosing
            two = has & ~self.choosing, ~has & self.large & ~self.choosing
            direction = means[one[0]].mean(axis=0) - means[one[1]].mean(axis=0)
            aucs.append(auc(means[two[0]] @ direction, means[two[1]] @ direction))
        return np.array(aucs)


def means_of(texts: Sequence[str]) -> dict[int, np.ndarray]:
    """Text means at every layer, in order."""
    found = sample_activations(embedded(), texts, list(LAYERS), max_texts=len(texts))
    place = {text: at for at, text in enumerate(found[0].texts)}
    order = [place[text] for text in texts]
    return {layer: found[layer].means.double().numpy()[order] for layer in LAYERS}


def ends_of(texts: Sequence[str]) -> dict[int, torch.Tensor]:
    """The last token of each text at every layer: the position that attends to the whole text."""
    rows: dict[int, torch.Tensor] = {layer: torch.zeros(len(texts), embedded().d_model) for layer in LAYERS}
    for places, read, own in token_activations(embedded(), encode_texts(embedded(), texts), list(LAYERS)):
        last = own.long().cumsum(dim=1).argmax(dim=1)
        for layer in LAYERS:
            rows[layer][places] = read[layer][torch.arange(len(places)), last]
    return rows


def skewness(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The derivative of the contrast u ** 3 / 3, and the mean of the second derivative."""
    return scores**2, 2 * scores.mean(axis=-1)


def standard(found: ActivationSample, method: str, reading: str, k: int, seed: int) -> Components:
    """The decomposition of the library, or of text means, or with another contrast."""
    if reading == "means":
        found = ActivationSample(found.layer, found.texts, found.means, found.lengths, found.means)
    if method != "ica, skewness":
        return decompose(found, k, method=method, seed=seed)
    axes = decompose(found, max(k, min(128, len(found.rows) // 32)), method="pca", seed=seed)
    white = ((found.rows.double() - axes.mean) @ axes.filters.T).numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ica = FastICA(fun=skewness, whiten=False, random_state=seed, max_iter=100, tol=1e-2)
        turned = ica.fit(white).components_
    rotation = torch.from_numpy(turned)
    return Components(axes.mean, rotation @ axes.parts, rotation @ axes.filters, axes.shares)


def first(found: ActivationSample, made: Components, method: str) -> np.ndarray:
    """Indices of the components in the order of the table."""
    if method == "pca":
        return np.arange(len(made.filters))
    return np.argsort(-np.abs(skewness_and_kurtosis(found.scores(made.filters, made.mean).numpy())[0]))


def cell(aucs: np.ndarray) -> str:
    """How many reach the threshold, and the mean."""
    return f"{int((aucs >= ENOUGH).sum())} ({aucs.mean():.2f})"


def curve(labelled: Labelled, found: ActivationSample, method: str, reading: str, seed: int) -> list[str]:
    """One method at one layer, over K."""
    made = standard(found, method, reading, max(KS) if method == "pca" else SHOWN, seed)
    order = first(found, made, method)
    scores = labelled.means[found.layer] @ made.filters.numpy().T
    return [cell(labelled.found(scores[:, order[:k]])) if k <= len(order) else "-" for k in KS]


def at_layers(
    labelled: Labelled, found: dict[int, ActivationSample], method: str, reading: str, seed: int
) -> list[str]:
    """One method at every layer."""
    cells = []
    for layer in LAYERS:
        made = standard(found[layer], method, reading, SHOWN, seed)
        order = first(found[layer], made, method)[:SHOWN]
        cells.append(cell(labelled.found(labelled.means[layer] @ made.filters.numpy()[order].T)))
    return cells


def found_part(seed: int) -> None:
    """Directions: over K, by method, reading, layer, source and number of texts."""
    model, layer = embedded(), int(len(LAYERS) * DEPTH)
    labelled = Labelled(seed)
    print("labelled texts read", flush=True)
    sources = {
        "own": sample_prompt_free(model, TEXTS, seed=seed, max_tokens=OWN_TEXT_TOKENS),
        "stream": [made.text for made in islice(stream(seed + LABELLED + (1 << 40)), TEXTS)],
    }
    found = {name: sample_activations(model, texts, list(LAYERS), seed=seed) for name, texts in sources.items()}
    print("texts read", flush=True)
    here, means = found["own"][layer], labelled.means[layer]
    kinds = [(method, reading) for reading in ("tokens", "means") for method in ("ica", "ica, skewness", "dictionary")]
    kinds += [("pca", "tokens"), ("pca", "means")]
    by_k = [[f"{method}, {reading}", *curve(labelled, here, method, reading, seed)] for method, reading in kinds]
    filters = standard(here, "ica", "tokens", SHOWN, seed)
    order = first(here, filters, "ica")
    parts = [cell(labelled.found(means @ filters.parts.numpy()[order[:k]].T)) for k in KS]
    by_k.insert(1, ["ica, tokens, read along its parts", *parts])
    random = np.random.default_rng(seed).standard_normal((max(KS), model.d_model))
    by_k.append(["random directions", *(cell(labelled.found(means @ random[:k].T)) for k in KS)])
    skewed = np.argsort(-np.abs(skewness_and_kurtosis(here.means.double().numpy())[0]))
    by_k.append(["neurons", *(cell(labelled.found(means[:, skewed[:k]])) for k in KS)])
    all_neurons = cell(labelled.found(means))
    print(table(["", *KS], by_k), flush=True)
    by_layer = [
        [f"{method}, {reading}, {source}", *at_layers(labelled, found[source], method, reading, seed)]
        for source, method, reading in [
            ("own", "ica", "tokens"),
            ("stream", "ica", "tokens"),
            ("own", "ica", "means"),
            ("stream", "ica", "means"),
            ("own", "pca", "tokens"),
            ("own", "dictionary", "tokens"),
        ]
    ]
    ends = {name: ends_of(texts) for name, texts in sources.items() if name == "own"}
    last = []
    for at in LAYERS:
        made = components(ends["own"][at], SHOWN, method="ica", seed=seed)
        last.append(cell(labelled.found(labelled.means[at] @ made.filters.numpy().T)))
    by_layer.append(["ica, last tokens, own", *last])
    by_layer.append(["neurons, all 256", *(cell(labelled.found(labelled.means[at])) for at in LAYERS)])
    by_layer.append(["supervised mean difference", *(cell(labelled.supervised(labelled.means[at])) for at in LAYERS)])
    by_texts = []
    for count in (128, 256, 512, 1024, 2048):
        some = sample_activations(model, sources["own"][:count], [layer], seed=seed)[layer]
        by_texts.append([count, len(some.rows), *curve(labelled, some, "ica", "tokens", seed)])
    missed = missing(labelled, here, layer, seed)
    body = "\n".join(
        [
            f"The number of the world's {len(NAMES)} attribute values (the absence of a detail is the opposite of "
            "its presence and counts once) for which some direction, of either sign, separates fresh entries with "
            f"the value from other entries at an AUC of {ENOUGH} or more; in brackets the mean AUC of the best "
            "direction. The direction for each value is chosen on one half of the labelled entries and measured on "
            f"the other, so that many directions gain nothing from their number. The directions come from {TEXTS} "
            "texts, of which at most 16,384 positions are used. `tokens` decomposes single positions, `means` text "
            "means; every text is scored by its mean. `ica` is FastICA with the log cosh contrast; `ica, skewness` "
            "uses u³ / 3. Components are ordered by their skewness over texts, principal axes by their variance; "
            "as many are computed as the code does (128 in tokens here), and the first K are used.",
            "",
            f"Texts sampled by the model, layer {layer}, by K:",
            "",
            table(["directions", *(f"K = {k}" for k in KS)], by_k),
            "",
            f"All 256 neurons (coordinate axes): {all_neurons}. Missed by the first 32 of `ica, tokens`: {missed}.",
            "",
            f"By layer, the first {SHOWN}, in texts sampled by the model or in entries of the stream:",
            "",
            table(["directions", *(f"layer {at}" for at in LAYERS)], by_layer),
            "",
            f"By the number of sampled texts, `ica, tokens`, layer {layer}:",
            "",
            table(["texts", "positions", *(f"K = {k}" for k in KS)], by_texts),
        ]
    )
    write("discovery", "Discovery without labels", body, seed=seed)


def missing(labelled: Labelled, found: ActivationSample, layer: int, seed: int) -> str:
    """The values that the first 32 directions do not separate."""
    made = standard(found, "ica", "tokens", SHOWN, seed)
    order = first(found, made, "ica")[:32]
    aucs = labelled.found(labelled.means[layer] @ made.filters.numpy()[order].T)
    gone = [f"{name} {one:.2f}" for name, one in zip(NAMES, aucs, strict=True) if one < ENOUGH]
    return ", ".join(gone) or "none"


def matches(discovery: Discovery, labelled: Labelled) -> list[tuple[str, int, float]]:
    """For each value, the candidate that separates it best, and its AUC."""
    filters = np.stack([each.filter.double().numpy() for each in discovery.candidates])
    scores = labelled.means[discovery.layer] @ filters.T
    first_half, second = labelled.aucs(scores, choosing=True), labelled.aucs(scores, choosing=False)
    best = first_half.argmax(axis=1)
    return [(name, int(best[row]) + 1, float(second[row, best[row]])) for row, name in enumerate(NAMES)]


@cache
def discovered(path: str) -> Discovery:
    """The discovery, once a process."""
    return load_discovery(path)


def steering_of(task: tuple[str, int, str], options: Options) -> list[object]:
    """Success for one value with every vector."""
    concept, number, path = task
    model, discovery = embedded(), discovered(path)
    vector = promote_candidate(model, discovery, number, concept, calibrate=False, seed=options.seed)
    contrast = discovery.contrast(number)
    fit, _ = contrast.split(held_out=0.25, seed=options.seed)
    sides = [torch.tensor([text in set(side) for text in discovery.texts]) for side in (fit.positive, fit.background)]
    typical = discovery.means[sides[0]].mean(dim=0) - discovery.means[sides[1]].mean(dim=0)
    part = discovery.candidate(number).part
    learned = extract(
        model, concept, positive=contrast.positive, background=contrast.background, calibrate=False, seed=options.seed
    )
    known = texts(options.seed)
    told = extract(
        model, concept, positive=known.positive[concept], background=known.background(concept),
        method="mean-difference", layer=discovery.layer, calibrate=False, seed=options.seed,
    )  # fmt: skip
    shipped = vectors.load(concept, model)
    layer, gap = discovery.layer, vector.gap
    arms: list[tuple[int, torch.Tensor, float, str]] = [
        (layer, vector.direction, gap, "all"),
        (layer, part / part.norm(), gap, "all"),
        (layer, typical / typical.norm(), float(typical.norm()), "all"),
        (learned.layer, learned.direction, learned.gap, learned.positions),
        (layer, told.direction, told.gap, "all"),
        (shipped.layer, shipped.direction, shipped.scale, shipped.positions),
        (layer, noise(concept, layer, options), gap, "all"),
    ]
    cells: list[Cell] = [judged(concept, unsteered(options))]
    lengths = []
    for at, direction, start, positions in arms:
        made, length = at_pressure(at, direction, options, start=start, positions=positions)
        cells.append(judged(concept, made, pressure=options.pressure))
        lengths.append(length)
    settings = Settings(max_tokens=MAX_TOKENS, positions="all")
    shift = noise(concept, layer, options) * lengths[0]
    cells.append(
        judged(concept, sample_shifted(model, {layer: shift}, n=options.n, settings=settings, seed=options.seed + 1))
    )
    return [concept, number, *cells]


def steering_part(options: Options, each: int) -> None:
    """Success of the best-matched directions at equal pressure."""
    labelled, model = Labelled(options.seed), embedded()
    discovery = discover(model, k=SHOWN, seed=options.seed)
    known = match_concepts(model, discovery, [vectors.load(name, model) for name in vectors.names(model)])
    found = matches(discovery, labelled)
    groups: dict[str, list[tuple[str, int, float]]] = {}
    for one in sorted(found, key=lambda one: -one[2]):
        groups.setdefault(CONCEPTS[one[0]][0], []).append(one)
    chosen = [one for name in ("form", "topic", "voice", "mood", "hour") for one in groups[name][:each]]
    with tempfile.TemporaryDirectory() as folder:
        path = str(save_discovery(discovery, Path(folder) / "found.safetensors"))
        rows = list(shared_out(steering_of, [(name, number, path) for name, number, _ in chosen], options))
    heads = ["dose 0", "filter", "part", "typical texts", "learned from them", "mean difference, labels",
             "shipped, labels", "random", "random, equal norm"]  # fmt: skip
    means = [f"{np.mean([row[place].success for row in rows]):.2f}" for place in range(2, 2 + len(heads))]
    right, named = naming(known, labelled)
    body = (
        f"Of {SHOWN} directions found in {SAMPLES} texts sampled by the model, those that best separate the values "
        f"of each attribute, at a mean pressure of {options.pressure} nats per token, {options.n} prompt-free "
        "samples, success by the oracle; in brackets the pressure where it is off by more than 15 %. `filter` "
        "reads a component (what `steer keep --no-learn` keeps), `part` is what the component adds, `typical "
        "texts` is the difference of means of its most typical texts and the rest; all three are added at every "
        "position. `learned from them` is the shift that `steer keep` learns from those texts, at the start token. "
        "Then the supervised vectors: the difference of means at the same layer, and the shipped one. `random, "
        f"equal norm` has the length of the first one's shift. The 95 % intervals are at most {widest(options.n)}.\n\n"
        + table(["value", "candidate", "AUC", *heads],
                [[row[0], row[1], f"{one[2]:.2f}", *row[2:]] for row, one in zip(rows, chosen, strict=True)]
                + [["mean", "", "", *means]])
        + f"\n\nThe {SHOWN} candidates, either way, are given {named} names of shipped concepts (`like`); {right} of "
        f"them are the value, of all {len(NAMES)}, that the candidate ranks best among labelled entries."
    )  # fmt: skip
    write("discovery-steering", "Steering by what was discovered", body, seed=options.seed)


def naming(known: Discovery, labelled: Labelled) -> tuple[int, int]:
    """How many names are right, and how many there are."""
    filters = np.stack([each.filter.double().numpy() for each in known.candidates])
    aucs = labelled.aucs(labelled.means[known.layer] @ filters.T, choosing=False)
    right = named = 0
    for column, candidate in enumerate(known.candidates):
        for sign, likeness in ((1, candidate.like), (-1, candidate.unlike)):
            if likeness is not None:
                named += 1
                right += NAMES[int((sign * aucs[:, column]).argmax())] == likeness.name
    return right, named


def main() -> None:
    """Run both parts, or one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=["found", "steering"], help="one of the two parts")
    parser.add_argument("--each", type=int, default=2, help="values of each attribute that are steered")
    Options.add_to(parser)
    given = parser.parse_args()
    if given.only != "steering":
        found_part(given.seed)
    if given.only != "found":
        steering_part(Options(given.n, given.pressure, given.seed), given.each)


if __name__ == "__main__":
    main()
