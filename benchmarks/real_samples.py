"""Write unselected samples of concepts and combinations of Gemma 3 270M into docs/measured.md.

`python benchmarks/real_samples.py DIR` reads what `benchmarks/real_concepts.py` and `benchmarks/real_combinations.py`
wrote to DIR, and shows the first twenty texts of each at dose 1.
"""

import argparse
import json
import re
from collections.abc import Sequence
from pathlib import Path

CONCEPTS = ("tale", "slovene", "speech")
TRIPLES = ("letter religion gloomy", "diary sea delight")
SHOWN = 20
PAGE = Path(__file__).parents[1] / "docs" / "measured.md"
MARKS = "<!-- samples -->", "<!-- /samples -->"


def lines_of(path: Path) -> list[dict[str, object]]:
    """Return the records of a file, none if it is not there."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def block(title: str, texts: Sequence[str]) -> str:
    """Return texts as a folded block of the page."""
    shown = [" ⏎ ".join(text.strip().replace("```", "'''").splitlines()) for text in texts[:SHOWN]]
    return f"<details><summary>{title}</summary>\n\n```text\n" + "\n".join(shown) + "\n```\n\n</details>"


def main() -> None:
    """Replace the block of samples."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    blocks = []
    cells = {cell["kind"]: cell for cell in lines_of(folder / "cells.jsonl")}
    for name in CONCEPTS:
        if name in cells:
            steered = cells[name]["rows"][1]  # type: ignore[index]
            success, pressure = steered["success"]["value"], steered["pressure"]["value"]
            blocks.append(block(f"{name}: {success:.2f} show it, at {pressure:.2f} nats", steered["texts"]))
    cells = {cell["names"]: cell for cell in lines_of(folder / "combinations.jsonl")}
    for names in TRIPLES:
        if names in cells:
            steered = cells[names]["rows"]["steered"]  # type: ignore[index]
            success, pressure = steered["success"], steered["pressure"]
            title = f"{' + '.join(names.split())}: {success:.2f} show all, at {pressure:.2f} nats"
            blocks.append(block(title, steered["texts"]))
    text = PAGE.read_text(encoding="utf-8")
    found = re.compile(re.escape(MARKS[0]) + ".*?" + re.escape(MARKS[1]), re.DOTALL)
    PAGE.write_text(found.sub(lambda _: "\n\n".join([MARKS[0], *blocks, MARKS[1]]), text), encoding="utf-8")


if __name__ == "__main__":
    main()
