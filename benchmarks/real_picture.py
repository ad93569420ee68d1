"""Draw docs/prompts.png: concepts of Gemma 3 270M at dose 1, each beside a prompt of three examples.

`python benchmarks/real_picture.py` reads the figures in ready_made.jsonl beside this file.
"""

from pathlib import Path

from matplotlib.figure import Figure
from ready_made import known
from real_concepts import EIGHT

PICTURE = Path(__file__).parents[1] / "docs" / "prompts.png"
MODEL = "google/gemma-3-270m"
PROMPT, STEERED, GREY = "#D55E00", "#0072B2", "#999999"  # Okabe and Ito


def main() -> None:
    """Draw the picture."""
    figures = known()
    cells = {kind: figures[MODEL, kind]["rows"] for kind in EIGHT if (MODEL, kind) in figures}
    figure = Figure(figsize=(7.2, 4.2), layout="constrained")
    panel = figure.subplots()
    for kind, (_, steered, prompted) in cells.items():
        ends = [(row["pressure"]["value"], row["success"]["value"]) for row in (prompted, steered)]
        panel.annotate("", ends[1], ends[0], arrowprops={"arrowstyle": "-", "color": GREY, "linewidth": 0.8})
        panel.annotate(kind, ends[1], (-6, 4), textcoords="offset points", fontsize=8, ha="right", color=STEERED)
    for at, (label, colour, marker) in {
        2: ("prompt of three examples", PROMPT, "s"), 1: ("no prompt, concept at dose 1", STEERED, "o"),
    }.items():  # fmt: skip
        rows = [row[at] for row in cells.values()]
        xs, ys = ([row[name] for row in rows] for name in ("pressure", "success"))
        panel.errorbar(
            [x["value"] for x in xs], [y["value"] for y in ys], xerr=bars(xs), yerr=bars(ys), fmt=marker, color=colour,
            label=label, markersize=6, elinewidth=0.6, capsize=2,
        )  # fmt: skip
    panel.set(xlim=(0, None), ylim=(0, 1.02), xlabel="pressure (nats/token)", ylabel="texts that show the concept")
    panel.grid(color="#dddddd", linewidth=0.6)
    panel.legend(frameon=False, loc="lower left")
    figure.savefig(PICTURE, dpi=100)


def bars(figures: list[dict[str, float]]) -> list[list[float]]:
    """Return the lengths of error bars below and above each value."""
    return [
        [each["value"] - each["low"] for each in figures],
        [each["high"] - each["value"] for each in figures],
    ]


if __name__ == "__main__":
    main()
