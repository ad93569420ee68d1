"""Templates that turn a description, such as "a fairy tale", into a prompt: how often texts behind them are such texts.

`python benchmarks/describing.py FOLDER --cells FILE` writes a line a cell to a file, and goes on where it ended.
"""

import argparse
from pathlib import Path

import numpy as np
from distilling import TOKENS, Cells
from real_texts import texts_of

import vectors
from vectors.calibration.word_judge import WordJudge
from vectors.decoding.own_texts import own_texts
from vectors.decoding.prompted_samples import sample_prompted

DESCRIPTIONS = {
    "tale": "a fairy tale by the Brothers Grimm",
    "slovene": "an opinion column from a Slovenian newspaper, in Slovene",
    "news": "a business news report from Reuters",
    "tweet": "a tweet about the presidential election",
    "sitcom": "a scene from a sitcom script",
    "review": "a short review of a film",
    "verse": "a passage of blank verse by Shakespeare",
}

TEMPLATES = (
    "{d}:\n\n", "{D}\n\n", "# {D}\n\n", "Here is {d}:\n\n", "The following is {d}.\n\n", "Example of {d}:\n\n",
    "Title: {D}\n\n", "This is {d}:\n\n\"", "{D}\n\nOnce", "<h1>{D}</h1>\n\n<p>",
)  # fmt: skip


def main() -> None:
    """Run the cells."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("-n", type=int, default=32)
    parser.add_argument("--cells", type=Path, default=Path("describing.jsonl"))
    options = parser.parse_args()
    model, cells = vectors.load_model(options.model), Cells(options.cells)
    own = own_texts(model, 160)
    for kind, description in DESCRIPTIONS.items():
        judge = WordJudge(texts_of(kind, 400)[1::2], own)
        for template in TEMPLATES:
            prompt = template.format(d=description, D=description[0].upper() + description[1:])

            def run(prompt: str = prompt, judge: WordJudge = judge) -> dict[str, object]:
                found = sample_prompted(model, model.encode([prompt]), options.n, max_tokens=TOKENS)
                hits = float(np.mean([judge.accepts(text) for text in found.texts]))
                return {"success": hits, "pressure": found.pressure, "texts": found.texts[:4]}

            cells.get(kind, template, run)


if __name__ == "__main__":
    main()
