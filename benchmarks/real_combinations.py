"""Pairs and triples of concepts on a real model, beside prompts that show or ask for all of them.

`python benchmarks/real_combinations.py MODEL DIR` reads the vectors that `benchmarks/real_concepts.py` wrote to DIR,
and writes a line for each combination to `DIR/combinations.jsonl`: joint success and pressure at dose 1, or at the part
of it that keeps the mean pressure within `PRESSURE`; behind examples of each concept; and behind a request in words. A
text counts if the judge of every concept accepts it. It goes on where it ended.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from real_concepts import judge_of, texts_with

import steer
import vectors
from vectors.calibration.equal_pressure import find_scale
from vectors.common.statistics import wilson
from vectors.decoding.prompt_free_samples import ShiftedSamples, sample_shifted
from vectors.decoding.prompted_samples import BETWEEN, sample_prompted
from vectors.decoding.token_sampling import Settings
from vectors.model.residual_model import ResidualModel

PAIRS = (
    "tale sea", "verse love", "sitcom medicine", "news cars", "letter religion", "diary gloomy", "review delight",
    "speech religion", "news hockey", "tale gloomy",
)  # fmt: skip
TRIPLES = (
    "tale sea gloomy", "verse sea love", "letter religion gloomy", "diary sea delight", "sitcom medicine complaint",
    "news cars complaint", "letter love sea", "diary medicine gloomy", "tale religion love", "speech religion delight",
)  # fmt: skip
WORDS = {
    "tale": "fairy tale", "verse": "passage of blank verse by Shakespeare", "sitcom": "scene of a sitcom script",
    "news": "business news report", "letter": "letter", "diary": "page of a diary", "review": "review of a film",
    "speech": "speech of a politician", "sea": "about the sea", "medicine": "about medicine", "cars": "about cars",
    "hockey": "about ice hockey", "religion": "about the Christian faith", "love": "full of love",
    "gloomy": "full of gloom", "delight": "full of joy", "complaint": "full of complaints",
}  # fmt: skip
"""How a request names each concept, the form first."""

PRESSURE = 0.8
TOKENS = 40


def cell(texts: Sequence[str], pressure: float, judges: Sequence[Any], **more: object) -> dict[str, Any]:
    """Return joint success with its interval, pressure, and the texts."""
    hits = sum(all(judge.accepts(text) for judge in judges) for text in texts)
    low, high = wilson(hits, len(texts))
    return {"success": hits / len(texts), "low": low, "high": high, "pressure": pressure, "texts": list(texts), **more}


def steered(model: ResidualModel, names: Sequence[str], folder: Path, judges: Sequence[Any], n: int) -> dict[str, Any]:
    """Sample a combination at dose 1, or at the largest common share of it within the pressure."""
    point = steer.compose({vectors.load_file(folder / f"{name}.safetensors"): 1.0 for name in names})

    def sample(scales: Sequence[float]) -> ShiftedSamples:
        factors = torch.tensor(scales)[:, None]
        rows = {site: factors * shift[None] for site, shift in point.deltas.items()}
        return sample_shifted(model, rows, n=len(scales), settings=Settings(max_tokens=TOKENS), seed=1)

    scale, samples = find_scale(sample, 0.95 * PRESSURE, most=1.0, n=n)
    return cell(samples.texts, float(samples.kl.mean()), judges, dose=scale)


def prompts_of(model: ResidualModel, names: Sequence[str]) -> dict[str, list[str]]:
    """Return prompts that show examples of each concept in turn, and those that ask for all of them."""
    sides = [texts_with(model, name) for name in names]
    shown = [train or held for train, held in sides]
    shows = [
        "".join(side[3 * number + index % 3] + BETWEEN for index in range(2) for side in shown) for number in range(8)
    ]
    first, *others = (WORDS[name] for name in names)
    request = f"{first[0].upper()}{first[1:]} {' and '.join(others)}"
    return {"shows": shows, "asks": [f"{request}:\n\n", f"# {request}\n\n"]}


def main() -> None:
    """Measure all combinations whose concepts are there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("-n", type=int, default=100)
    options = parser.parse_args()
    model, out = vectors.load_model(options.model), options.folder / "combinations.jsonl"
    done = [json.loads(line)["names"] for line in out.read_text().splitlines()] if out.exists() else []
    for names in (*PAIRS, *TRIPLES):
        there = all((options.folder / f"{name}.safetensors").exists() for name in names.split())
        if names in done or not there:
            continue
        judges = [judge_of(model, name, texts_with(model, name)[1]) for name in names.split()]
        rows = {"steered": steered(model, names.split(), options.folder, judges, options.n)}
        for way, prompts in prompts_of(model, names.split()).items():
            stop = BETWEEN if way == "shows" else None
            found = sample_prompted(model, model.encode(prompts), options.n, max_tokens=TOKENS, seed=1, stop=stop)
            rows[way] = cell(found.texts, found.pressure, judges)
        for way, row in rows.items():
            print(names, way, f"{row['success']:.2f} at {row['pressure']:.2f}", flush=True)
        with out.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps({"names": names, "rows": rows}, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
